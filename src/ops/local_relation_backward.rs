//! The gradients of local relation: ds = w (dy x − Σ dy y), with the weights w made again from `log_sum`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::local_relation::{LocalRelation, Sizes};
use super::sum_rows::sum_rows;
use crate::graph::{Cost, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::{self, Lines, Runs, Teams};
use crate::kernel::{Elem, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// q, k, x, geometry, y, log_sum, dy → dq, dk, dx, dgeometry, each of the shape and type of what it is the gradient of.
///
/// For each group, with x = 0 and no slope outside of the image: w = exp(score − log_sum) and ds = w (dy x − Σ dy y);
/// dq = scale Σ ds ∂similarity/∂q over the taps of a window; dk = scale Σ ds ∂similarity/∂k and dx = Σ w dy over the windows that a
/// pixel is in; dgeometry = Σ ds over all pixels, for each tap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalRelationBackward(pub LocalRelation);

kernel! {
    /// One lane a group of a pixel of y.
    struct Rows = "local_relation/backward_rows" {
        params { count: u32 }
        read { log_sum, y, dy }
        write { rows }
    }
}

kernel! {
    /// One lane a group of a run of pixels of y; a workgroup adds up what its lanes have of each tap.
    struct Queries = "local_relation/backward_queries" {
        params { runs: u32, blocks: u32, scale: f32, slope: f32 }
        read { q, k, x, geometry, rows, dy }
        write { dq, block_dgeometry }
    }
}

kernel! {
    /// One lane a group of a run of pixels of x.
    struct Keys = "local_relation/backward_keys" {
        params { lanes: u32, scale: f32, slope: f32 }
        read { q, k, x, geometry, rows, dy }
        write { dk, dx }
    }
}

impl LocalRelationBackward {
    fn rows(io: &Io<'_>, sizes: &Sizes, out: &mut Recording) -> View {
        let (count, lanes) = (io.inputs[5].shape.count(), tuning::lanes(io.machine));
        let rows = out.scratch(2 * count);
        let call = Rows { count: word(count), log_sum: io.input(5), y: io.input(4), dy: io.input(6), rows };
        let width = tuning::width(sizes.channels);
        let variant = Variant::of(io.elem(2)).piece(width.piece()).constant("WORKGROUP", lanes);
        let variant = variant.constant("STRIPS", word(sizes.channels / width.elements()));
        out.dispatch(&call, variant, Grid::over(count, lanes as usize));
        rows
    }

    /// The gradients of q and geometry, gathered by pixels of y.
    fn queries(&self, io: &Io<'_>, (sizes, rows): (&Sizes, View), out: &mut Recording) {
        let op = &self.0;
        let runs = Runs::of(io.machine, &op.out_lines(sizes));
        let each = runs.count / sizes.groups;
        let teams = Teams::of(io.machine, [each, sizes.groups, op.kernel[1]]);
        let taps = op.kernel[0] * op.kernel[1] * sizes.groups;
        let block_dgeometry = match teams.blocks {
            1 => io.output(3),
            blocks => out.scratch(blocks * taps),
        };
        let call = Queries {
            runs: word(each),
            blocks: word(teams.blocks),
            scale: op.scale_log2(),
            slope: op.scale as f32,
            q: io.input(0),
            k: io.input(1),
            x: io.input(2),
            geometry: io.input(3),
            rows,
            dy: io.input(6),
            dq: io.output(0),
            block_dgeometry,
        };
        let variant = op.build(io.elem(2), sizes, &runs).constant("WORKGROUP", teams.lanes);
        let variant = variant.constant("GROUPS_AT_ONCE", word(teams.groups));
        out.dispatch(&call, variant, Grid::of(teams.across * teams.blocks));
        if teams.blocks > 1 {
            sum_rows(io, (Elem::F32, [teams.blocks, taps]), [block_dgeometry, io.output(3)], out);
        }
    }

    /// The gradients of k and x, gathered by pixels of x.
    fn keys(&self, io: &Io<'_>, (sizes, rows): (&Sizes, View), out: &mut Recording) {
        let op = &self.0;
        let [height, width] = sizes.size;
        let runs = Runs::of(
            io.machine,
            &Lines {
                // Pixels of a line are those of a row that lie a stride apart.
                count: sizes.images * height * op.stride * sizes.groups,
                length: width.div_ceil(op.stride),
                height,
                channels: sizes.channels,
                window: op.kernel[1].div_ceil(op.stride),
                step: 1,
            },
        );
        let lanes = tuning::lanes(io.machine);
        let call = Keys {
            lanes: word(runs.count),
            scale: op.scale_log2(),
            slope: op.scale as f32,
            q: io.input(0),
            k: io.input(1),
            x: io.input(2),
            geometry: io.input(3),
            rows,
            dy: io.input(6),
            dk: io.output(1),
            dx: io.output(2),
        };
        let variant = op.build(io.elem(2), sizes, &runs).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(runs.count, lanes as usize));
    }
}

impl Op for LocalRelationBackward {
    fn name(&self) -> &'static str {
        "local_relation_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [q, k, x, geometry, y, log_sum, dy] = inputs else {
            return Err(format!("takes q, k, x, geometry, y, log_sum and dy, not {} inputs", inputs.len()));
        };
        let [makes, sums] = self.0.check([q, k, x, geometry])?;
        let wanted = [("y", y, &makes), ("log_sum", log_sum, &sums), ("dy", dy, &makes)];
        match wanted.iter().find(|(_, given, wants)| given != wants) {
            Some((name, given, wants)) => Err(format!("{name} must be {wants} and is {given}")),
            None => Ok([q, k, x, geometry].map(Tensor::clone).into()),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = Sizes::known(io.input_dims(0), io.input_dims(2));
        let rows = Self::rows(io, &sizes, out);
        self.queries(io, (&sizes, rows), out);
        self.keys(io, (&sizes, rows), out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Divide]
    }

    /// Three multiply-adds a tap for each number of y, one of them to learn how much its weight matters, and three for each score.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let numbers = inputs[4].shape.count() + inputs[5].shape.count();
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: (3 * self.0.kernel[0] * self.0.kernel[1] * numbers) as u64, bytes }
    }
}

