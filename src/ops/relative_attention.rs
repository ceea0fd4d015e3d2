//! Attention of pixels to pixels, with logits that know where the two stand relative to each other.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::relative_attention_backward::{self as backward, RelativeAttentionBackward};
use super::relative_attention_tiles::{QueryTile, Sizes};
use super::{Entry, by_image};
use crate::graph::{
    ByImage, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::{Grid, Recording, word};
use crate::reference::{Array, Real};

/// qkv[N, H, W, 2 K + D], rel_height[2 H − 1, K / heads], rel_width[2 W − 1, K / heads] → y[N, H, W, D], log_sum f32[N, H W, heads].
///
/// The channels of qkv are K of queries, K of keys and D of values; a head takes K / heads or D / heads neighboring ones of each. For pixels i
/// and j, y_i = Σ_j P_ij v_j with P = softmax over j of scale q_i · (k_j + rel_width[x_j − x_i + W − 1] + rel_height[y_j − y_i + H − 1]). All heads
/// have the tables in common. `log_sum` is the logarithm of the softmax's denominator, from which the backward pass makes P
/// again. (Bello et al. 2019, equations 2 to 4, where q is scaled before it meets keys and tables.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeAttention {
    /// Heads that the channels are split into.
    pub heads: usize,
    /// K: channels of queries, and of keys, of all heads.
    pub key_channels: usize,
    /// What logits are multiplied by before the softmax.
    pub scale: f64,
}

kernel! {
    /// A lane some queries; a workgroup's lanes meet all keys together.
    struct Forward = "relative_attention/forward" {
        params { batch: u32, scale: f32 }
        read { qkv, rel_height, rel_width }
        write { y, log_sum }
    }
}

impl RelativeAttention {
    /// The sizes for these qkv and tables.
    pub(super) fn sizes(&self, inputs: [&Tensor; 3]) -> Result<Sizes, String> {
        Sizes::of(inputs, self.heads, self.key_channels)
    }

    /// The sizes, once the shape rule has let qkv pass.
    pub(super) fn known_sizes(&self, qkv: [usize; 4]) -> Sizes {
        Sizes::known(qkv, self.heads, self.key_channels)
    }
}

impl Op for RelativeAttention {
    fn name(&self) -> &'static str {
        "relative_attention"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [qkv, rel_height, rel_width] = inputs else {
            return Err("takes qkv, rel_height and rel_width".to_owned());
        };
        let sizes = self.sizes([qkv, rel_height, rel_width])?;
        let y = qkv.shaped([sizes.batch, sizes.height, sizes.width, sizes.heads * sizes.values]);
        Ok(vec![y, Tensor::f32([sizes.batch, sizes.pixels(), sizes.heads])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = self.known_sizes(io.input_dims(0));
        let tile = QueryTile::forward(&sizes, io.machine);
        let call = Forward {
            batch: word(sizes.batch),
            scale: self.scale as f32,
            qkv: io.input(0),
            rel_height: io.input(1),
            rel_width: io.input(2),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let groups = sizes.batch * sizes.heads * tile.groups(&sizes);
        out.dispatch(&call, tile.build(sizes.build(io.elem(0))), Grid::of(groups));
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        if grads[1].is_some() {
            let why = "log_sum is kept for the backward pass; only y may be differentiated";
            return Err(GraphError::NoGradient { op: self.name().to_owned(), why });
        }
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let inputs = [&node.inputs[..], &node.outputs, &[dy]].concat();
        Ok(graph.apply(RelativeAttentionBackward { of: *self }, &inputs)?.into_iter().map(Some).collect())
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log, Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let sizes = self.known_sizes(inputs[0].shape.dims());
        // A query meets every key, every value, and of the tables a row for each column and each row of keys.
        let each = sizes.pixels() * (sizes.depth + sizes.values) + sizes.lines() * sizes.depth;
        let multiply_adds = (sizes.batch * sizes.heads * sizes.pixels() * each) as u64;
        Cost { multiply_adds, bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum() }
    }
}

impl Maths for RelativeAttention {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let pairs = Pairs::of(self, [inputs[0], inputs[1], inputs[2]]);
        let Sizes { batch, height, width, heads, values, .. } = pairs.sizes;
        let attend = |row: usize| {
            let logits = pairs.logits(row);
            let largest = logits.iter().copied().fold(logits[0], T::max);
            let weights: Vec<T> = logits.iter().map(|&logit| (logit - largest).exp()).collect();
            let sum = weights.iter().copied().sum::<T>();
            let mut y = vec![T::default(); values];
            for (key, &weight) in weights.iter().enumerate() {
                y.iter_mut().zip(pairs.value(row, key)).for_each(|(y, &value)| *y += weight / sum * value);
            }
            (y, largest + sum.ln())
        };
        let rows: Vec<(Vec<T>, T)> = (0..batch * height * width * heads).into_par_iter().map(attend).collect();
        let y = Array::from_fn(&[batch, height, width, heads * values], |at| rows[at / values].0[at % values]);
        vec![y, Array::from_fn(&[batch, height * width, heads], |row| rows[row].1)]
    }
}

/// What the maths of both passes looks at. A row is a query of a head; the rows of an image lie pixel by pixel, head by head.
pub(super) struct Pairs<'a, T> {
    pub sizes: Sizes,
    scale: T,
    qkv: &'a [T],
    tables: [&'a [T]; 2],
}

impl<'a, T: Real> Pairs<'a, T> {
    pub(super) fn of(op: &RelativeAttention, [qkv, rel_height, rel_width]: [&'a Array<T>; 3]) -> Self {
        let sizes = op.known_sizes(qkv.dims());
        Self { sizes, scale: T::of(op.scale), qkv: &qkv.data, tables: [&rel_height.data, &rel_width.data] }
    }

    /// Image, pixel and head of a row.
    fn place(&self, row: usize) -> [usize; 3] {
        let (pixels, heads) = (self.sizes.pixels(), self.sizes.heads);
        [row / (pixels * heads), row / heads % pixels, row % heads]
    }

    /// Where the query, key and value of a head of a pixel begin.
    pub(super) fn starts(&self, image: usize, pixel: usize, head: usize) -> [usize; 3] {
        let Sizes { heads, depth, values, .. } = self.sizes;
        let begin = (image * self.sizes.pixels() + pixel) * heads * (2 * depth + values);
        [begin + head * depth, begin + (heads + head) * depth, begin + 2 * heads * depth + head * values]
    }

    pub(super) fn query(&self, row: usize) -> &'a [T] {
        let [image, pixel, head] = self.place(row);
        &self.qkv[self.starts(image, pixel, head)[0]..][..self.sizes.depth]
    }

