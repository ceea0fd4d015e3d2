//! Attention, y = softmax over keys(q kᵀ scale) v, head by head: tokenizer, token transformer and projector alike.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::attend_backward::AttendBackward;
use super::attend_tiles::{Regime, Sizes, Split};
use super::{BatchNormFixed, MatMul, Permute, Reshape, Softmax, by_image};
use crate::graph::{
    ByImage, Case, Composition, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Shape, Signature,
    Tensor, Value,
};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// q[N, Q, C], k[N, K, C], v[N, K, D] → y[N, Q, D], log_sum f32[N, heads, Q].
///
/// A head takes C / heads neighboring channels of q and k and D / heads of v; y = softmax over the keys(q kᵀ scale) v.
/// `log_sum` is the logarithm of the softmax's denominator, from which the backward pass makes the weights again.
/// (Wu et al. 2021, equations 1 to 3 and 5: tokens ask pixels, tokens ask tokens, pixels ask tokens.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attend {
    /// Heads that the channels are split into.
    pub heads: usize,
    /// What scores are multiplied by before the softmax.
    pub scale: f64,
}

kernel! {
    /// Any sizes; a part of the keys a workgroup.
    struct SoftmaxPool = "attend/softmax_pool" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

kernel! {
    /// Joins the parts of [`SoftmaxPool`].
    struct Join = "attend/join" {
        params { batch: u32, queries: u32, heads: u32, width: u32, parts: u32 }
        read { part_y, part_log_sum }
        write { y, log_sum }
    }
}

kernel! {
    /// Few keys.
    struct CrossAttention = "attend/cross_attention" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

kernel! {
    /// Few queries and few keys.
    struct SelfAttention = "attend/self_attention" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

impl Sizes {
    /// The sizes for these inputs q, k, v.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub(super) fn of(inputs: [&Tensor; 3], heads: usize) -> Result<Self, String> {
        let shapes = inputs.map(|tensor| tensor.shape.rank());
        let [Some([batch, queries, asked]), Some([n, keys, known]), Some([m, values, width])] = shapes else {
            return Err("q, k and v must be [batch, rows, channels]".to_owned());
        };
        if inputs[0].elem == Elem::U32 || inputs.iter().any(|tensor| tensor.elem != inputs[0].elem) {
            return Err("q, k and v must be f32 or f16, all the same".to_owned());
        }
        if n != batch || m != batch {
            return Err("q, k and v must have one batch; repeat what the images share".to_owned());
        }
        if values != keys || known != asked {
            return Err("k must have as many rows as v and as many channels as q".to_owned());
        }
        if heads == 0 || asked % heads != 0 || width % heads != 0 {
            return Err(format!("channels of q, k and v must be multiples of the {heads} heads"));
        }
        if [batch, queries, keys, asked, width].contains(&0) {
            return Err("no size may be 0".to_owned());
        }
        Ok(Self { batch, queries, keys, heads, depth: asked / heads, width: width / heads })
    }

    /// The sizes, once the shape rule has let the inputs pass.
    pub(super) fn known<T>(shapes: [&T; 3], heads: usize, dims: impl Fn(&T) -> [usize; 3]) -> Self {
        let [[batch, queries, channels], [_, keys, _], [_, _, width]] = shapes.map(dims);
        Self { batch, queries, keys, heads, depth: channels / heads, width: width / heads }
    }
}

impl Op for Attend {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [q, k, v] = inputs else { return Err("takes q, k and v".to_owned()) };
        let sizes = Sizes::of([q, k, v], self.heads)?;
        let y = q.shaped([sizes.batch, sizes.queries, sizes.heads * sizes.width]);
        Ok(vec![y, Tensor::f32([sizes.batch, sizes.heads, sizes.queries])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = Sizes::known([&io.inputs[0], &io.inputs[1], &io.inputs[2]], self.heads, |x| x.shape.dims());
        match sizes.regime(io.machine) {
            Regime::SelfAttention => self.self_attention(io, sizes, out),
            Regime::CrossAttention => self.cross_attention(io, sizes, out),
            Regime::SoftmaxPool => self.softmax_pool(io, sizes, out),
        }
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let (&[q, k, v], &[y, log_sum]) = (&node.inputs[..], &node.outputs[..]) else {
            unreachable!("the shape rule fixed the inputs and outputs")
        };
        if grads[1].is_some() {
            let why = "log_sum is kept for the backward pass; only y may be differentiated";
            return Err(GraphError::NoGradient { op: self.name().to_owned(), why });
        }
        let Some(dy) = grads[0] else { return Ok(vec![None; 3]) };
        let op = AttendBackward { heads: self.heads, scale: self.scale };
        Ok(graph.apply(op, &[q, k, v, y, log_sum, dy])?.into_iter().map(Some).collect())
    }

    /// softmax(scale q kᵀ) v with a batch of heads; nothing else here takes the logarithm that `log_sum` is.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[q, k, v] = inputs else { return Ok(None) };
        let Ok(sizes) = Sizes::of([graph.tensor(q), graph.tensor(k), graph.tensor(v)], self.heads) else {
            return Ok(None); // what is not attended is refused by the op itself
        };
        let scaled = BatchNormFixed::scaled(graph, q, self.scale)?;
        let [scaled, k, v] = [scaled, k, v].map(|value| self.by_heads(graph, value));
        let scores = graph.apply_one(MatMul { transpose_a: false, transpose_b: true }, &[scaled?, k?])?;
        let weights = graph.apply_one(Softmax, &[scores])?;
        let y = graph.apply_one(MatMul::new(), &[weights, v?])?;
        let y = graph.apply_one(Permute { axes: vec![0, 2, 1, 3] }, &[y])?;
        let shape = Shape::from([sizes.batch, sizes.queries, sizes.heads * sizes.width]);
        Ok(Some(vec![Some(graph.apply_one(Reshape { shape }, &[y])?), None]))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log, Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let [_, queries, width] = outputs[0].shape.dims();
        let multiply_adds = inputs[1].shape.count() * queries + inputs[2].shape.count() / width * width * queries;
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: multiply_adds as u64, bytes }
    }
}

impl Attend {
    /// [N, rows, channels] → [N, heads, rows, channels / heads].
    fn by_heads(&self, graph: &mut Graph, x: Value) -> Result<Value, GraphError> {
        let [batch, rows, channels] = graph.tensor(x).shape.dims();
        let shape = Shape::from([batch, rows, self.heads, channels / self.heads]);
        let x = graph.apply_one(Reshape { shape }, &[x])?;
        graph.apply_one(Permute { axes: vec![0, 2, 1, 3] }, &[x])
    }

    fn self_attention(&self, io: &Io<'_>, sizes: Sizes, out: &mut Recording) {
        let call = SelfAttention {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            depth: word(sizes.depth),
            width: word(sizes.width),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(2),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let variant = sizes.whole().build(Variant::of(io.elem(0)), io.machine, sizes.depth, 1);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads));
    }

    fn cross_attention(&self, io: &Io<'_>, sizes: Sizes, out: &mut Recording) {
        let call = CrossAttention {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            depth: word(sizes.depth),
            width: word(sizes.width),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(2),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let tile = sizes.by_queries(io.machine, sizes.width);
        let variant = tile.build_strips(Variant::of(io.elem(0)), io.machine, sizes.depth, 1);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries)));
    }

    fn softmax_pool(&self, io: &Io<'_>, sizes: Sizes, out: &mut Recording) {
        let tile = sizes.by_queries(io.machine, sizes.width);
        let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries);
        let Split { each, parts } = Split::of(sizes.keys, tile.keys(), groups);
        let (y, log_sum) = match parts {
            1 => (io.output(0), io.output(1)),
            _ => [0, 1].map(|at| out.scratch(parts * io.outputs[at].shape.count())).into(),
        };
        let call = SoftmaxPool {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            depth: word(sizes.depth),
            width: word(sizes.width),
            split: word(each),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(2),
            y,
            log_sum,
        };
        let part = if parts == 1 { "part_elem" } else { "part_f32" };
        let variant = Variant::of(io.elem(0)).piece(part);
        out.dispatch(&call, tile.build_strips(variant, io.machine, sizes.depth, 1), Grid::of(groups * parts));
        if parts > 1 {
            let join = Join {
                batch: word(sizes.batch),
                queries: word(sizes.queries),
                heads: word(sizes.heads),
                width: word(sizes.width),
                parts: word(parts),
                part_y: y,
                part_log_sum: log_sum,
                y: io.output(0),
                log_sum: io.output(1),
            };
            let lanes = tuning::lanes(io.machine);
            let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes);
            out.dispatch(&join, variant, Grid::over(io.outputs[0].shape.count(), lanes as usize));
        }
    }
}

