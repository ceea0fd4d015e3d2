//! The largest number of each window of an image, and its gradient, which goes to where that number stood.

use serde::{Deserialize, Serialize};

use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// x [N, H, W, C] → y [N, Ho, Wo, C], index u32 [N, Ho, Wo, C], with Ho = (H + 2 padding − kernel) / stride + 1,
/// rounded down; Wo alike.
///
/// Padding counts as minus infinity. index is the place of the maximum in its window, row · kernel width + column;
/// of equal numbers the first wins, and NaN wins over numbers. Gradients flow from y alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Rows and columns from window to window.
    pub stride: [usize; 2],
    /// Rows above and below, columns left and right that the image is extended by: less than the window.
    pub padding: [usize; 2],
}

/// index u32, dy [N, Ho, Wo, C] → dx [N, H, W, C]: to each pixel the sum of dy over the windows whose maximum it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPoolBackward {
    /// The pooling.
    #[serde(flatten)]
    pub pool: MaxPool,
    /// H and W.
    pub size: [usize; 2],
}

kernel! {
    /// One lane an output, or four channels.
    struct Forward = "max_pool/forward" {
        params { count: u32 }
        read { x }
        write { y, index }
    }
}

kernel! {
    /// One lane a pixel's channel, or four.
    struct Backward = "max_pool/backward" {
        params { count: u32 }
        read { index, dy }
        write { dx }
    }
}

impl MaxPool {
    /// Ho and Wo.
    fn out_size(&self, size: [usize; 2]) -> Result<[usize; 2], String> {
        let mut out = [0; 2];
        for (at, axis) in ["height", "width"].into_iter().enumerate() {
            let (size, kernel, stride, padding) = (size[at], self.kernel[at], self.stride[at], self.padding[at]);
            if kernel == 0 || stride == 0 {
                return Err(format!("{axis}: kernel {kernel} and stride {stride} must be at least 1"));
            }
            if padding >= kernel {
                return Err(format!(
                    "{axis}: padding {padding} must be less than the kernel, {kernel}: a window of padding alone has no maximum"
                ));
            }
            let padded = padding.saturating_mul(2).saturating_add(size);
            if padded < kernel {
                return Err(format!(
                    "{axis}: a kernel of {kernel} does not fit into {size} + 2 x {padding} of padding"
                ));
            }
            out[at] = (padded - kernel) / stride + 1;
        }
        Ok(out)
    }

    /// The build for images of so many channels, and for the sizes of x and y.
    fn build(&self, io: &Io<'_>, channels: usize, [size, out_size]: [[usize; 2]; 2]) -> Variant {
        let width = tuning::width(channels);
        let pairs = [
            (["HEIGHT", "WIDTH"], size),
            (["OUT_HEIGHT", "OUT_WIDTH"], out_size),
            (["KERNEL_H", "KERNEL_W"], self.kernel),
            (["STRIDE_H", "STRIDE_W"], self.stride),
            (["PADDING_H", "PADDING_W"], self.padding),
        ];
        let elem = io.outputs[0].elem;
        let build = Variant::of(elem).piece(width.piece()).constant("WORKGROUP", tuning::lanes(io.machine));
        let build = build.constant("COLUMNS", word(channels / width.elements()));
        pairs
            .into_iter()
            .fold(build, |build, ([down, across], [h, w])| build.constant(down, word(h)).constant(across, word(w)))
    }

    /// Places in all windows of a y.
    fn looked_at(&self, y: &Tensor) -> u64 {
        self.kernel.iter().fold(y.shape.count() as u64, |count, &side| count.saturating_mul(side as u64))
    }

    /// The pixels of window (out_h, out_w) of an image: each one's place in the window, and its row and column.
    fn window(&self, out: [usize; 2], size: [usize; 2]) -> impl Iterator<Item = (usize, [usize; 2])> + use<> {
        let Self { kernel, stride, padding } = *self;
        (0..kernel[0] * kernel[1]).filter_map(move |place| {
            let h = (out[0] * stride[0] + place / kernel[1]).checked_sub(padding[0])?;
            let w = (out[1] * stride[1] + place % kernel[1]).checked_sub(padding[1])?;
            (h < size[0] && w < size[1]).then_some((place, [h, w]))
        })
    }
}

/// Channels of images [N, H, W, C], and H and W.
fn images(tensor: &Tensor) -> (usize, [usize; 2]) {
    let [_, height, width, channels] = tensor.shape.dims();
    (channels, [height, width])
}

