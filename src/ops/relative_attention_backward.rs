//! The gradients of attention over pixels: dS = P (dP − rowsum(dy y)), with P made again from `log_sum`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::relative_attention::{ATTRIBUTES, Pairs, RelativeAttention};
use super::relative_attention_tiles::{KeyTile, QueryTile, Sizes};
use crate::graph::{Cost, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::{self, Strips};
use crate::kernel::{Capabilities, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// qkv, rel_height, rel_width, y, log_sum, dy → dqkv, drel_height, drel_width, each like what it is the gradient of.
///
/// dS_ij = P_ij (dy_i · v_j − dy_i · y_i) scale; dv_j = Σ_i P_ij dy_i, dk_j = Σ_i dS_ij q_i, dq_i = Σ_j dS_ij (k_j + rel_width[..] + rel_height[..]), and a row of a
/// table is given dS_ij q_i of all pairs, heads and images that looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeAttentionBackward {
    /// The attention.
    #[serde(flatten)]
    pub of: RelativeAttention,
}

kernel! {
    /// A lane some queries; a workgroup's lanes meet all keys together.
    struct Queries = "relative_attention/backward_queries" {
        params { first_image: u32, images: u32, scale: f32 }
        read { qkv, rel_height, rel_width, y, dy, log_sum }
        write { dqkv, positions }
    }
}

kernel! {
    /// A lane some keys; a workgroup's lanes meet all queries together.
    struct Keys = "relative_attention/backward_keys" {
        params { first_image: u32, images: u32, scale: f32 }
        read { qkv, y, dy, log_sum, positions }
        write { dqkv }
    }
}

kernel! {
    /// A lane an offset between pixels.
    struct Tables = "relative_attention/backward_tables" {
        params { first_image: u32, images: u32, scale: f32 }
        read { qkv, positions }
        write { part }
    }
}

kernel! {
    /// A workgroup a strip of columns.
    struct MergeTables = "relative_attention/merge_tables" {
        params { parts: u32, height_columns: u32, columns: u32 }
        read { part }
        write { drel_height, drel_width }
    }
}

/// Memory at most for what the kernels hand to one another of some images, where one image does not need more.
const POSITIONS_BYTES: usize = 128 << 20;
/// As [`POSITIONS_BYTES`], on software adapters: what is handed over had better stay in a core's cache.
const SOFTWARE_POSITIONS_BYTES: usize = 64 << 10;

/// Places of the inputs behind qkv and the tables.
const Y: usize = 3;
const LOG_SUM: usize = 4;
const DY: usize = 5;

impl Op for RelativeAttentionBackward {
    fn name(&self) -> &'static str {
        "relative_attention_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [qkv, rel_height, rel_width, y, log_sum, dy] = inputs else {
            return Err("takes qkv, rel_height, rel_width, y, log_sum and dy".to_owned());
        };
        let made = self.of.outputs(&[qkv.clone(), rel_height.clone(), rel_width.clone()])?;
        if y != dy || [y, log_sum] != [&made[0], &made[1]] {
            return Err(format!(
                "y and dy must be {}, and log_sum {}: what attention gives for qkv; they are {y}, {dy} and {log_sum}",
                made[0], made[1]
            ));
        }
        Ok(vec![qkv.clone(), rel_height.clone(), rel_width.clone()])
    }

    /// Some images at a time: what the queries' kernel leaves for the others is as large as the map times its sides.
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = self.of.known_sizes(io.input_dims(0));
        let image = sizes.heads * 2 * sizes.lines() * sizes.pixels();
        let each = images_at_once(io.machine, sizes.batch, 4 * image);
        let positions = out.scratch(each * image);
        let part = out.scratch(sizes.batch * sizes.heads * sizes.offsets() * sizes.depth);
        for first in (0..sizes.batch).step_by(each) {
            let images = [first, each.min(sizes.batch - first)];
            self.queries(io, (sizes, images, positions), out);
            self.keys(io, (sizes, images, positions), out);
            self.tables(io, (sizes, images), [positions, part], out);
        }
        self.merge(io, sizes, part, out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let sizes = self.of.known_sizes(inputs[0].shape.dims());
        // A pair: its logit, dq and dk over the channels of q, dP and dv over those of v. A line: its logit, dq and the tables.
        let each = sizes.pixels() * (3 * sizes.depth + 2 * sizes.values) + 3 * sizes.lines() * sizes.depth;
        let multiply_adds = (sizes.batch * sizes.heads * sizes.pixels() * each) as u64;
        Cost { multiply_adds, bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum() }
    }
}

