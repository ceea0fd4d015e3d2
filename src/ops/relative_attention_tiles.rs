//! How attention over pixels is cut up: its sizes, and what of them a lane and a workgroup take.

use crate::graph::Tensor;
use crate::kernel::{Capabilities, Elem, Variant, word};

/// Rows or columns of pixels at most: a query's products with a table stand in workgroup memory, all of them.
const MOST_PIXELS: usize = 128;
/// Channels of a head at most: a lane has those of its queries or keys in registers.
const MOST_CHANNELS: usize = 64;

/// The sizes of an attention over pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub depth: usize,
    /// Channels of a head's values.
    pub values: usize,
}

impl Sizes {
    /// The sizes for these qkv and tables.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub(super) fn of([qkv, rows, columns]: [&Tensor; 3], heads: usize, key_channels: usize) -> Result<Self, String> {
        let Some([batch, height, width, channels]) = qkv.shape.rank() else {
            return Err(format!("qkv must be [N, H, W, 2 key channels + value channels] and is {}", qkv.shape));
        };
        if qkv.elem == Elem::U32 || [rows, columns].iter().any(|table| table.elem != qkv.elem) {
            return Err("qkv and the two tables must be f32 or f16, all the same".to_owned());
        }
        if heads == 0 || key_channels == 0 || !key_channels.is_multiple_of(heads) {
            return Err(format!("the {key_channels} key channels must be a multiple of the {heads} heads"));
        }
        let value_channels = key_channels.checked_mul(2).and_then(|both| channels.checked_sub(both)).unwrap_or(0);
        if value_channels == 0 || !value_channels.is_multiple_of(heads) {
            return Err(format!(
                "of the {channels} channels of qkv {key_channels} are queries and {key_channels} keys: what is left must be values, a \
                 multiple of the {heads} heads"
            ));
        }
        if [batch, height, width].contains(&0) {
            return Err("no size may be 0".to_owned());
        }
        let sizes = Self { batch, height, width, heads, depth: key_channels / heads, values: value_channels / heads };
        if sizes.depth.max(sizes.values) > MOST_CHANNELS {
            return Err(format!(
                "a head has {} channels of keys and {} of values, and a lane holds {MOST_CHANNELS} of each: take more heads",
                sizes.depth, sizes.values
            ));
        }
        if height.max(width) > MOST_PIXELS {
            return Err(format!(
                "a map of {height} x {width} has more than {MOST_PIXELS} pixels on a side: attend to a smaller map, such as one pooled"
            ));
        }
        for (name, table, side, rows) in
            [("rel_height", rows, "2 H - 1", 2 * height - 1), ("rel_width", columns, "2 W - 1", 2 * width - 1)]
        {
            if table.shape.rank() != Some([rows, sizes.depth]) {
                return Err(format!(
                    "{name} must be [{side}, key channels / heads] = [{rows}, {}] and is {}",
                    sizes.depth, table.shape
                ));
            }
        }
        Ok(sizes)
    }

    /// The sizes, once the shape rule has let the inputs pass.
    pub(super) fn known([batch, height, width, channels]: [usize; 4], heads: usize, key_channels: usize) -> Self {
        let values = (channels - 2 * key_channels) / heads;
        Self { batch, height, width, heads, depth: key_channels / heads, values }
    }

    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Rows of both tables.
    pub(super) fn offsets(&self) -> usize {
        2 * (self.height + self.width) - 2
    }

    /// Columns and rows of keys: the lines of logits, and of slopes, of an (image, head).
    pub(super) fn lines(&self) -> usize {
        self.height + self.width
    }

    /// Strips of four channels of a key and its value.
    fn strips(&self) -> usize {
        self.depth.div_ceil(4) + self.values.div_ceil(4)
    }

    /// Channels of keys and values as registers have them: keys in strips.
    fn depth_held(&self) -> usize {
        self.depth.next_multiple_of(4)
    }

    /// A build for these sizes, without its tile.
    pub(super) fn build(&self, elem: Elem) -> Variant {
        let fours = self.depth.is_multiple_of(4) && (self.heads * self.values).is_multiple_of(4);
        let numbers = [
            ("HEIGHT", self.height),
            ("WIDTH", self.width),
            ("HEADS", self.heads),
            ("DEPTH", self.depth),
            ("VALUES", self.values),
        ];
        let variant = Variant::of(elem).piece(if fours { "pack_4" } else { "pack_1" });
        numbers.into_iter().fold(variant, |variant, (name, size)| variant.constant(name, word(size)))
    }

    /// As [`Sizes::build`], of a kernel that writes a gradient of qkv.
    pub(super) fn build_gradient(&self, elem: Elem) -> Variant {
        let variant = self.build(elem);
        let piece = if variant.has("pack_4") { "gradient_4" } else { "gradient_1" };
        variant.piece(piece)
    }
}