/// How many strips of channels these images have, and a grid of a lane for each.
fn lanes(io: &Io<'_>, images: &Tensor) -> (u32, Grid) {
    let [n, height, width, channels] = images.shape.dims();
    let count = n * height * width * channels / tuning::width(channels).elements();
    (word(count), Grid::over(count, tuning::lanes(io.machine) as usize))
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some([n, height, width, channels]) = x.shape.rank() else {
            return Err(format!("x must be [N, height, width, channels] and is {}", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        let [out_height, out_width] = self.out_size([height, width])?;
        let y = x.shaped([n, out_height, out_width, channels]);
        let index = Tensor::new(y.shape.clone(), Elem::U32);
        Ok(vec![y, index])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [(channels, size), (_, out_size)] = [images(&io.inputs[0]), images(&io.outputs[0])];
        let build = self.build(io, channels, [size, out_size]);
        let (x, y, index) = (io.input(0), io.output(0), io.output(1));
        let (count, grid) = lanes(io, &io.outputs[0]);
        out.dispatch(&Forward { count, x, y, index }, build, grid);
    }

    fn work(&self, _: &[Tensor], outputs: &[Tensor]) -> u64 {
        self.looked_at(&outputs[0])
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let [_, height, width, _] = graph.tensor(node.inputs[0]).shape.dims();
        let backward = MaxPoolBackward { pool: *self, size: [height, width] };
        Ok(vec![Some(graph.apply_one(backward, &[node.outputs[1], dy])?)])
    }
}

impl Maths for MaxPool {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, height, width, channels] = inputs[0].dims();
        let [out_height, out_width] = self.out_size([height, width]).unwrap_or([0, 0]);
        let shape = [n, out_height, out_width, channels];
        let (mut y, mut index) = (Array::zeros(&shape), Array::zeros(&shape));
        for at in 0..y.data.len() {
            let (pixel, c) = (at / channels, at % channels);
            let (image, out) = (pixel / (out_height * out_width), [pixel / out_width % out_height, pixel % out_width]);
            let mut best: Option<(T, usize)> = None;
            for (place, [h, w]) in self.window(out, [height, width]) {
                let x = inputs[0].data[((image * height + h) * width + w) * channels + c];
                let nan = |x: T| x.to_f64().is_nan();
                if best.is_none_or(|(largest, _)| x > largest || (nan(x) && !nan(largest))) {
                    best = Some((x, place));
                }
            }
            if let Some((largest, place)) = best {
                (y.data[at], index.data[at]) = (largest, T::count(place));
            }
        }
        vec![y, index]
    }
}

impl Op for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [index, dy] = inputs else { return Err(format!("takes index and dy, not {} inputs", inputs.len())) };
        let Some([n, out_height, out_width, channels]) = dy.shape.rank() else {
            return Err(format!("dy must be [N, height, width, channels] and is {}", dy.shape));
        };
        if dy.elem == Elem::U32 {
            return Err("dy must be f32 or f16, not u32".to_owned());
        }
        let [height, width] = self.size;
        let makes = self.pool.out_size(self.size)?;
        if makes != [out_height, out_width] {
            return Err(format!("images of {height} x {width} pool to {makes:?}, and dy is {}", dy.shape));
        }
        let wants = Tensor::new(dy.shape.clone(), Elem::U32);
        if *index != wants {
            return Err(format!("index must be {wants} and is {index}"));
        }
        Ok(vec![dy.shaped([n, height, width, channels])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (channels, out_size) = images(&io.inputs[1]);
        let build = self.pool.build(io, channels, [self.size, out_size]);
        let (index, dy, dx) = (io.input(0), io.input(1), io.output(0));
        let (count, grid) = lanes(io, &io.outputs[0]);
        out.dispatch(&Backward { count, index, dy, dx }, build, grid);
    }

    fn work(&self, inputs: &[Tensor], _: &[Tensor]) -> u64 {
        self.pool.looked_at(&inputs[1])
    }
}

