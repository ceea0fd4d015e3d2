//! The gradients of attention: dS = P (dP − rowsum(dy y)), with the weights P made again from `log_sum`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::attend_parts::{KeyGradients, add_parts, parts};
use super::attend_rows::{BLOCK, RowTiles, kept};
use super::attend_tiles::{Regime, Sizes, Split};
use super::by_image;
use crate::graph::{ByImage, Cost, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Grid, Recording, Variant, View, tuning, word};
use crate::reference::{Array, Real};

/// q, k, y, log_sum, dy, perhaps v → dq, dk, and dv if there is v; without, the keys are the values and dk is both.
///
/// P = exp(q kᵀ scale − log_sum), dP = dy vᵀ, dS = P (dP − rowsum(dy y)) scale; dq = dS k, dk = dSᵀ q, dv = Pᵀ dy. Where there are at
/// most 16 keys, and no more than queries, rowsum(P dP) is in sight and taken for rowsum(dy y), which is the same: y is not read then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttendBackward {
    /// Heads that the channels are split into.
    pub heads: usize,
    /// What scores were multiplied by before the softmax.
    pub scale: f64,
}

kernel! {
    /// `ROW_LANES` lanes a query of an (image, head).
    struct Rows = "attend/backward_rows" {
        params { batch: u32, queries: u32, heads: u32, width: u32 }
        read { y, dy, log_sum }
        write { rows }
    }
}

kernel! {
    /// Any sizes; a part of the keys a workgroup.
    struct Queries = "attend/backward_queries" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
        read { q, k, v, dy, rows }
        write { dq }
    }
}

kernel! {
    /// Any sizes; a part of the queries a workgroup.
    struct Keys = "attend/backward_keys" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
        read { q, k, v, dy, rows }
        write { dk, dv }
    }
}

kernel! {
    /// Few queries and few keys.
    struct SelfAttention = "attend/self_attention_backward" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
        read { q, k, v, dy, rows }
        write { dq, dk, dv }
    }
}

impl Op for AttendBackward {
    fn name(&self) -> &'static str {
        "attend_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([q, k, y, log_sum, dy, given @ ..], true) = (inputs, inputs.len() <= V + 1) else {
            return Err("takes q, k, y, log_sum, dy and perhaps v".to_owned());
        };
        let sizes = Sizes::of([q, k, given.first().unwrap_or(k)], self.heads)?;
        if y != dy || *y != q.shaped([sizes.batch, sizes.queries, sizes.heads * sizes.width]) {
            return Err("y and dy must be what attention gives for q, k and v".to_owned());
        }
        if *log_sum != Tensor::f32([sizes.batch, sizes.heads, sizes.queries]) {
            return Err("log_sum must be f32 [batch, heads, queries]".to_owned());
        }
        Ok([&[q.clone(), k.clone()], given].concat())
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2, 3, 4, 5][..inputs.len()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let inputs = [0, 1, value_at(io)].map(|at| &io.inputs[at]);
        let sizes = Sizes::known(inputs, self.heads, |x| x.shape.dims());
        let asking = sizes.rows_ask();
        let alike = io.inputs.len() == V && !asking;
        if let Some(tiles) = RowTiles::of_gradients(io.machine, io.elem(0), &sizes, alike) {
            return self.by_rows(io, (sizes, tiles, asking), out);
        }
        let rows = if sizes.in_sight() { io.input(LOG_SUM) } else { record_rows(io, sizes, out) };
        match sizes.regime(io.machine) {
            Regime::SelfAttention => self.self_attention(io, (sizes, rows), out),
            Regime::CrossAttention | Regime::SoftmaxPool => {
                self.queries(io, (sizes, rows), out);
                self.keys(io, (sizes, rows), out);
            }
        }
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        let v = inputs.get(V).unwrap_or(&inputs[1]);
        let sizes = Sizes::known([inputs[0], inputs[1], v], self.heads, |x: &Array<f32>| x.dims());
        Some(self.computed(inputs, kept(outputs[0].elem, &sizes)))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let [batch, queries, _] = inputs[0].shape.dims();
        let [_, keys, _] = inputs[1].shape.dims();
        // Scores, dq and dk over the channels of q; dP and dv over those of v.
        let value = inputs.get(V).unwrap_or(&inputs[1]);
        let channels = 3 * inputs[0].shape[2] + 2 * value.shape[2];
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: (batch * queries * keys * channels) as u64, bytes }
    }
}

