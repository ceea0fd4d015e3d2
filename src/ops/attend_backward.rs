//! The gradients of attention: dS = P (dP − rowsum(dy y)), with the weights P made again from `log_sum`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::attend_tiles::{Regime, Sizes, Split, Tile};
use super::by_image;
use crate::graph::{ByImage, Cost, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Grid, Recording, Variant, View, tuning, word};
use crate::reference::{Array, Real};

/// q, k, v, y, log_sum, dy → dq, dk, dv.
///
/// P = exp(q kᵀ scale − log_sum), dP = dy vᵀ, dS = P (dP − rowsum(dy y)) scale; dq = dS k, dk = dSᵀ q, dv = Pᵀ dy.
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

kernel! {
    /// One lane an element of y.
    struct AddParts = "attend/add_parts" {
        params { count: u32, parts: u32 }
        read { parts_of_y }
        write { y }
    }
}

impl Op for AttendBackward {
    fn name(&self) -> &'static str {
        "attend_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [q, k, v, y, log_sum, dy] = inputs else { return Err("takes q, k, v, y, log_sum and dy".to_owned()) };
        let sizes = Sizes::of([q, k, v], self.heads)?;
        if y != dy || *y != q.shaped([sizes.batch, sizes.queries, sizes.heads * sizes.width]) {
            return Err("y and dy must be what attention gives for q, k and v".to_owned());
        }
        if *log_sum != Tensor::f32([sizes.batch, sizes.heads, sizes.queries]) {
            return Err("log_sum must be f32 [batch, heads, queries]".to_owned());
        }
        Ok(vec![q.clone(), k.clone(), v.clone()])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2, 3, 4, 5])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = Sizes::known([&io.inputs[0], &io.inputs[1], &io.inputs[2]], self.heads, |x| x.shape.dims());
        let rows = record_rows(io, sizes, out);
        match sizes.regime(io.machine) {
            Regime::SelfAttention => self.self_attention(io, (sizes, rows), out),
            Regime::CrossAttention | Regime::SoftmaxPool => {
                self.queries(io, (sizes, rows), out);
                self.keys(io, (sizes, rows), out);
            }
        }
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let [batch, queries, _] = inputs[0].shape.dims();
        let [_, keys, _] = inputs[1].shape.dims();
        // Scores, dq and dk over the channels of q; dP and dv over those of v.
        let channels = 3 * inputs[0].shape[2] + 2 * inputs[2].shape[2];
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: (batch * queries * keys * channels) as u64, bytes }
    }
}

/// Gathers what the gradients need of a query: log_sum and rowsum(dy y).
fn record_rows(io: &Io<'_>, sizes: Sizes, out: &mut Recording) -> View {
    let count = sizes.batch * sizes.queries * sizes.heads;
    let rows = out.scratch(2 * count);
    let lanes = tuning::lanes(io.machine);
    let row_lanes = word(sizes.width.next_power_of_two()).min(32);
    let call = Rows {
        batch: word(sizes.batch),
        queries: word(sizes.queries),
        heads: word(sizes.heads),
        width: word(sizes.width),
        y: io.input(3),
        dy: io.input(5),
        log_sum: io.input(4),
        rows,
    };
    let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes).constant("ROW_LANES", row_lanes);
    out.dispatch(&call, variant, Grid::over(count, (lanes / row_lanes) as usize));
    rows
}

impl AttendBackward {
    fn self_attention(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
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
            dy: io.input(5),
            rows,
            dq: io.output(0),
            dk: io.output(1),
            dv: io.output(2),
        };
        let channels = sizes.depth.max(sizes.width);
        let variant = sizes.whole().build(Variant::of(io.elem(0)), io.machine, channels, 2);
        out.dispatch(&call, variant, Grid::of(sizes.batch * sizes.heads));
    }

    fn queries(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
        let tile = sizes.by_queries(io.machine, sizes.depth);
        let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(tile.queries);
        let split = Split::of(sizes.keys, tile.keys(), groups);
        let dq = Part::of(io, 0, split, out);
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
            v: io.input(2),
            dy: io.input(5),
            rows,
            dq: dq.view,
        };
        out.dispatch(&call, build(io, sizes, (tile, split), 1), Grid::of(groups * split.parts));
        dq.join(io, split, out);
    }

    fn keys(&self, io: &Io<'_>, (sizes, rows): (Sizes, View), out: &mut Recording) {
        let tile = sizes.by_keys(io.machine, sizes.depth.max(sizes.width));
        let groups = sizes.batch * sizes.heads * sizes.keys.div_ceil(tile.keys());
        let split = Split::of(sizes.queries, tile.queries, groups);
        let (dk, dv) = (Part::of(io, 1, split, out), Part::of(io, 2, split, out));
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
            v: io.input(2),
            dy: io.input(5),
            rows,
            dk: dk.view,
            dv: dv.view,
        };
        out.dispatch(&call, build(io, sizes, (tile, split), 2), Grid::of(groups * split.parts));
        dk.join(io, split, out);
        dv.join(io, split, out);
    }
}

/// The build of a kernel that may leave its sums in parts.
fn build(io: &Io<'_>, sizes: Sizes, (tile, split): (Tile, Split), copies: usize) -> Variant {
    let part = if split.parts == 1 { "part_elem" } else { "part_f32" };
    tile.build_strips(Variant::of(io.elem(0)).piece(part), io.machine, sizes.depth.max(sizes.width), copies)
}

/// Where a gradient that may be summed in parts is written.
struct Part {
    output: usize,
    view: View,
}

impl Part {
    /// The output itself, or memory for its parts.
    fn of(io: &Io<'_>, output: usize, split: Split, out: &mut Recording) -> Self {
        let view = match split.parts {
            1 => io.output(output),
            parts => out.scratch(parts * io.outputs[output].shape.count()),
        };
        Self { output, view }
    }

    /// Adds the parts, if there are several.
    fn join(self, io: &Io<'_>, split: Split, out: &mut Recording) {
        if split.parts == 1 {
            return;
        }
        let count = io.outputs[self.output].shape.count();
        let lanes = tuning::lanes(io.machine);
        let call =
            AddParts { count: word(count), parts: word(split.parts), parts_of_y: self.view, y: io.output(self.output) };
        let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(count, lanes as usize));
    }
}

impl Maths for AttendBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[q, k, v, y, log_sum, dy] = inputs else { unreachable!("the shape rule fixed the inputs") };
        let sizes = Sizes::known([q, k, v], self.heads, Array::dims);
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
                let mean = dot(wanted, &y.data[row * width..][..width]);
                for key in 0..keys {
                    let row = (n * keys + key) * heads + head;
                    let (known, value) = (&k.data[row * depth..][..depth], &v.data[row * width..][..width]);
                    let score = dot(asked, known) * scale;
                    let p = (score - log_sum.data[image_head * queries + query]).exp();
                    let ds = p * (dot(wanted, value) - mean) * scale;
                    add(&mut dq[query * depth..][..depth], ds, known);
                    add(&mut dk[key * depth..][..depth], ds, asked);
                    add(&mut dv[key * width..][..width], p, wanted);
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
        vec![joined(0, queries, depth), joined(1, keys, depth), joined(2, keys, width)]
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
            ("v", "T [N, K, D]"),
            ("y", "T [N, Q, D]"),
            ("log_sum", "f32 [N, heads, Q]"),
            ("dy", "T [N, Q, D]"),
        ],
        &[("dq", "T [N, Q, C]"), ("dk", "T [N, K, C]"), ("dv", "T [N, K, D]")],
    ],
);