impl Maths for MaxPoolBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[index, dy] = inputs else { return Vec::new() };
        let [n, out_height, out_width, channels] = dy.dims();
        let [height, width] = self.size;
        let mut dx = Array::zeros(&[n, height, width, channels]);
        for (at, &dy) in dy.data.iter().enumerate() {
            let (pixel, c) = (at / channels, at % channels);
            let (image, out) = (pixel / (out_height * out_width), [pixel / out_width % out_height, pixel % out_width]);
            let place = index.data[at].index();
            if let Some((_, [h, w])) = self.pool.window(out, self.size).find(|(known, _)| *known == place) {
                dx.data[((image * height + h) * width + w) * channels + c] += dy;
            }
        }
        vec![dx]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<MaxPool>(
            "max_pool",
            "the largest of each window; index is its place there, row · kernel width + column, of equal ones the first; Ho = (H + 2 padding − kernel) / stride + 1, rounded down",
            &[
                ("kernel", "[height, width]"),
                ("stride", "[rows, columns] from window to window"),
                ("padding", "[rows, columns] on each side, counted as minus infinity"),
            ],
            [&[("x", "T [N, H, W, C]")], &[("y", "T [N, Ho, Wo, C]"), ("index", "u32 [N, Ho, Wo, C]")]],
        ),
        Signature::of::<MaxPoolBackward>(
            "max_pool_backward",
            "dx = the sum of dy over the windows whose maximum the pixel was",
            &[
                ("kernel", "[height, width]"),
                ("stride", "[rows, columns] from window to window"),
                ("padding", "[rows, columns] on each side, counted as minus infinity"),
                ("size", "[H, W]"),
            ],
            [&[("index", "u32 [N, Ho, Wo, C]"), ("dy", "T [N, Ho, Wo, C]")], &[("dx", "T [N, H, W, C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |[kernel, stride, padding]: [[usize; 2]; 3], shape: &[usize]| {
        Case::new(MaxPool { kernel, stride, padding }, &[shape]).draw(0, Draw::Distinct)
    };
    let resnet = [[3, 3], [2, 2], [1, 1]];
    let mut cases = vec![
        case([[1, 1], [1, 1], [0, 0]], &[1, 1, 1, 1]),
        case(resnet, &[2, 7, 9, 3]),
        case(resnet, &[2, 8, 6, 8]),
        case([[2, 2], [2, 2], [0, 0]], &[1, 5, 7, 33]),
        case([[3, 2], [1, 3], [2, 1]], &[2, 5, 8, 4]),
        case([[2, 3], [3, 5], [0, 1]], &[1, 11, 13, 5]),
        // Rows that no window reaches, with another image behind them.
        case([[2, 2], [2, 2], [0, 0]], &[3, 5, 7, 3]),
        case([[4, 3], [3, 1], [1, 1]], &[2, 9, 7, 4]),
        case([[3, 3], [1, 1], [1, 1]], &[1, 4, 5, 2]),
        case([[2, 3], [2, 2], [0, 1]], &[3, 7, 7, 5]).draw(0, Draw::Extreme).no_gradient(),
        // Many equal numbers: the first wins.
        case(resnet, &[2, 9, 9, 8]).draw(0, Draw::Labels(3)).no_gradient(),
    ];
    cases.push(case(resnet, &[64, 112, 112, 64]).real("resnet50 stem"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Shape;

    #[test]
    fn windows_that_cannot_be_are_refused_by_name() {
        let pool = |kernel, stride, padding| MaxPool { kernel, stride, padding };
        let x = [Tensor::f32(Shape::from([1, 4, 4, 1]))];
        let refused = |pool: MaxPool, word: &str| pool.outputs(&x).is_err_and(|problem| problem.contains(word));
        assert!(refused(pool([0, 1], [1, 1], [0, 0]), "at least 1"));
        assert!(refused(pool([2, 2], [2, 0], [0, 0]), "at least 1"));
        assert!(refused(pool([2, 2], [2, 2], [0, 2]), "less than the kernel"));
        assert!(refused(pool([5, 2], [2, 2], [0, 0]), "does not fit"));
        assert!(pool([5, 2], [2, 2], [1, 0]).outputs(&x).is_ok());
    }

    #[test]
    fn nan_beats_numbers_and_the_first_largest_wins() {
        let pool = MaxPool { kernel: [1, 4], stride: [1, 4], padding: [0, 0] };
        let data = vec![1.0, 2.0, 2.0, 0.0, 3.0, f64::NAN, 5.0, f64::NAN];
        let made = pool.maths(&[&Array { shape: vec![1, 1, 8, 1], data }]);
        assert!(made[0].data[0] == 2.0 && made[0].data[1].is_nan());
        assert_eq!(made[1].data, [1.0, 1.0]);
    }
}