impl Maths for Attend {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[q, k, v] = inputs else { unreachable!("the shape rule fixed the inputs") };
        let sizes = Sizes::known([q, k, v], self.heads, Array::dims);
        let Sizes { batch, queries, keys, heads, depth, width } = sizes;
        let attend = |row: usize| {
            let (n, head) = (row / (queries * heads), row % heads);
            let asked = &q.data[row * depth..][..depth];
            let key_row = |key: usize| (n * keys + key) * heads + head;
            let score = |key: usize| {
                let known = &k.data[key_row(key) * depth..][..depth];
                asked.iter().zip(known).map(|(&a, &b)| a * b).sum::<T>() * T::of(self.scale)
            };
            let scores: Vec<T> = (0..keys).map(score).collect();
            let largest = scores.iter().copied().fold(scores[0], T::max);
            let weights: Vec<T> = scores.iter().map(|&score| (score - largest).exp()).collect();
            let sum = weights.iter().copied().sum::<T>();
            let mut y = vec![T::default(); width];
            for (key, &weight) in weights.iter().enumerate() {
                let values = &v.data[key_row(key) * width..][..width];
                y.iter_mut().zip(values).for_each(|(y, &value)| *y += weight / sum * value);
            }
            (y, largest + sum.ln())
        };
        // A row is a query of a head; the rows of an image lie head by head for each query.
        let rows: Vec<(Vec<T>, T)> = (0..batch * queries * heads).into_par_iter().map(attend).collect();
        let y = Array::from_fn(&[batch, queries, heads * width], |at| rows[at / width].0[at % width]);
        let log_sum = Array::from_fn(&[batch, heads, queries], |at| {
            let (image_head, query) = (at / queries, at % queries);
            rows[(image_head / heads * queries + query) * heads + image_head % heads].1
        });
        vec![y, log_sum]
    }
}