/// Lanes of a workgroup whose lanes hold queries: one subgroup of most machines, for which barriers cost next to nothing.
const LANES: usize = 32;
/// Workgroup memory at most, and of it what bands of columns take: eight workgroups of a subgroup must fit beside each other on a
/// multiprocessor, or nothing hides what each waits for (benches/rejected.md).
const WORKGROUP_BYTES: usize = 5_400;
const BAND_BYTES: usize = 3_700;
/// Registers that a lane may fill before they spill: a little less than half the most that NVIDIA has.
const REGISTERS: usize = 176;
/// As [`REGISTERS`], on software adapters: their registers are few, and what is written out takes them seconds to compile.
const SOFTWARE_REGISTERS: usize = 48;
/// Queries, or keys, of a lane at most.
const MOST_HELD: usize = 6;
/// Workgroups of [`LANES`] that keep a large GPU busy.
const ENOUGH_GROUPS: usize = 1024;
/// Loads that a lane has under way at a time.
const LOADS: usize = 8;
/// Multiprocessors multiply as many numbers in a cycle as they load from workgroup memory, of which a strip is four that all lanes share.
const STRIP_CYCLES: usize = 16;

fn registers(machine: &Capabilities) -> usize {
    if machine.software { SOFTWARE_REGISTERS } else { REGISTERS }
}

/// How many of `pixels` a lane holds: each load of what it meets feeds so many products, but idle lanes and spilled registers cost more.
/// `arithmetic` and `loads`: cycles of a pair, and of what is met. `fits`: whether registers and workgroup memory hold so many.
fn held(
    (pixels, lanes): (usize, usize),
    (arithmetic, loads): (usize, usize),
    enough: usize,
    fits: impl Fn(usize) -> bool,
) -> usize {
    let tiles = |held: usize| pixels.div_ceil(held * lanes);
    let cycles = |held: usize| tiles(held) * (held * arithmetic).max(loads);
    let able = (2..=MOST_HELD).filter(|&held| fits(held) && tiles(held) >= enough);
    std::iter::once(1).chain(able).min_by_key(|&held| cycles(held)).unwrap_or(1)
}

/// What of the pairs a workgroup takes whose lanes hold queries: constants of `lib/relative_queries.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryTile {
    /// Queries of a lane.
    pub queries: usize,
    /// Keys that a query meets at once.
    pub keys: usize,
    /// Columns of a band of keys, a multiple of those.
    pub band: usize,
    /// Slots of keys in workgroup memory.
    pub slots: usize,
}

impl QueryTile {
    /// The tile of the forward kernel. A chunk of many keys shrinks sums seldom.
    pub(super) fn forward(sizes: &Sizes, machine: &Capabilities) -> Self {
        let most = if machine.software { 4 } else { 8 };
        let Sizes { depth, values, .. } = *sizes;
        let registers = |queries: usize, keys: usize| queries * (sizes.depth_held() + values + keys + 2);
        Self::of(sizes, machine, (1, most / 2..=most, depth + values + 6), registers)
    }

