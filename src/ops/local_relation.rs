//! Local relation: every pixel gathers the window around it, each pixel of it as much as it is alike.
//!
//! Hu, Zhang, Xie and Lin 2019, Local Relation Networks for Image Recognition. Details that the paper leaves open are those of the
//! authors' code (microsoft/Swin-Transformer, branch LR-Net, `ops/local_relation`).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::local_relation_backward::{ATTRIBUTES, LocalRelationBackward, SIGNATURE};
use super::{Entry, by_image};
use crate::graph::{
    ByImage, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::tuning::{self, GroupStrips, Lines, Runs};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// q [N, Ho, Wo, G], k [N, H, W, G], x [N, H, W, C], geometry `f32 [kernel height · kernel width, G]` →
/// y [N, Ho, Wo, C], log_sum `f32 [N, Ho, Wo, G]`, with Ho = (H − 1) / stride + 1, rounded down; Wo alike.
///
/// The C channels are G groups of C / G neighbors that share one aggregation. Pixel (h, w) of y has the window around pixel (stride h,
/// stride w) of x: y = Σ softmax(score) x over its taps, with score = scale · similarity(q, k) + geometry. log_sum is the logarithm of the
/// softmax's denominator, from which the backward pass makes the weights again.
///
/// Taps outside of the image score −100 + geometry and add nothing to y, but stay in the denominator, as in the authors' code: beside
/// similarities of ordinary size they weigh nothing, beside those far below −100 everything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalRelation {
    /// Height and width of a window: odd, and at most 31.
    pub kernel: [usize; 2],
    /// Rows and columns from window to window.
    pub stride: usize,
    /// How alike q of a pixel and k of another are.
    pub similarity: Similarity,
    /// What similarities are multiplied by.
    pub scale: f64,
}

/// How alike a query and a key are, both numbers: the six forms of the authors' code, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// q k.
    Product,
    /// k, whatever asks.
    Key,
    /// −|q − k|; slopes are 0 where both are equal.
    Distance,
    /// −|q − k| / (|q| + |k| + 1); what |·| adds to slopes at 0 is 0.
    RelativeDistance,
    /// −(q − k)² / (|q k| + 1); what |·| adds to slopes at 0 is 0.
    RelativeSquare,
    /// −(q − k)².
    Square,
}

kernel! {
    /// One lane a group of a run of pixels of y.
    struct Forward = "local_relation/forward" {
        params { lanes: u32, scale: f32 }
        read { q, k, x, geometry }
        write { y, log_sum }
    }
}

/// What a pixel outside of the image scores beside its geometry.
const OUTSIDE: f64 = -100.0;
/// The longest side of a window: a row of its scores is held in registers.
const LONGEST: usize = 31;

impl Similarity {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Product, Self::Key, Self::Distance, Self::RelativeDistance, Self::RelativeSquare, Self::Square];

    const fn piece(self) -> &'static str {
        match self {
            Self::Product => "similarity_product",
            Self::Key => "similarity_key",
            Self::Distance => "similarity_distance",
            Self::RelativeDistance => "similarity_relative_distance",
            Self::RelativeSquare => "similarity_relative_square",
            Self::Square => "similarity_square",
        }
    }

    fn of<T: Real>(self, q: T, k: T) -> T {
        match self {
            Self::Product => q * k,
            Self::Key => k,
            Self::Distance => -size(q - k),
            Self::RelativeDistance => -size(q - k) / (size(q) + size(k) + T::of(1.0)),
            Self::RelativeSquare => -(q - k) * (q - k) / (size(q * k) + T::of(1.0)),
            Self::Square => -(q - k) * (q - k),
        }
    }

    /// Its slopes by q and by k.
    pub(super) fn slopes<T: Real>(self, q: T, k: T) -> [T; 2] {
        let (one, two) = (T::of(1.0), T::of(2.0));
        match self {
            Self::Product => [k, q],
            Self::Key => [T::default(), one],
            Self::Distance => [sign(k - q), sign(q - k)],
            Self::RelativeDistance => {
                let whole = size(q) + size(k) + one;
                let slope = |q: T, k: T| sign(k - q) / whole + size(q - k) * sign(q) / (whole * whole);
                [slope(q, k), slope(k, q)]
            }
            Self::RelativeSquare => {
                let whole = size(q * k) + one;
                let slope =
                    |q: T, k: T| two * (k - q) / whole + (q - k) * (q - k) * sign(q) * size(k) / (whole * whole);
                [slope(q, k), slope(k, q)]
            }
            Self::Square => [two * (k - q), two * (q - k)],
        }
    }
}