/// How many images of so many bytes of positions are worked on before the next: as many every time, but for the last.
fn images_at_once(machine: &Capabilities, batch: usize, image: usize) -> usize {
    let budget = if machine.software { SOFTWARE_POSITIONS_BYTES } else { POSITIONS_BYTES };
    let most = (budget.min(machine.max_binding_bytes) / image).max(1);
    batch.div_ceil(batch.div_ceil(most))
}

impl RelativeAttentionBackward {
    fn queries(
        &self,
        io: &Io<'_>,
        (sizes, [first, images], positions): (Sizes, [usize; 2], View),
        out: &mut Recording,
    ) {
        let tile = QueryTile::backward(&sizes, io.machine);
        let call = Queries {
            first_image: word(first),
            images: word(images),
            scale: self.of.scale as f32,
            qkv: io.input(0),
            rel_height: io.input(1),
            rel_width: io.input(2),
            y: io.input(Y),
            dy: io.input(DY),
            log_sum: io.input(LOG_SUM),
            dqkv: io.output(0),
            positions,
        };
        let variant = tile.build(sizes.build_gradient(io.elem(0)));
        out.dispatch(&call, variant, Grid::of(images * sizes.heads * tile.groups(&sizes)));
    }

    fn keys(&self, io: &Io<'_>, (sizes, [first, images], positions): (Sizes, [usize; 2], View), out: &mut Recording) {
        let tile = KeyTile::backward(&sizes, io.machine);
        let call = Keys {
            first_image: word(first),
            images: word(images),
            scale: self.of.scale as f32,
            qkv: io.input(0),
            y: io.input(Y),
            dy: io.input(DY),
            log_sum: io.input(LOG_SUM),
            positions,
            dqkv: io.output(0),
        };
        let variant = tile.build(sizes.build_gradient(io.elem(0)));
        out.dispatch(&call, variant, Grid::of(images * sizes.heads * tile.groups(&sizes)));
    }

    fn tables(
        &self,
        io: &Io<'_>,
        (sizes, [first, images]): (Sizes, [usize; 2]),
        [positions, part]: [View; 2],
        out: &mut Recording,
    ) {
        let call = Tables {
            first_image: word(first),
            images: word(images),
            scale: self.of.scale as f32,
            qkv: io.input(0),
            positions,
            part,
        };
        let lanes = sizes.offsets().next_multiple_of(TABLE_LANES).min(4 * TABLE_LANES);
        let tile = if sizes.lines() > LINES_OF_LARGE_TILES { TABLE_TILE / 2 } else { TABLE_TILE };
        let variant = sizes.build(io.elem(0)).constant("WORKGROUP", word(lanes)).constant("TILE", word(tile));
        out.dispatch(&call, variant, Grid::of(images * sizes.heads * sizes.offsets().div_ceil(lanes)));
    }

    /// Adds up what the heads of all images leave for the tables.
    fn merge(&self, io: &Io<'_>, sizes: Sizes, part: View, out: &mut Recording) {
        let width = tuning::width(sizes.depth);
        let columns = |rows: usize| rows * sizes.depth / width.elements();
        let parts = sizes.batch * sizes.heads;
        let strips = Strips::merging(io.machine, parts, columns(sizes.offsets()));
        let call = MergeTables {
            parts: word(parts),
            height_columns: word(columns(2 * sizes.height - 1)),
            columns: word(columns(sizes.offsets())),
            part,
            drel_height: io.output(1),
            drel_width: io.output(2),
        };
        let variant = strips.build(Variant::of(io.elem(0)).piece(width.piece()));
        out.dispatch(&call, variant, Grid::volume(strips.across, 1, 1));
    }
}

