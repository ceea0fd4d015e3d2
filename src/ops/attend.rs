//! Attention, y = softmax over keys(q kᵀ scale) v, head by head: tokenizer, token transformer and projector alike.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::attend_backward::AttendBackward;
use super::attend_parts::Parts;
use super::attend_rows::{BLOCK, RowTiles, kept};
use super::attend_shortcut::Tail;
use super::attend_tiles::{Regime, Sizes, Split};
use super::{Add, AttendShortcut, BatchNormFixed, MatMul, Permute, Reshape, Softmax, by_image};
use crate::graph::{
    ByImage, Composition, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Regrouping, Shape,
    Signature, Tensor, Value,
};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// q[N, Q, C], k[N, K, C], perhaps v[N, K, D] → y[N, Q, D], log_sum f32[N, heads, Q]; without v the keys are the values.
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
    /// Few keys.
    struct CrossAttention = "attend/cross_attention" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
        read { q, k, v, shortcut }
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
    /// The sizes for these q, k, v.
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
        let (2..=3, Some([q, k])) = (inputs.len(), inputs.first_chunk()) else {
            return Err("takes q, k and perhaps v".to_owned());
        };
        let sizes = Sizes::of([q, k, inputs.get(2).unwrap_or(k)], self.heads)?;
        let y = q.shaped([sizes.batch, sizes.queries, sizes.heads * sizes.width]);
        Ok(vec![y, Tensor::f32([sizes.batch, sizes.heads, sizes.queries])])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2][..inputs.len()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let inputs = [0, 1, value_at(io)].map(|at| &io.inputs[at]);
        let sizes = Sizes::known(inputs, self.heads, |x| x.shape.dims());
        let by_rows = |tokens| RowTiles::of(io.machine, io.elem(0), &sizes, tokens);
        match sizes.regime(io.machine) {
            Regime::CrossAttention => match by_rows(sizes.keys) {
                Some(tiles) => self.cross_attention_rows(io, (sizes, tiles), Tail::NONE, out),
                None => self.cross_attention(io, sizes, Tail::NONE, out),
            },
            regime => match (by_rows(BLOCK), regime) {
                (Some(tiles), _) => self.softmax_pool_rows(io, (sizes, tiles), out),
                (None, Regime::SelfAttention) => self.self_attention(io, sizes, out),
                (None, _) => self.softmax_pool(io, sizes, out),
            },
        }
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let [y, log_sum] = [node.outputs[0], node.outputs[1]];
        if grads[1].is_some() {
            let why = "log_sum is kept for the backward pass; only y may be differentiated";
            return Err(GraphError::NoGradient { op: self.name().to_owned(), why });
        }
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let op = AttendBackward { heads: self.heads, scale: self.scale };
        let (asked, values) = node.inputs.split_at(2);
        let inputs = [asked, &[y, log_sum, dy], values].concat();
        Ok(graph.apply(op, &inputs)?.into_iter().map(Some).collect())
    }

    /// softmax(scale q kᵀ) v with a batch of heads; nothing else here takes the logarithm that `log_sum` is.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let (q, k, v) = (inputs[0], inputs[1], *inputs.get(2).unwrap_or(&inputs[1]));
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

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let adds = next.downcast::<Add>().is_some() && inputs == 3;
        adds.then(|| Box::new(AttendShortcut { attend: *self, relu: false }) as Box<dyn Op>)
    }

    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        self.with_maps_moved(inputs, graph)
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        let sizes =
            Sizes::known([inputs[0], inputs[1], inputs[inputs.len() - 1]], self.heads, |x: &Array<f32>| x.dims());
        Some(self.computed(inputs, kept(outputs[0].elem, &sizes)))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log, Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let [_, queries, _] = outputs[0].shape.dims();
        let value = inputs.get(2).unwrap_or(&inputs[1]);
        let multiply_adds = (inputs[1].shape.count() + value.shape.count()) * queries;
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: multiply_adds as u64, bytes }
    }
}

/// Which input holds the values.
pub(super) fn value_at(io: &Io<'_>) -> usize {
    io.inputs.len() - 1
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
            v: io.input(value_at(io)),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let variant = sizes.whole().build(Variant::of(io.elem(0)), io.machine, sizes.depth, 1);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads));
    }

    pub(super) fn cross_attention(&self, io: &Io<'_>, sizes: Sizes, tail: Tail, out: &mut Recording) {
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
            v: io.input(tail.value_at(io)),
            shortcut: tail.shortcut.unwrap_or(io.input(0)),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let tile = sizes.by_queries(io.machine, sizes.width);
        let variant = tile.build_strips(tail.build(Variant::of(io.elem(0))), io.machine, sizes.depth, 1);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries)));
    }

    fn softmax_pool(&self, io: &Io<'_>, sizes: Sizes, out: &mut Recording) {
        let tile = sizes.by_queries(io.machine, sizes.width);
        let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries);
        let split = Split::of(sizes.keys, tile.keys(), groups);
        let parts = Parts::of(io, split, out);
        let call = SoftmaxPool {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            depth: word(sizes.depth),
            width: word(sizes.width),
            split: word(split.each),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(value_at(io)),
            y: parts.y,
            log_sum: parts.log_sum,
        };
        let variant = Variant::of(io.elem(0)).piece(parts.piece());
        let variant = tile.build_strips(variant, io.machine, sizes.depth, 1);
        out.dispatch(&call, variant, Grid::of(groups * split.parts));
        parts.join(io, sizes, out);
    }
}

impl Maths for Attend {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |weight| weight)
    }
}

impl Attend {
    /// `kept`: a weight as values are multiplied by it.
    fn computed<T: Real>(&self, inputs: &[&Array<T>], kept: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let (q, k, v) = (inputs[0], inputs[1], inputs.get(2).unwrap_or(&inputs[1]));
        let sizes = Sizes::known([q, k, v], self.heads, |x: &Array<T>| x.dims());
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
                y.iter_mut().zip(values).for_each(|(y, &value)| *y += kept(weight) / sum * value);
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

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Attend>(
            "attend",
            "head by head, y = softmax over the keys(q kᵀ scale) v, v = k unless given; log_sum is the logarithm of its denominator",
            &[("heads", "a whole number that divides C and D"), ("scale", "a number that scores are multiplied by")],
            [
                &[("q", "T [N, Q, C]"), ("k", "T [N, K, C]"), ("v?", "T [N, K, D]")],
                &[("y", "T [N, Q, D]"), ("log_sum", "f32 [N, heads, Q]")],
            ],
        ),
        super::attend_backward::SIGNATURE,
    ],
    cases: super::attend_cases::cases,
};