    pub(super) fn key(&self, row: usize, key: usize) -> &'a [T] {
        let [image, _, head] = self.place(row);
        &self.qkv[self.starts(image, key, head)[1]..][..self.sizes.depth]
    }

    pub(super) fn value(&self, row: usize, key: usize) -> &'a [T] {
        let [image, _, head] = self.place(row);
        &self.qkv[self.starts(image, key, head)[2]..][..self.sizes.values]
    }

    /// Which rows of rel_height and rel_width a row looks at for a key.
    pub(super) fn offsets(&self, row: usize, key: usize) -> [usize; 2] {
        let Sizes { height, width, .. } = self.sizes;
        let [_, query, _] = self.place(row);
        [key / width + height - 1 - query / width, key % width + width - 1 - query % width]
    }

    pub(super) fn table(&self, which: usize, offset: usize) -> &'a [T] {
        &self.tables[which][offset * self.sizes.depth..][..self.sizes.depth]
    }

    /// The logits of a row, by key.
    pub(super) fn logits(&self, row: usize) -> Vec<T> {
        let query: Vec<T> = self.query(row).iter().map(|&channel| channel * self.scale).collect();
        let dot = |other: &[T]| query.iter().zip(other).map(|(&a, &b)| a * b).sum::<T>();
        let logit = |key: usize| {
            let [down, across] = self.offsets(row, key);
            dot(self.key(row, key)) + dot(self.table(0, down)) + dot(self.table(1, across))
        };
        (0..self.sizes.pixels()).map(logit).collect()
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<RelativeAttention>(
            "relative_attention",
            "head by head, y_i = Σ_j P_ij v_j, P = softmax over the pixels j of scale q_i · (k_j + rel_width[x_j − x_i + W − 1] + rel_height[y_j − y_i + \
             H − 1]); log_sum is the logarithm of its denominator. qkv: K channels of q, K of k, D of v",
            ATTRIBUTES,
            [
                &[
                    ("qkv", "T [N, H, W, 2K+D]"),
                    ("rel_height", "T [2H-1, K/heads]"),
                    ("rel_width", "T [2W-1, K/heads]"),
                ],
                &[("y", "T [N, H, W, D]"), ("log_sum", "f32 [N, HW, heads]")],
            ],
        ),
        backward::SIGNATURE,
    ],
    cases: super::relative_attention_cases::cases,
};

pub(super) const ATTRIBUTES: &[crate::graph::Named] = &[
    ("heads", "a whole number that divides K and D"),
    ("key_channels", "K, a whole number: channels of q, and of k, of all heads"),
    ("scale", "a number that logits are multiplied by"),
];
