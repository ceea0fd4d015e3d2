//! The calls of attention on cooperative matrices.

use super::attend::value_at;
use super::attend_backward::{self, DY, LOG_SUM, record_rows};
use super::attend_parts::{Parts, add_parts};
use super::attend_rows::{BLOCK, RowTiles};
use super::attend_tiles::Sizes;
use super::{Attend, AttendBackward};
use crate::graph::Io;
use crate::kernel::{Grid, Recording, Variant, View, tuning, word};

kernel! {
    /// [`SoftmaxPool`] on cooperative matrices.
    struct SoftmaxPoolRows = "attend/softmax_pool_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, split: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

kernel! {
    /// [`CrossAttention`] on cooperative matrices.
    struct CrossAttentionRows = "attend/cross_attention_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, split: u32, scale: f32 }
        read { q, k, v }
        write { y, log_sum }
    }
}

kernel! {
    /// Few tokens and many rows, on cooperative matrices.
    struct GradientsByRows = "attend/gradients_by_rows" {
        params { batch: u32, queries: u32, keys: u32, heads: u32, split: u32, scale: f32 }
        read { a, b, t, u, asked }
        write { da, db, parts }
    }
}

kernel! {
    /// The tokens of [`GradientsByRows`].
    struct Tokens = "attend/tokens" {
        params { batch: u32, tokens: u32, heads: u32, channels: u32, first: u32 }
        read { x }
        write { y }
    }
}

impl Attend {
    pub(super) fn cross_attention_rows(&self, io: &Io<'_>, (sizes, tiles): (Sizes, RowTiles), out: &mut Recording) {
        let split = tiles.split(sizes.queries, sizes.batch * sizes.heads);
        let call = CrossAttentionRows {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            split: word(split.each),
            scale: self.scale as f32,
            q: io.input(0),
            k: io.input(1),
            v: io.input(value_at(io)),
            y: io.output(0),
            log_sum: io.output(1),
        };
        let variant = tiles.build(Variant::of(io.elem(0)).piece("pack_8"));
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
            split: word(split.each),
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
        let (of_rows, of_tokens) = if asking { ([io.input(0), dy], [k, v]) } else { ([k, v], [io.input(0), dy]) };
        let (rows, count) = if asking { (sizes.queries, sizes.keys) } else { (sizes.keys, sizes.queries) };
        let [t, u] = match tiles.tokens_are_local() {
            true => of_tokens,
            false => [pad_tokens(io, of_tokens, (sizes, count), out); 2],
        };
        let split = tiles.split(rows, sizes.batch * sizes.heads);
        let lot = |channels: usize| split.parts * sizes.batch * count * sizes.heads * channels;
        let (of_dt, of_du) = (lot(sizes.depth), if asking { lot(sizes.width) } else { 0 });
        let parts = out.scratch(of_dt + of_du);
        let call = GradientsByRows {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            keys: word(sizes.keys),
            heads: word(sizes.heads),
            split: word(split.each),
            scale: self.scale as f32,
            a: of_rows[0],
            b: of_rows[1],
            t,
            u,
            asked: if asking { io.input(LOG_SUM) } else { record_rows(io, sizes, out) },
            da: io.output(usize::from(!asking)),
            db: if asking || given_alike { out.scratch(1) } else { io.output(2) },
            parts,
        };
        let alike = given_alike && !asking;
        let variant = Variant::of(io.elem(0)).piece("pack_8");
        let variant = variant.constant("ASKING", asking.into()).constant("ALIKE", alike.into());
        let variant = variant.constant("LOCAL", tiles.tokens_are_local().into());
        out.dispatch(&call, tiles.build(variant), Grid::volume(split.parts, sizes.heads, sizes.batch));
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

/// Rows of tokens of both sides, as many as a block has, and transposed; one side behind the other.
fn pad_tokens(io: &Io<'_>, sides: [View; 2], (sizes, tokens): (Sizes, usize), out: &mut Recording) -> View {
    let count = |channels: usize| sizes.batch * sizes.heads * BLOCK * channels;
    let y = out.scratch(count(sizes.depth) + count(sizes.width)); // of f16 there are twice as many
    let places = [(sizes.depth, 0), (sizes.width, 2 * count(sizes.depth))];
    for (x, (channels, first)) in sides.into_iter().zip(places) {
        let call = Tokens {
            batch: word(sizes.batch),
            tokens: word(tokens),
            heads: word(sizes.heads),
            channels: word(channels),
            first: word(first),
            x,
            y,
        };
        let lanes = tuning::lanes(io.machine);
        let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(count(channels) / BLOCK / 4, lanes as usize));
    }
    y
}
