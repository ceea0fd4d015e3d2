//! Images in another size, by the nearest pixel or between four of them; and the gradient, gathered by the pixels that were read.

use serde::{Deserialize, Serialize};

use super::{Add, Entry, by_image};
use crate::graph::{
    ByImage, Case, Composition, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// Where the pixels of the new image come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// Pixel i of h is pixel ⌊i H / h⌋ of H: PyTorch's `nearest`.
    Nearest,
    /// Pixel i of h lies at (i + ½) H / h − ½, clamped to the image, and is what lies between its neighbors there: PyTorch's `bilinear`
    /// with `align_corners=False` and no antialiasing, when an image shrinks, too.
    Bilinear,
}

/// x [N, H, W, C], perhaps beside [N, h, w, C] → y [N, h, w, C]: each image in another size, channel by channel, and beside added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// h and w.
    pub size: [usize; 2],
    /// Where pixels come from.
    pub mode: ResizeMode,
}

/// dy [N, h, w, C] → dx [N, H, W, C]: to each pixel the sum of dy over the pixels that read it, each times the weight that it
/// had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeBackward {
    /// The resizing.
    #[serde(flatten)]
    pub resize: Resize,
    /// H and W.
    pub from: [usize; 2],
}

kernel! {
    /// One lane an element of y, or two or four channels.
    struct Nearest = "resize/nearest" {
        params { count: u32 }
        read { x, beside }
        write { y }
    }
}

kernel! {
    /// One lane a pixel's channel, or two or four.
    struct NearestBackward = "resize/nearest_backward" {
        params { count: u32 }
        read { dy }
        write { dx }
    }
}

kernel! {
    /// One lane an element of y, or two or four channels.
    struct Bilinear = "resize/bilinear" {
        params { count: u32 }
        read { x, beside }
        write { y }
    }
}

kernel! {
    /// One lane a pixel's channel, or two or four.
    struct BilinearBackward = "resize/bilinear_backward" {
        params { count: u32 }
        read { dy }
        write { dx }
    }
}

/// Whether sides of `from` can become sides of `to`: none is 0, and kernels count parts of pixels in 32 bits.
fn check([from, to]: [[usize; 2]; 2]) -> Result<(), String> {
    for (axis, from, to) in [("height", from[0], to[0]), ("width", from[1], to[1])] {
        if from == 0 || to == 0 {
            return Err(format!("{axis}: {from} cannot become {to}: neither may be 0"));
        }
        let parts = from.saturating_add(1).saturating_mul(to.saturating_add(1)).saturating_mul(2);
        if u32::try_from(parts).is_err() {
            return Err(format!("{axis}: {from} times {to} must stay below 2^31: resize in two steps"));
        }
    }
    Ok(())
}

impl Resize {
    /// Which pixels of a side of `from` pixel `at` of `to` is made of, and the weight of each.
    fn taps<T: Real>(self, at: usize, [from, to]: [usize; 2]) -> [(usize, T); 2] {
        match self.mode {
            ResizeMode::Nearest => [(at * from / to, T::of(1.0)), (0, T::default())],
            ResizeMode::Bilinear => {
                // In parts of a pixel, 2 to of them.
                let place = ((2 * at + 1) * from).saturating_sub(to);
                let (first, share) = (place / (2 * to), T::count(place % (2 * to)) / T::count(2 * to));
                [(first, T::of(1.0) - share), ((first + 1).min(from - 1), share)]
            }
        }
    }

    /// Number `at` of y [.., h, w, channels]: which numbers of x [.., H, W, channels] it is made of, and the weight of each.
    fn reads<T: Real>(self, at: usize, from: [usize; 2], channels: usize) -> impl Iterator<Item = (usize, T)> {
        let [height, width] = self.size;
        let (pixel, c) = (at / channels, at % channels);
        let (image, h, w) = (pixel / (height * width), pixel / width % height, pixel % width);
        let (down, across) = (self.taps::<T>(h, [from[0], height]), self.taps::<T>(w, [from[1], width]));
        down.into_iter().flat_map(move |(h, weight)| {
            let place = move |w: usize| ((image * from[0] + h) * from[1] + w) * channels + c;
            across.into_iter().map(move |(w, share)| (place(w), weight * share))
        })
    }