    /// The tile of the kernel that makes the gradients of queries: twice the workgroup memory, for slopes.
    pub(super) fn backward(sizes: &Sizes, machine: &Capabilities) -> Self {
        let Sizes { depth, values, .. } = *sizes;
        let registers = |queries: usize, keys: usize| {
            queries * (2 * sizes.depth_held() + values + keys + 4) + 4 * keys * sizes.strips()
        };
        Self::of(sizes, machine, (2, 1..=2, 2 * depth + 2 * values + 8), registers)
    }

    fn of(
        sizes: &Sizes,
        machine: &Capabilities,
        (copies, chunks, arithmetic): (usize, std::ops::RangeInclusive<usize>, usize),
        used: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let (pixels, strips) = (sizes.pixels(), sizes.strips());
        let budget = machine.max_workgroup_bytes.min(WORKGROUP_BYTES);
        // As few slots without a key as can be, then as many keys at once.
        let padded = |keys: usize| sizes.width.next_multiple_of(keys);
        let chunks = chunks.rev().filter(|&keys| used(1, keys) <= registers(machine));
        let keys = chunks.filter(|&keys| keys <= sizes.width).min_by_key(|&keys| padded(keys)).unwrap_or(1);
        // Where there is room for a band: a row of it costs a query about as much as a key, and so does a slot without one.
        let across = |queries: usize, band: usize| copies * band * LANES * queries * 4;
        let room = BAND_BYTES.min(budget.saturating_sub(keys * strips * 16));
        let cost = |band: usize| padded(band) * (band + 1) * MOST_PIXELS / band;
        let band = |queries: usize| {
            let bands = (keys..=padded(keys)).step_by(keys).filter(|&band| across(queries, band) <= room);
            bands.min_by_key(|&band| cost(band)).unwrap_or(keys)
        };
        let fits = |queries: usize| across(queries, band(queries)) + keys * strips * 16 <= budget;
        let groups = sizes.batch * sizes.heads;
        let enough = if machine.software { 1 } else { ENOUGH_GROUPS.div_ceil(groups) };
        let queries = held((pixels, LANES), (arithmetic, STRIP_CYCLES * strips), enough, |queries| {
            used(queries, keys) <= registers(machine) && fits(queries)
        });
        let band = band(queries);
        // The tiles of keys alike, and each one's loads under way together.
        let all = sizes.height * padded(band);
        let room = (budget - across(queries, band)) / (strips * 16);
        let most = (LANES * LOADS / strips).clamp(keys, room);
        let slots = all.div_ceil(all.div_ceil(most)).next_multiple_of(keys);
        let slots = if slots > most { (most / keys).max(1) * keys } else { slots };
        Self { queries, keys, band, slots }
    }

    /// Workgroups of an (image, head).
    pub(super) fn groups(&self, sizes: &Sizes) -> usize {
        sizes.pixels().div_ceil(LANES * self.queries)
    }

    pub(super) fn build(&self, variant: Variant) -> Variant {
        variant
            .constant("WORKGROUP", word(LANES))
            .constant("QUERIES", word(self.queries))
            .constant("KEYS", word(self.keys))
            .constant("BAND", word(self.band))
            .constant("TILE", word(self.slots))
    }
}

/// What of the pairs a workgroup takes whose lanes hold keys: constants of `relative_attention/backward_keys.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyTile {
    pub lanes: usize,
    /// Keys of a lane.
    pub keys: usize,
    /// Queries that a key meets at once.
    queries: usize,
    /// Queries in workgroup memory.
    tile: usize,
}

/// Queries in workgroup memory at most.
const QUERY_TILE: usize = 16;
/// Workgroup memory that WebGPU promises.
const PROMISED_BYTES: usize = 16 << 10;