fn size<T: Real>(x: T) -> T {
    if x < T::default() { -x } else { x }
}

/// 0 at 0.
fn sign<T: Real>(x: T) -> T {
    let at = |holds: bool| if holds { T::of(1.0) } else { T::default() };
    at(x > T::default()) - at(x < T::default())
}

/// Sizes of q, k and x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) images: usize,
    /// H and W, Ho and Wo.
    pub(super) size: [usize; 2],
    pub(super) out: [usize; 2],
    pub(super) groups: usize,
    /// Channels of a group.
    pub(super) channels: usize,
}

impl Sizes {
    /// The sizes, once the shape rule has let the inputs pass.
    pub(super) const fn known(q: [usize; 4], x: [usize; 4]) -> Self {
        let [images, out_height, out_width, groups] = q;
        let [_, height, width, channels] = x;
        Self { images, size: [height, width], out: [out_height, out_width], groups, channels: channels / groups }
    }
}

impl LocalRelation {
    /// What the outputs are made of, and y and log_sum.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub(super) fn check(&self, [q, k, x, geometry]: [&Tensor; 4]) -> Result<[Tensor; 2], String> {
        let [kernel_height, kernel_width] = self.kernel;
        if self.kernel.iter().any(|side| side % 2 == 0 || *side > LONGEST) {
            return Err(format!(
                "a window of {kernel_height} x {kernel_width} must have odd sides of at most {LONGEST}, to have a middle"
            ));
        }
        if self.stride == 0 {
            return Err("stride 0 must be at least 1".to_owned());
        }
        let [Some([n, height, width, channels]), Some([.., groups])] = [x.shape.rank(), q.shape.rank::<4>()] else {
            return Err(format!(
                "q and x must be [N, height, width, channels], q of one channel a group, and are {} and {}",
                q.shape, x.shape
            ));
        };
        if x.elem == Elem::U32 || [n, height, width, channels, groups].contains(&0) {
            return Err(format!("x must be f32 or f16 and no size may be 0; x is {x} and q {q}"));
        }
        if channels % groups != 0 {
            return Err(format!("{groups} groups, the channels of q, do not divide the {channels} channels of x"));
        }
        let [out_height, out_width] = [height, width].map(|size| (size - 1) / self.stride + 1);
        let wanted = [
            ("q", q, x.shaped([n, out_height, out_width, groups])),
            ("k", k, x.shaped([n, height, width, groups])),
            ("geometry", geometry, Tensor::f32([kernel_height * kernel_width, groups])),
        ];
        if let Some((name, given, wants)) = wanted.iter().find(|(_, given, wants)| *given != wants) {
            return Err(format!("with x {x} and stride {}, {name} must be {wants} and is {given}", self.stride));
        }
        Ok([x.shaped([n, out_height, out_width, channels]), Tensor::f32([n, out_height, out_width, groups])])
    }

    /// The lines of y's pixels.
    pub(super) const fn out_lines(&self, sizes: &Sizes) -> Lines {
        let [height, length] = sizes.out;
        let count = sizes.images * height * sizes.groups;
        Lines { count, length, height, channels: sizes.channels, window: self.kernel[1], step: self.stride }
    }

    /// The build of a kernel with windows on such images.
    pub(super) fn build(&self, elem: Elem, sizes: &Sizes, runs: &Runs) -> Variant {
        let pairs = [
            (["HEIGHT", "WIDTH"], sizes.size),
            (["OUT_HEIGHT", "OUT_WIDTH"], sizes.out),
            (["KERNEL_H", "KERNEL_W"], self.kernel),
            (["STRIDE", "GROUPS"], [self.stride, sizes.groups]),
        ];
        let build = GroupStrips::of(elem, sizes.channels).build(elem).piece(self.similarity.piece());
        let pair = |build: Variant, (names, numbers): ([&'static str; 2], [usize; 2])| {
            build.constant(names[0], word(numbers[0])).constant(names[1], word(numbers[1]))
        };
        pairs.into_iter().fold(runs.build(build), pair)
    }

    /// What kernels multiply similarities by: they count scores in powers of two.
    pub(super) fn scale_log2(&self) -> f32 {
        (self.scale * std::f64::consts::LOG2_E) as f32
    }

    /// For each tap of the window of pixel (out_h, out_w): its number, and the pixel of x where the image has it.
    pub(super) fn taps(
        &self,
        sizes: &Sizes,
        [out_h, out_w]: [usize; 2],
    ) -> impl Iterator<Item = (usize, Option<usize>)> + use<> {
        let ([kernel_height, kernel_width], stride, [height, width]) = (self.kernel, self.stride, sizes.size);
        (0..kernel_height * kernel_width).map(move |tap| {
            let h = (out_h * stride + tap / kernel_width).checked_sub(kernel_height / 2).filter(|h| *h < height);
            let w = (out_w * stride + tap % kernel_width).checked_sub(kernel_width / 2).filter(|w| *w < width);
            (tap, h.zip(w).map(|(h, w)| h * width + w))
        })
    }

    /// A tap's score: of a key, or of none outside of the image.
    pub(super) fn score<T: Real>(&self, q: T, k: Option<T>, geometry: T) -> T {
        geometry + k.map_or(T::of(OUTSIDE), |k| T::of(self.scale) * self.similarity.of(q, k))
    }
}