    /// The build for images of these sizes, and its grid over `count` elements.
    fn build(self, io: &Io<'_>, from: [usize; 2], channels: usize) -> (u32, Variant, Grid) {
        let (lanes, lane) = (tuning::lanes(io.machine), tuning::width_of_pairs(channels));
        let columns = channels / lane.elements();
        let count = io.outputs[0].shape.count() / lane.elements();
        let variant = Variant::of(io.elem(0)).piece(lane.piece()).constant("WORKGROUP", lanes);
        let sizes = [
            ("HEIGHT", from[0]),
            ("WIDTH", from[1]),
            ("OUT_HEIGHT", self.size[0]),
            ("OUT_WIDTH", self.size[1]),
            ("COLUMNS", columns),
        ];
        let variant = sizes.into_iter().fold(variant, |variant, (name, size)| variant.constant(name, word(size)));
        (word(count), variant, Grid::over(count, lanes as usize))
    }

    fn functions(self) -> &'static [Function] {
        match self.mode {
            ResizeMode::Nearest => &[],
            ResizeMode::Bilinear => &[Function::Divide],
        }
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x] | [x, _]) = inputs else {
            return Err(format!("takes x and perhaps beside, not {} inputs", inputs.len()));
        };
        let Some([n, height, width, channels]) = x.shape.rank() else {
            return Err(format!("x must be [N, height, width, channels] and is {}", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        check([[height, width], self.size])?;
        let y = x.shaped([n, self.size[0], self.size[1], channels]);
        match inputs.get(1).filter(|beside| **beside != y) {
            Some(beside) => Err(format!("beside must be {y} as y and is {beside}")),
            None => Ok(vec![y]),
        }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1][..inputs.len()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [_, height, width, channels] = io.input_dims(0);
        let (count, variant, grid) = self.build(io, [height, width], channels);
        let adds = io.inputs.len() > 1;
        let variant = variant.constant("ADDS", adds.into());
        let (x, beside, y) = (io.input(0), io.input(adds.into()), io.output(0));
        match self.mode {
            ResizeMode::Nearest => out.dispatch(&Nearest { count, x, beside, y }, variant, grid),
            ResizeMode::Bilinear => out.dispatch(&Bilinear { count, x, beside, y }, variant, grid),
        }
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[x, beside] = inputs else { return Ok(None) };
        let resized = graph.apply_one(*self, &[x])?;
        Ok(Some(vec![Some(graph.apply_one(Add, &[resized, beside])?)]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        (inputs == 1 && next.downcast::<Add>().is_some()).then(|| Box::new(*self) as Box<dyn Op>)
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let [_, height, width, _] = graph.tensor(node.inputs[0]).shape.dims();
        let backward = ResizeBackward { resize: *self, from: [height, width] };
        let dx = graph.apply_one(backward, &[dy])?;
        Ok([Some(dx), Some(dy)][..node.inputs.len()].to_vec())
    }

    fn functions(&self) -> &'static [Function] {
        Self::functions(*self)
    }
}

impl Maths for Resize {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, height, width, channels] = inputs[0].dims();
        vec![Array::from_fn(&[n, self.size[0], self.size[1], channels], |at| {
            let resized: T = self
                .reads(at, [height, width], channels)
                .map(|(from, weight): (usize, T)| weight * inputs[0].data[from])
                .sum();
            inputs.get(1).map_or(resized, |beside| resized + beside.data[at])
        })]
    }
}

impl Op for ResizeBackward {
    fn name(&self) -> &'static str {
        "resize_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [dy] = inputs else { return Err(format!("takes dy, not {} inputs", inputs.len())) };
        let Some([n, height, width, channels]) = dy.shape.rank() else {
            return Err(format!("dy must be [N, height, width, channels] and is {}", dy.shape));
        };
        if dy.elem == Elem::U32 {
            return Err("dy must be f32 or f16, not u32".to_owned());
        }
        if [height, width] != self.resize.size {
            return Err(format!("images are resized to {:?}, and dy is {}", self.resize.size, dy.shape));
        }
        check([self.from, self.resize.size])?;
        Ok(vec![dy.shaped([n, self.from[0], self.from[1], channels])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [_, _, _, channels] = io.input_dims(0);
        let (count, variant, grid) = self.resize.build(io, self.from, channels);
        let (dy, dx) = (io.input(0), io.output(0));
        match self.resize.mode {
            ResizeMode::Nearest => out.dispatch(&NearestBackward { count, dy, dx }, variant, grid),
            ResizeMode::Bilinear => out.dispatch(&BilinearBackward { count, dy, dx }, variant, grid),
        }
    }

    fn functions(&self) -> &'static [Function] {
        self.resize.functions()
    }
}