impl Maths for LocalRelationBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[q, k, x, geometry, y, log_sum, dy] = inputs else { unreachable!("the shape rule fixed the inputs") };
        let op = self.0;
        let sizes = Sizes::known(q.dims(), x.dims());
        let Sizes { images, size: [height, width], out: [out_height, out_width], groups, channels } = sizes;
        let scale = T::of(op.scale);
        let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a * b).sum::<T>();
        // What a group of an image adds: to dq, dk and dx pixel by pixel, and to its column of dgeometry.
        let one = |part: usize| {
            let (image, group) = (part / groups, part % groups);
            let [mut dq, mut dk, mut dgeometry] =
                [out_height * out_width, height * width, geometry.data.len() / groups].map(|n| vec![T::default(); n]);
            let mut dx = vec![T::default(); height * width * channels];
            for (out, dq) in dq.iter_mut().enumerate() {
                let row = (image * out_height * out_width + out) * groups + group;
                let slopes = &dy.data[row * channels..][..channels];
                let mean = dot(slopes, &y.data[row * channels..][..channels]);
                for (tap, pixel) in op.taps(&sizes, [out / out_width, out % out_width]) {
                    let from = pixel.map(|pixel| (image * height * width + pixel) * groups + group);
                    let prior = geometry.data[tap * groups + group];
                    let score = op.score(q.data[row], from.map(|from| k.data[from]), prior);
                    let weight = (score - log_sum.data[row]).exp();
                    let gained = from.map_or(T::default(), |from| dot(slopes, &x.data[from * channels..][..channels]));
                    let ds = weight * (gained - mean);
                    dgeometry[tap] += ds;
                    if let Some((pixel, from)) = pixel.zip(from) {
                        let [by_q, by_k] = op.similarity.slopes(q.data[row], k.data[from]);
                        *dq += scale * ds * by_q;
                        dk[pixel] += scale * ds * by_k;
                        let to = &mut dx[pixel * channels..][..channels];
                        to.iter_mut().zip(slopes).for_each(|(to, &slope)| *to += weight * slope);
                    }
                }
            }
            [dq, dk, dx, dgeometry]
        };
        let parts: Vec<[Vec<T>; 4]> = (0..images * groups).into_par_iter().map(one).collect();
        // Of what lies [images, groups][pixels, each].
        let joined = |which: usize, like: &Array<T>, each: usize| {
            let pixels = like.data.len() / (images * groups * each);
            Array::from_fn(&like.shape, |at| {
                let (row, channel) = (at / each, at % each);
                let (image, pixel, group) = (row / (pixels * groups), row / groups % pixels, row % groups);
                parts[image * groups + group][which][pixel * each + channel]
            })
        };
        let dgeometry = Array::from_fn(&geometry.shape, |at| {
            (0..images).map(|image| parts[image * groups + at % groups][3][at / groups]).sum()
        });
        vec![joined(0, q, 1), joined(1, k, 1), joined(2, x, channels), dgeometry]
    }
}

/// The attributes of both ops.
pub(super) const ATTRIBUTES: &[(&str, &str)] = &[
    ("kernel", "[height, width] of a window, both odd"),
    ("stride", "rows and columns from window to window"),
    (
        "similarity",
        "`product` (q k), `key` (k), `distance` (−|q − k|), `relative_distance` (−|q − k| / (|q| + |k| + 1)), `relative_square` (−(q − k)² / (|q k| + 1)) or `square` (−(q − k)²)",
    ),
    ("scale", "a number that similarities are multiplied by"),
];

pub(super) const SIGNATURE: Signature = Signature::of::<LocalRelationBackward>(
    "local_relation_backward",
    "with x = 0 and no slope outside of the image, w = exp(score − log_sum) and ds = w (dy x − Σ dy y) by groups: dq = scale Σ ds ∂similarity/∂q over a window, dk = scale Σ ds ∂similarity/∂k and dx = Σ w dy over the windows that a pixel is in, dgeometry = Σ ds over all pixels",
    ATTRIBUTES,
    [
        &[
            ("q", "T [N, Ho, Wo, G]"),
            ("k", "T [N, H, W, G]"),
            ("x", "T [N, H, W, C]"),
            ("geometry", "f32 [kernel height · kernel width, G]"),
            ("y", "T [N, Ho, Wo, C]"),
            ("log_sum", "f32 [N, Ho, Wo, G]"),
            ("dy", "T [N, Ho, Wo, C]"),
        ],
        &[
            ("dq", "T [N, Ho, Wo, G]"),
            ("dk", "T [N, H, W, G]"),
            ("dx", "T [N, H, W, C]"),
            ("dgeometry", "f32 [kernel height · kernel width, G]"),
        ],
    ],
);