impl Op for LocalRelation {
    fn name(&self) -> &'static str {
        "local_relation"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [q, k, x, geometry] = inputs else {
            return Err(format!("takes q, k, x and geometry, not {} inputs", inputs.len()));
        };
        Ok(self.check([q, k, x, geometry])?.into())
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = Sizes::known(io.input_dims(0), io.input_dims(2));
        let runs = Runs::of(io.machine, &self.out_lines(&sizes));
        let lanes = tuning::lanes(io.machine);
        let call = Forward {
            lanes: word(runs.count),
            scale: self.scale_log2(),
            q: io.input(0),
            k: io.input(1),
            x: io.input(2),
            geometry: io.input(3),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let variant = self.build(io.elem(2), &sizes, &runs).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(runs.count, lanes as usize));
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        if grads[1].is_some() {
            let why = "log_sum is kept for the backward pass; only y may be differentiated";
            return Err(GraphError::NoGradient { op: self.name().to_owned(), why });
        }
        let Some(dy) = grads[0] else { return Ok(vec![None; 4]) };
        let inputs = [&node.inputs[..], &node.outputs, &[dy]].concat();
        Ok(graph.apply(LocalRelationBackward(*self), &inputs)?.into_iter().map(Some).collect())
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log, Function::Divide]
    }

    /// A multiply-add a tap for each number of y, and one for each score.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let numbers: usize = outputs.iter().map(|tensor| tensor.shape.count()).sum();
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: (self.kernel[0] * self.kernel[1] * numbers) as u64, bytes }
    }
}