/// Places of the inputs behind q and k.
const Y: usize = 2;
pub(super) const LOG_SUM: usize = 3;
pub(super) const DY: usize = 4;
const V: usize = 5;

/// Which input holds the values.
pub(super) fn value_at(io: &Io<'_>) -> usize {
    if io.inputs.len() > V { V } else { 1 }
}

/// Gathers what the gradients need of a query: log_sum and rowsum(dy y).
pub(super) fn record_rows(io: &Io<'_>, sizes: Sizes, out: &mut Recording) -> View {
    let count = sizes.batch * sizes.queries * sizes.heads;
    let rows = out.scratch(2 * count);
    let lanes = tuning::lanes(io.machine);
    let row_lanes = word(sizes.width.next_power_of_two()).min(32);
    let call = Rows {
        batch: word(sizes.batch),
        queries: word(sizes.queries),
        heads: word(sizes.heads),
        width: word(sizes.width),
        y: io.input(Y),
        dy: io.input(DY),
        log_sum: io.input(LOG_SUM),
        rows,
    };
    let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes).constant("ROW_LANES", row_lanes);
    out.dispatch(&call, variant, Grid::over(count, (lanes / row_lanes) as usize));
    rows
}

impl AttendBackward {
    fn self_attention(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
        let gradients = KeyGradients::of(io, 1, out);
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
            dy: io.input(DY),
            rows,
            dq: io.output(0),
            dk: gradients.dk,
            dv: gradients.dv,
        };
        let channels = sizes.depth.max(sizes.width);
        let variant = sizes.seen(Variant::of(io.elem(0))).piece(gradients.piece());
        let variant = sizes.whole().build(variant, io.machine, channels, 2);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads));
        gradients.join(io, out);
    }

    fn queries(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
        let tile = sizes.by_queries(io.machine, sizes.depth);
        let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries);
        let split = Split::of(sizes.keys, tile.keys(), groups);
        let dq = if split.parts == 1 { io.output(0) } else { parts(io, 0, split.parts, out) };
        let call = Queries {
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
            dy: io.input(DY),
            rows,
            dq,
        };
        let piece = if split.parts == 1 { "part_elem" } else { "part_f32" };
        let channels = sizes.depth.max(sizes.width);
        let variant = tile.build_strips(sizes.seen(Variant::of(io.elem(0))).piece(piece), io.machine, channels, 1);
        out.dispatch(&call, variant, Grid::of(groups * split.parts));
        if split.parts > 1 {
            add_parts(io, 0, [(dq, 0); 2], split.parts, out);
        }
    }

    fn keys(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
        let tile = sizes.by_keys(io.machine, sizes.depth.max(sizes.width));
        let groups = sizes.batch * sizes.heads * sizes.keys.div_ceil(tile.keys());
        let split = Split::of(sizes.queries, tile.queries, groups);
        let gradients = KeyGradients::of(io, split.parts, out);
        let call = Keys {
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
            dy: io.input(DY),
            rows,
            dk: gradients.dk,
            dv: gradients.dv,
        };
        let channels = sizes.depth.max(sizes.width);
        let variant = sizes.seen(Variant::of(io.elem(0))).piece(gradients.piece());
        let variant = tile.build_strips(variant, io.machine, channels, 2);
        out.dispatch(&call, variant, Grid::of(groups * split.parts));
        gradients.join(io, out);
    }
}

impl Maths for AttendBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |weight| weight)
    }
}

