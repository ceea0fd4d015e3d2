//! The calls of attention on cooperative matrices.

use super::attend::value_at;
use super::attend_backward::{self, DY, LOG_SUM, record_rows};
use super::attend_parts::{Parts, add_parts};
use super::attend_rows::{BLOCK, RowTiles};
use super::attend_shortcut::Tail;
use super::attend_tiles::Sizes;
use super::{Attend, AttendBackward};
use crate::graph::Io;
use crate::kernel::{Grid, Recording, Variant, word};

kernel! {
    /// [`SoftmaxPool`] on cooperative matrices.
    struct SoftmaxPoolRows = "attend/softmax_pool_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

kernel! {
    /// [`CrossAttention`] on cooperative matrices.
    struct CrossAttentionRows = "attend/cross_attention_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, scale: f32 }
        read { q, k, v, shortcut }
        write { y, log_sum }
    }
}

kernel! {
    /// Few tokens and many rows, on cooperative matrices.
    struct GradientsByRows = "attend/gradients_by_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, first: u32, scale: f32 }
        read { a, b, t, u, asked }
        write { da, db, parts }
    }
}

impl Attend {
    pub(super) fn cross_attention_rows(
        &self,
        io: &Io<'_>,
        (sizes, tiles): (Sizes, RowTiles),
        tail: Tail,
        out: &mut Recording,
    ) {
        let split = tiles.split(sizes.queries, sizes.batch * sizes.heads);
        let call = CrossAttentionRows {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            stride: tiles.stride(split),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(tail.value_at(io)),
            shortcut: tail.shortcut.unwrap_or(io.input(0)),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let variant = tiles.build(tail.build(Variant::of(io.elem(0)).piece("pack_8")));
        out.dispatch(&call, variant, Grid::volume(split.parts, sizes.heads, sizes.batch));
    }

    pub(super) fn softmax_pool_rows(&self, io: &Io<'_>, (sizes, tiles): (Sizes, RowTiles), out: &mut Recording) {
        let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(BLOCK);
        let split = tiles.split(sizes.keys, groups);
        let parts = Parts::of(io, split, out);
        let call = SoftmaxPoolRows {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            stride: tiles.stride(split),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(value_at(io)),
            y: parts.y,
            log_sum: parts.log_sum,
        };
        let alike = u32::from(value_at(io) == 1);
        let variant = Variant::of(io.elem(0)).piece("pack_8").piece(parts.piece()).constant("ALIKE", alike);
        let grid = Grid::volume(sizes.queries.div_ceil(BLOCK) * sizes.heads, split.parts, sizes.batch);
        out.dispatch(&call, tiles.build(variant), grid);
        parts.join(io, sizes, out);
    }
}

impl AttendBackward {
    /// Between few tokens and many rows, which are queries if they are `asking`, and else keys.
    pub(super) fn by_rows(&self, io: &Io<'_>, (sizes, tiles, asking): (Sizes, RowTiles, bool), out: &mut Recording) {
        let given_alike = io.outputs.len() == 2;
        let (k, v, dy) = (io.input(1), io.input(attend_backward::value_at(io)), io.input(DY));
        let ([a, b], [t, u]) = if asking { ([io.input(0), dy], [k, v]) } else { ([k, v], [io.input(0), dy]) };
        let (rows, tokens) = if asking { (sizes.queries, sizes.keys) } else { (sizes.keys, sizes.queries) };
        let alike = given_alike && !asking;
        let split = tiles.split(rows, sizes.batch * sizes.heads);
        let lot = |channels: usize| split.parts * sizes.batch * tokens * sizes.heads * channels;
        let (of_dt, of_du) = (lot(sizes.depth), if asking { lot(sizes.width) } else { 0 });
        let parts = out.scratch(of_dt + of_du);
        let asked = if sizes.in_sight() { io.input(LOG_SUM) } else { record_rows(io, sizes, out) };
        let db = if asking || given_alike { out.scratch(1) } else { io.output(2) };
        for first in (0..tokens).step_by(BLOCK) {
            let call = GradientsByRows {
                batch: word(sizes.batch),
                queries: word(sizes.queries),
                keys: word(sizes.keys),
                heads: word(sizes.heads),
                stride: tiles.stride(split),
                first: word(first),
                scale: self.scale as f32,
                a,
                b,
                t,
                u,
                asked,
                da: io.output(usize::from(!asking)),
                db,
                parts,
            };
            let variant = Variant::of(io.elem(0)).piece("pack_8");
            let variant = variant.constant("ASKING", asking.into()).constant("ALIKE", alike.into());
            let variant = variant.constant("WHOLE", sizes.in_sight().into()).constant("MORE", (first > 0).into());
            out.dispatch(&call, tiles.build_gradients(variant), Grid::volume(split.parts, sizes.heads, sizes.batch));
        }
        match (asking, given_alike) {
            (false, _) => add_parts(io, 0, [(parts, 0); 2], split.parts, out),
            (true, true) => add_parts(io, 1, [(parts, 0), (parts, of_dt)], split.parts, out),
            (true, false) => {
                add_parts(io, 1, [(parts, 0); 2], split.parts, out);
                add_parts(io, 2, [(parts, of_dt); 2], split.parts, out);
            }
        }
    }
}