impl Maths for LocalRelation {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[q, k, x, geometry] = inputs else { return Vec::new() };
        let sizes = Sizes::known(q.dims(), x.dims());
        let Sizes { images, size: [height, width], out: [out_height, out_width], groups, channels } = sizes;
        // A row is a group of a pixel of y.
        let relate = |row: usize| {
            let (pixel, group) = (row / groups, row % groups);
            let image = pixel / (out_height * out_width) * height * width;
            let place = [pixel / out_width % out_height, pixel % out_width];
            let at = |pixel: usize| (image + pixel) * groups + group;
            let score = |(tap, pixel): (usize, Option<usize>)| {
                self.score(q.data[row], pixel.map(|pixel| k.data[at(pixel)]), geometry.data[tap * groups + group])
            };
            let scores: Vec<T> = self.taps(&sizes, place).map(score).collect();
            let largest = scores.iter().copied().fold(scores[0], T::max);
            let sum = scores.iter().map(|&score| (score - largest).exp()).sum::<T>();
            let mut y = vec![T::default(); channels];
            for ((_, pixel), &score) in self.taps(&sizes, place).zip(&scores) {
                if let Some(pixel) = pixel {
                    let weight = (score - largest).exp() / sum;
                    let values = &x.data[at(pixel) * channels..][..channels];
                    y.iter_mut().zip(values).for_each(|(y, &value)| *y += weight * value);
                }
            }
            (y, largest + sum.ln())
        };
        let rows: Vec<(Vec<T>, T)> = (0..q.data.len()).into_par_iter().map(relate).collect();
        let shape = [images, out_height, out_width, groups * channels];
        vec![
            Array::from_fn(&shape, |at| rows[at / channels].0[at % channels]),
            Array::from_fn(&q.shape, |at| rows[at].1),
        ]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<LocalRelation>(
            "local_relation",
            "y = Σ softmax(score) x over the window around a pixel, score = scale similarity(q, k) + geometry, by groups of C / G channels; outside of the image x = 0 and score = geometry − 100; log_sum is the logarithm of the softmax's denominator; Ho = (H − 1) / stride + 1, rounded down",
            ATTRIBUTES,
            [
                &[
                    ("q", "T [N, Ho, Wo, G]"),
                    ("k", "T [N, H, W, G]"),
                    ("x", "T [N, H, W, C]"),
                    ("geometry", "f32 [kernel height · kernel width, G]"),
                ],
                &[("y", "T [N, Ho, Wo, C]"), ("log_sum", "f32 [N, Ho, Wo, G]")],
            ],
        ),
        SIGNATURE,
    ],
    cases: super::local_relation_cases::cases,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let op = LocalRelation { kernel: [3, 3], stride: 2, similarity: Similarity::Square, scale: 1.0 };
        let shapes = |q: [usize; 4], k: [usize; 4], x: [usize; 4], taps: [usize; 2]| {
            vec![Tensor::f32(q), Tensor::f32(k), Tensor::f32(x), Tensor::f32(taps)]
        };
        let fits = shapes([1, 3, 2, 2], [1, 5, 4, 2], [1, 5, 4, 6], [9, 2]);
        let made = op.outputs(&fits).expect("fits");
        assert_eq!(made, [Tensor::f32([1, 3, 2, 6]), Tensor::f32([1, 3, 2, 2])]);
        let refused = |op: LocalRelation, inputs: &[Tensor], word: &str| {
            let problem = op.outputs(inputs).expect_err("does not fit");
            assert!(problem.contains(word), "{problem}");
        };
        refused(LocalRelation { kernel: [3, 2], ..op }, &fits, "odd");
        refused(LocalRelation { kernel: [33, 3], ..op }, &fits, "at most 31");
        refused(LocalRelation { stride: 0, ..op }, &fits, "stride 0");
        refused(op, &fits[1..], "takes q, k, x and geometry");
        refused(op, &shapes([1, 3, 2, 4], [1, 5, 4, 4], [1, 5, 4, 6], [9, 4]), "do not divide");
        refused(op, &shapes([1, 2, 2, 2], [1, 5, 4, 2], [1, 5, 4, 6], [9, 2]), "q must be");
        refused(op, &shapes([1, 3, 2, 2], [1, 4, 4, 2], [1, 5, 4, 6], [9, 2]), "k must be");
        refused(op, &shapes([1, 3, 2, 2], [1, 5, 4, 2], [1, 5, 4, 6], [9, 3]), "geometry must be");
        refused(op, &shapes([1, 3, 2, 2], [1, 5, 4, 2], [1, 5, 4, 0], [9, 2]), "no size may be 0");
    }

    /// Slopes at 0 of what has a kink there.
    #[test]
    fn equal_numbers_have_no_slope() {
        for similarity in [Similarity::Distance, Similarity::RelativeDistance, Similarity::RelativeSquare] {
            assert_eq!(similarity.slopes(0.0_f64, 0.0), [0.0, 0.0], "{similarity:?}");
        }
        assert_eq!(Similarity::Distance.slopes(2.0_f64, 2.0), [0.0, 0.0]);
        assert_eq!(Similarity::RelativeDistance.slopes(0.0_f64, 1.0)[0], 0.5);
    }

    /// A lone pixel among taps outside of the image: its weight is e^score / (e^score + 8 e^-100).
    #[test]
    fn pixels_outside_stay_in_the_denominator() {
        let op = LocalRelation { kernel: [3, 3], stride: 1, similarity: Similarity::Key, scale: 1.0 };
        let one = |value: f64| Array { shape: vec![1, 1, 1, 1], data: vec![value] };
        let geometry = Array::zeros(&[9, 1]);
        let made = op.maths(&[&one(0.0), &one(-100.0), &one(9.0), &geometry]);
        assert!((made[0].data[0] - 1.0).abs() < 1e-12, "{made:?}");
        assert!((made[1].data[0] - (9.0_f64.ln() - 100.0)).abs() < 1e-12, "{made:?}");
    }
}