impl AttendBackward {
    /// `kept`: a weight and its gradient as rows are multiplied by them, and what rows have of some tokens while others are to come.
    fn computed<T: Real>(&self, inputs: &[&Array<T>], kept: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let &[q, k, y, log_sum, dy, ref given @ ..] = inputs else { unreachable!("the shape rule fixed the inputs") };
        let v = *given.first().unwrap_or(&k);
        let sizes = Sizes::known([q, k, v], self.heads, |x: &Array<T>| x.dims());
        let Sizes { batch, queries, keys, heads, depth, width } = sizes;
        let scale = T::of(self.scale);
        let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a * b).sum::<T>();
        let add = |to: &mut [T], times: T, what: &[T]| {
            to.iter_mut().zip(what).for_each(|(to, &what)| *to += times * what);
        };
        // What one head of one image adds, its rows side by side.
        let one = |image_head: usize| {
            let (n, head) = (image_head / heads, image_head % heads);
            let [mut dq, mut dk, mut dv] =
                [queries * depth, keys * depth, keys * width].map(|count| vec![T::default(); count]);
            for query in 0..queries {
                let row = (n * queries + query) * heads + head;
                let (asked, wanted) = (&q.data[row * depth..][..depth], &dy.data[row * width..][..width]);
                let value = |key: usize| &v.data[((n * keys + key) * heads + head) * width..][..width];
                let known = |key: usize| &k.data[((n * keys + key) * heads + head) * depth..][..depth];
                let weight =
                    |key: usize| (dot(asked, known(key)) * scale - log_sum.data[image_head * queries + query]).exp();
                let mean = match sizes.in_sight() {
                    true => {
                        let sum = (0..keys).map(|key| weight(key) * dot(wanted, value(key))).sum::<T>();
                        sum / (0..keys).map(weight).sum::<T>()
                    }
                    false => dot(wanted, &y.data[row * width..][..width]),
                };
                for key in 0..keys {
                    let p = weight(key);
                    let (p, ds) = (kept(p), kept(p * (dot(wanted, value(key)) - mean) * scale));
                    add(&mut dq[query * depth..][..depth], ds, known(key));
                    add(&mut dk[key * depth..][..depth], ds, asked);
                    add(&mut dv[key * width..][..width], p, wanted);
                    if sizes.rows_ask() && keys > BLOCK && (key + 1) % BLOCK == 0 {
                        dq[query * depth..][..depth].iter_mut().for_each(|sum| *sum = kept(*sum));
                    }
                }
                if !sizes.rows_ask() && queries > BLOCK && (query + 1) % BLOCK == 0 {
                    dk.iter_mut().chain(&mut dv).for_each(|sum| *sum = kept(*sum));
                }
            }
            [dq, dk, dv]
        };
        let parts: Vec<[Vec<T>; 3]> = (0..batch * heads).into_par_iter().map(one).collect();
        // [batch, rows, heads, channels] of what lies [batch, heads][rows, channels].
        let joined = |which: usize, rows: usize, channels: usize| {
            Array::from_fn(&[batch, rows, heads * channels], |at| {
                let (row, channel) = (at / channels, at % channels);
                let (n, row, head) = (row / (rows * heads), row / heads % rows, row % heads);
                parts[n * heads + head][which][row * channels + channel]
            })
        };
        let (dq, dk, dv) = (joined(0, queries, depth), joined(1, keys, depth), joined(2, keys, width));
        match given {
            [] => vec![dq, Array { data: dk.data.iter().zip(&dv.data).map(|(&a, &b)| a + b).collect(), ..dk }],
            _ => vec![dq, dk, dv],
        }
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<AttendBackward>(
    "attend_backward",
    "P = exp(q kᵀ scale − log_sum), dS = P (dy vᵀ − rowsum(dy y)) scale; dq = dS k, dk = dSᵀ q, dv = Pᵀ dy",
    &[("heads", "a whole number that divides C and D"), ("scale", "a number that scores are multiplied by")],
    [
        &[
            ("q", "T [N, Q, C]"),
            ("k", "T [N, K, C]"),
            ("y", "T [N, Q, D]"),
            ("log_sum", "f32 [N, heads, Q]"),
            ("dy", "T [N, Q, D]"),
            ("v?", "T [N, K, D]"),
        ],
        &[("dq", "T [N, Q, C]"), ("dk", "T [N, K, C]"), ("dv?", "T [N, K, D]")],
    ],
);