impl KeyTile {
    pub(super) fn backward(sizes: &Sizes, machine: &Capabilities) -> Self {
        let Sizes { depth, values, .. } = *sizes;
        let (pixels, strips) = (sizes.pixels(), sizes.strips());
        let used = |keys: usize, queries: usize| keys * (8 * strips + 4) + queries * 4 * strips;
        let queries = if used(1, 2) <= registers(machine) { 2 } else { 1 };
        let groups = sizes.batch * sizes.heads;
        let enough = if machine.software { 1 } else { ENOUGH_GROUPS.div_ceil(groups) };
        let cycles = (2 * (depth + values) + 8, STRIP_CYCLES * (strips + 1));
        let keys = held((pixels, LANES), cycles, enough, |keys| used(keys, queries) <= registers(machine));
        // Loading a tile is shared by all lanes.
        let lanes = if pixels.div_ceil(keys) > LANES { 2 * LANES } else { LANES };
        let bytes = |tile: usize| tile * (16 * strips + 8) + sizes.lines() * (tile + 1) * 4;
        let tiles = [QUERY_TILE, QUERY_TILE / 2].into_iter();
        let tile = tiles.filter(|&tile| bytes(tile) <= PROMISED_BYTES).find(|&tile| tile <= pixels.next_multiple_of(4));
        Self { lanes, keys, queries, tile: tile.unwrap_or(4) }
    }

    /// Workgroups of an (image, head).
    pub(super) fn groups(&self, sizes: &Sizes) -> usize {
        sizes.pixels().div_ceil(self.lanes * self.keys)
    }

    pub(super) fn build(&self, variant: Variant) -> Variant {
        variant
            .constant("WORKGROUP", word(self.lanes))
            .constant("KEYS", word(self.keys))
            .constant("QUERIES", word(self.queries))
            .constant("TILE", word(self.tile))
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyTile, LANES, QueryTile, Sizes};
    use crate::kernel::Capabilities;

    /// With the workgroup memory of NVIDIA's.
    fn large() -> Capabilities {
        Capabilities { max_workgroup_bytes: 48 << 10, ..Capabilities::portable() }
    }

    fn sizes(batch: usize, side: usize, depth: usize, values: usize) -> Sizes {
        Sizes { batch, height: side, width: side, heads: 8, depth, values }
    }

    #[test]
    fn the_maps_of_a_resnet_keep_lanes_busy() {
        let tile = |batch, side, values| QueryTile::forward(&sizes(batch, side, 20, values), &large());
        assert_eq!(tile(64, 28, 2), QueryTile { queries: 5, keys: 7, band: 7, slots: 7 });
        assert_eq!(tile(64, 14, 4).queries, 4);
        // Few pictures: their pixels are spread over as many workgroups as there can be.
        assert_eq!(tile(1, 14, 4).queries, 1);
        let backward = QueryTile::backward(&sizes(64, 28, 20, 2), &large());
        assert_eq!((backward.queries, backward.keys, backward.band), (2, 2, 4));
        assert_eq!(KeyTile::backward(&sizes(64, 28, 20, 2), &large()).keys, 2);
    }

    #[test]
    fn every_size_fits_the_least_machine() {
        for machine in [Capabilities::portable(), Capabilities { software: true, ..Capabilities::portable() }, large()]
        {
            for side in [1, 2, 3, 7, 13, 28, 56, 128] {
                for (depth, values) in [(1, 1), (3, 5), (20, 2), (20, 7), (33, 17), (64, 64)] {
                    let sizes = sizes(2, side, depth, values);
                    for (copies, tile) in
                        [(1, QueryTile::forward(&sizes, &machine)), (2, QueryTile::backward(&sizes, &machine))]
                    {
                        let across = tile.band * LANES * tile.queries * 4;
                        let bytes = copies * across + tile.slots * sizes.strips() * 16;
                        assert!(bytes <= machine.max_workgroup_bytes, "{sizes:?} {tile:?}: {bytes}");
                        assert!(tile.slots.is_multiple_of(tile.keys) && tile.slots > 0);
                        assert!(tile.band.is_multiple_of(tile.keys) && tile.band < side + tile.keys);
                    }
                    let tile = KeyTile::backward(&sizes, &machine);
                    let bytes = tile.tile * (16 * sizes.strips() + 8) + sizes.lines() * (tile.tile + 1) * 4;
                    assert!(bytes <= machine.max_workgroup_bytes, "{sizes:?} {tile:?}: {bytes}");
                    assert!(tile.tile.is_multiple_of(tile.queries), "{tile:?}");
                }
            }
        }
    }
}