impl Maths for ResizeBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, _, _, channels] = inputs[0].dims();
        let mut dx = Array::zeros(&[n, self.from[0], self.from[1], channels]);
        for (at, &dy) in inputs[0].data.iter().enumerate() {
            self.resize.reads(at, self.from, channels).for_each(|(to, weight): (usize, T)| dx.data[to] += weight * dy);
        }
        vec![dx]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Resize>(
            "resize",
            "nearest: pixel i of h is pixel ⌊i H / h⌋; bilinear: it lies at max((i + ½) H / h − ½, 0), between the pixel before it and the next, if there is one; along the width alike; beside is added",
            &[("size", "[h, w]"), ("mode", "\"nearest\" or \"bilinear\"")],
            [&[("x", "T [N, H, W, C]"), ("beside?", "T [N, h, w, C]")], &[("y", "T [N, h, w, C]")]],
        ),
        Signature::of::<ResizeBackward>(
            "resize_backward",
            "dx = the sum of dy over the pixels that read the pixel, each times its weight there",
            &[("size", "[h, w]"), ("mode", "\"nearest\" or \"bilinear\""), ("from", "[H, W]")],
            [&[("dy", "T [N, h, w, C]")], &[("dx", "T [N, H, W, C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |mode: ResizeMode, size: [usize; 2], shape: &[usize]| Case::new(Resize { size, mode }, &[shape]);
    let mut cases = Vec::new();
    for mode in [ResizeMode::Nearest, ResizeMode::Bilinear] {
        // Sides that grow, shrink, stay and do both; by whole factors and by none; to one pixel and from one.
        cases.extend([
            case(mode, [1, 1], &[1, 1, 1, 1]),
            case(mode, [5, 7], &[2, 5, 7, 3]),
            case(mode, [8, 6], &[2, 4, 3, 8]),
            case(mode, [7, 3], &[3, 3, 7, 5]),
            case(mode, [4, 4], &[2, 14, 13, 4]),
            case(mode, [1, 5], &[1, 9, 1, 2]),
            case(mode, [13, 1], &[2, 1, 6, 3]),
            case(mode, [11, 17], &[1, 4, 5, 33]),
            case(mode, [2, 9], &[1, 31, 2, 1]),
            case(mode, [9, 5], &[2, 4, 6, 6]),
        ]);
    }
    let (nearest, bilinear) = (ResizeMode::Nearest, ResizeMode::Bilinear);
    let added = |mode: ResizeMode, size: [usize; 2], shape: [usize; 4]| {
        Case::new(Resize { size, mode }, &[&shape, &[shape[0], size[0], size[1], shape[3]]])
    };
    for mode in [nearest, bilinear] {
        cases.extend([
            added(mode, [7, 3], [3, 4, 2, 5]),
            added(mode, [8, 6], [2, 4, 3, 8]),
            added(mode, [1, 1], [1, 1, 1, 1]),
        ]);
    }
    cases.push(added(nearest, [100, 152], [2, 50, 76, 256]).real("fpn top-down, stride 8, with its sum"));
    cases.push(case(bilinear, [4, 4], &[256, 14, 14, 256]).real("pooling tokenizer, 14x14"));
    cases.push(case(nearest, [100, 152], &[2, 50, 76, 256]).real("fpn top-down, stride 8"));
    cases.push(case(bilinear, [200, 304], &[2, 100, 152, 128]).real("semantic fpn head, stride 4"));
    cases.push(case(bilinear, [800, 1216], &[2, 200, 304, 54]).real("semantic fpn logits"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Shape;

    #[test]
    fn sizes_that_cannot_be_are_refused_by_name() {
        let x = [Tensor::f32(Shape::from([1, 4, 4, 1]))];
        let refused = |size, word: &str| {
            let resize = Resize { size, mode: ResizeMode::Nearest };
            resize.outputs(&x).is_err_and(|problem| problem.contains(word))
        };
        assert!(refused([0, 4], "height") && refused([4, 0], "width"));
        assert!(refused([4, 1 << 30], "below 2^31"));
        let labels = [Tensor::new([1, 4, 4, 1], Elem::U32)];
        assert!(Resize { size: [2, 2], mode: ResizeMode::Nearest }.outputs(&labels).is_err());
    }

    /// The values that PyTorch's documentation of `Upsample` gives for twice the size.
    #[test]
    fn two_by_two_grows_as_documented() {
        let x = Array { shape: vec![1, 2, 2, 1], data: vec![1.0, 2.0, 3.0, 4.0] };
        let made = |mode| Resize { size: [4, 4], mode }.maths(&[&x])[0].data.clone();
        assert_eq!(made(ResizeMode::Nearest)[..8], [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(made(ResizeMode::Bilinear)[..8], [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5]);
    }
}