/// Lanes of a workgroup that makes a table's gradient: a multiple of these, and as many as the tables have rows where they are few.
const TABLE_LANES: usize = 32;
/// Queries in workgroup memory at a time.
const TABLE_TILE: usize = 16;
/// Columns and rows of a map of whose slopes a tile takes more than half the workgroup memory that WebGPU promises.
const LINES_OF_LARGE_TILES: usize = 128;

impl Maths for RelativeAttentionBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[qkv, rel_height, rel_width, y, log_sum, dy] = inputs else {
            unreachable!("the shape rule fixed the inputs")
        };
        let pairs = Pairs::of(&self.of, [qkv, rel_height, rel_width]);
        let Sizes { batch, heads, depth, values, .. } = pairs.sizes;
        let pixels = pairs.sizes.pixels();
        let scale = T::of(self.of.scale);
        let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a * b).sum::<T>();
        let add = |to: &mut [T], times: T, what: &[T]| {
            to.iter_mut().zip(what).for_each(|(to, &what)| *to += times * what);
        };
        // What an image adds; heads have channels of their own, and the tables in common.
        let image = |n: usize| {
            let mut dqkv = vec![T::default(); qkv.data.len() / batch];
            let mut tables = [rel_height, rel_width].map(|table| vec![T::default(); table.data.len()]);
            let before = n * dqkv.len();
            for row in n * pixels * heads..(n + 1) * pixels * heads {
                let (query, head) = (row / heads % pixels, row % heads);
                let (asked, wanted) = (pairs.query(row), &dy.data[row * values..][..values]);
                let mean = dot(wanted, &y.data[row * values..][..values]);
                for (key, logit) in pairs.logits(row).into_iter().enumerate() {
                    let p = (logit - log_sum.data[row]).exp();
                    let ds = p * (dot(wanted, pairs.value(row, key)) - mean) * scale;
                    let offsets = pairs.offsets(row, key);
                    let [dq, _, _] = pairs.starts(n, query, head).map(|start| start - before);
                    let [_, dk, dv] = pairs.starts(n, key, head).map(|start| start - before);
                    add(&mut dqkv[dq..][..depth], ds, pairs.key(row, key));
                    add(&mut dqkv[dk..][..depth], ds, asked);
                    add(&mut dqkv[dv..][..values], p, wanted);
                    for (which, offset) in offsets.into_iter().enumerate() {
                        add(&mut dqkv[dq..][..depth], ds, pairs.table(which, offset));
                        add(&mut tables[which][offset * depth..][..depth], ds, asked);
                    }
                }
            }
            (dqkv, tables)
        };
        let images: Vec<(Vec<T>, [Vec<T>; 2])> = (0..batch).into_par_iter().map(image).collect();
        let mut dqkv = Vec::with_capacity(qkv.data.len());
        let mut tables = [rel_height, rel_width].map(|table| Array::zeros(&table.shape));
        for (of_image, own) in images {
            dqkv.extend(of_image);
            tables.iter_mut().zip(&own).for_each(|(sum, own)| add(&mut sum.data, T::of(1.0), own));
        }
        let [rel_height, rel_width] = tables;
        vec![Array { data: dqkv, ..qkv.clone() }, rel_height, rel_width]
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<RelativeAttentionBackward>(
    "relative_attention_backward",
    "with P of `relative_attention`, dS_ij = P_ij (dy_i · v_j − dy_i · y_i) scale; dq_i = Σ_j dS_ij (k_j + rel_width[..] + rel_height[..]), dk_j = Σ_i dS_ij q_i, \
     dv_j = Σ_i P_ij dy_i; a row of a table: Σ dS_ij q_i over all pairs that look at it",
    ATTRIBUTES,
    [
        &[
            ("qkv", "T [N, H, W, 2K+D]"),
            ("rel_height", "T [2H-1, K/heads]"),
            ("rel_width", "T [2W-1, K/heads]"),
            ("y", "T [N, H, W, D]"),
            ("log_sum", "f32 [N, HW, heads]"),
            ("dy", "T [N, H, W, D]"),
        ],
        &[("dqkv", "T [N, H, W, 2K+D]"), ("drel_height", "T [2H-1, K/heads]"), ("drel_width", "T [2W-1, K/heads]")],
    ],
);