/// Queries, keys, heads, channels of a head of q and k, of v.
const SHAPES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [1, 2, 1, 3, 1],
    [8, 8, 2, 5, 3],
    [3, 7, 1, 33, 17],
    [16, 16, 1, 4, 40],
    [33, 8, 2, 4, 5],
    [31, 16, 1, 16, 65],
    [127, 3, 1, 2, 7],
    [40, 64, 1, 3, 2],
    [1, 65, 1, 5, 3],
    [3, 127, 2, 4, 5],
    [16, 196, 1, 5, 16],
    [17, 100, 1, 33, 9],
    [9, 300, 1, 2, 130],
    // More channels than a workgroup sums at once.
    [9, 70, 1, 70, 90],
    [40, 5, 1, 40, 50],
    // Far more channels on one side than on the other.
    [5, 6, 1, 70, 3],
    [70, 6, 1, 130, 8],
    [9, 70, 1, 130, 8],
    // Several channels a lane.
    [3, 70, 1, 300, 300],
    [70, 9, 1, 300, 300],
    // No larger: llvmpipe ends all loops of an invocation after 65,535 turns.
    [32, 40, 1, 260, 260],
    // Two tiles of queries by keys that fill their tiles.
    [30, 128, 2, 4, 5],
    // Sums split among several workgroups: an even number of parts, and a last part of one row.
    [9, 1100, 2, 3, 5],
    [1100, 9, 2, 3, 5],
    [9, 1281, 2, 3, 5],
    [1281, 9, 2, 3, 5],
];

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Attend>(
            "attend",
            "head by head, y = softmax over the keys(q kᵀ scale) v; log_sum is the logarithm of its denominator",
            &[("heads", "a whole number that divides C and D"), ("scale", "a number that scores are multiplied by")],
            [
                &[("q", "T [N, Q, C]"), ("k", "T [N, K, C]"), ("v", "T [N, K, D]")],
                &[("y", "T [N, Q, D]"), ("log_sum", "f32 [N, heads, Q]")],
            ],
        ),
        super::attend_backward::SIGNATURE,
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |heads: usize, n: usize, [q, k, c, d]: [usize; 4], scale: f64| {
        Case::new(Attend { heads, scale }, &[&[n, q, c], &[n, k, c], &[n, k, d]])
    };
    let awkward = SHAPES.iter().map(|&[q, k, heads, depth, width]| {
        case(heads, 2, [q, k, heads * depth, heads * width], 1.0 / (depth as f64).sqrt())
    });
    let mut cases: Vec<Case> = awkward.collect();
    // One image and many pixels: the sums over pixels are split among workgroups.
    cases.push(case(1, 1, [2, 700, 3, 4], 0.5));
    cases.push(case(1, 1, [2, 5000, 3, 4], 0.5));
    cases.push(case(1, 1, [700, 2, 3, 4], 0.5));
    // Scores beyond what exp can bear: only their distance from the largest may reach it.
    cases.extend([[9, 7, 3, 3], [33, 8, 3, 3], [5, 127, 3, 3]].map(|sizes| case(1, 2, sizes, 40.0)));
    // So far apart that one part of the keys has all the weight. The derivative is too steep to be told by differences.
    cases.push(case(1, 2, [9, 700, 3, 3], 4000.0).no_gradient());
    let real = |[n, heads]: [usize; 2], sizes: [usize; 4], layer| {
        case(heads, n, sizes, 1.0 / (sizes[2] as f64 / heads as f64).sqrt()).real(layer)
    };
    cases.extend([
        real([256, 1], [16, 196, 256, 256], "vt-resnet filter tokenizer, 14x14"),
        real([256, 16], [16, 196, 512, 512], "vt-resnet recurrent tokenizer, 14x14"),
        real([256, 16], [16, 49, 512, 512], "vt-resnet recurrent tokenizer, 7x7"),
        real([256, 16], [16, 16, 512, 1024], "vt-resnet token transformer"),
        real([256, 16], [196, 16, 512, 512], "vt-resnet projector, 14x14"),
        real([2, 16], [8, 60_800, 256, 256], "vt-fpn tokenizer, finest map"),
        real([2, 16], [60_800, 8, 256, 256], "vt-fpn projector, finest map"),
    ]);
    cases
}
