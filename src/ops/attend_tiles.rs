//! How attention is cut up: which kernel serves a shape, and what of the scores a workgroup takes.

use super::attend_rows::BLOCK;
use crate::kernel::{Capabilities, Variant, tuning, word};

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub depth: usize,
    /// Channels of a head's values.
    pub width: usize,
}

/// Which kernel serves a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Regime {
    /// Few queries and few keys: the scores of an (image, head) fit one workgroup.
    SelfAttention,
    /// Few keys: those of an (image, head) fit one tile.
    CrossAttention,
    /// All else; the tokenizers, where pixels are keys.
    SoftmaxPool,
}

/// The most keys that stand in one tile of many queries.
pub(super) const FEW_KEYS: usize = 64;
/// The most queries that stand in one tile of many keys.
const FEW_QUERIES: usize = 16;
/// Numbers that a lane holds as sums without spilling registers.
const SUMS: usize = 64;
/// As [`SUMS`], on software adapters: their registers are few, and long loops written out take them seconds to compile.
const SOFTWARE_SUMS: usize = 16;
/// Workgroup memory that WebGPU promises; taking more would also leave less company on a multiprocessor.
const WORKGROUP_BYTES: usize = 16 << 10;
/// Workgroups that fill a large GPU: with fewer, long sums are split among several.
const ENOUGH_GROUPS: usize = 512;
/// Tiles that a split holds at least: a part costs a pass over its sums.
const SPLIT_TILES: usize = 4;

impl Sizes {
    pub(super) fn regime(&self, machine: &Capabilities) -> Regime {
        let quads = self.keys.div_ceil(4).next_power_of_two();
        if self.queries.next_power_of_two() * quads <= tuning::lanes(machine) as usize {
            Regime::SelfAttention
        } else if self.keys <= FEW_KEYS {
            Regime::CrossAttention
        } else {
            Regime::SoftmaxPool
        }
    }

    /// Whether the many, whose rows are met while the few stand by, are queries.
    pub(super) fn rows_ask(&self) -> bool {
        self.queries >= self.keys
    }

    /// Whether all keys of a query are in sight at once, wherever its gradients are made: at most [`BLOCK`] of them.
    pub(super) fn in_sight(&self) -> bool {
        self.rows_ask() && self.keys <= BLOCK
    }

    /// A build of the gradients' scalar kernels.
    pub(super) fn seen(&self, variant: Variant) -> Variant {
        variant.constant("WHOLE", self.in_sight().into())
    }

    /// The tile of self-attention: all queries by all keys. At least 32 lanes, so that channels have some to lie on.
    pub(super) fn whole(&self) -> Tile {
        let quads = self.keys.div_ceil(4).next_power_of_two();
        Tile { queries: self.queries.next_power_of_two().max(32 / quads), quads, lanes_across: 1, channels: 1 }
    }

    /// All lanes on one tile, shaped after the side that has few rows.
    fn tile(&self, machine: &Capabilities) -> Tile {
        let lanes = tuning::lanes(machine) as usize;
        let quads = match self.regime(machine) {
            Regime::SoftmaxPool => lanes / self.queries.next_power_of_two().clamp(FEW_QUERIES / 2, FEW_QUERIES),
            _ => self.keys.div_ceil(4).next_power_of_two().clamp(2, FEW_KEYS / 4),
        };
        Tile { queries: lanes / quads, quads, lanes_across: 1, channels: 1 }
    }

    /// A tile whose lanes sum `channels` channels for each of its queries.
    pub(super) fn by_queries(&self, machine: &Capabilities, channels: usize) -> Tile {
        let tile = self.tile(machine);
        // A lane's sums: (queries of the tile / lanes that share a channel) x channels of the lane.
        tile.across(channels, tile.quads, sums(machine) * tile.quads)
    }

    /// A tile whose lanes sum `channels` channels for each of its keys, four keys a number.
    pub(super) fn by_keys(&self, machine: &Capabilities, channels: usize) -> Tile {
        let mut tile = self.tile(machine);
        if self.regime(machine) != Regime::SoftmaxPool {
            // More queries than channels would leave lanes idle when these are summed.
            tile.queries = tile.queries.min(channels.next_power_of_two().max(32 / tile.quads));
        }
        // Twice four numbers: dk and dv of four keys.
        tile.across(channels, 1, sums(machine) / 8 * tile.queries)
    }
}

fn sums(machine: &Capabilities) -> usize {
    if machine.software { SOFTWARE_SUMS } else { SUMS }
}

/// What of the scores a workgroup takes: each lane one query and four keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub queries: usize,
    pub quads: usize,
    lanes_across: usize,
    channels: usize,
}

impl Tile {
    pub(super) fn keys(&self) -> usize {
        4 * self.quads
    }

    fn lanes(&self) -> usize {
        self.queries * self.quads
    }

    /// Lanes side by side over channels, at least `least`, and as many channels a lane as `strip` in all allows.
    fn across(self, channels: usize, least: usize, strip: usize) -> Self {
        let strip = strip.min(channels.next_power_of_two());
        let lanes_across = strip.clamp(least.min(self.lanes()), self.lanes());
        Self { lanes_across, channels: strip.div_ceil(lanes_across), ..self }
    }

    /// Constants of `lib/attend_tile.wgsl`. `copies`: how many times the tile's weights stand in workgroup memory.
    pub(super) fn build(&self, variant: Variant, machine: &Capabilities, channels: usize, copies: usize) -> Variant {
        let others = self.lanes() * (16 * copies + 4) + self.queries * 4;
        let bytes = |chunk: usize| others + self.queries * (chunk + 1) * 4 + chunk * (self.quads + 1) * 16;
        let budget = machine.max_workgroup_bytes.min(WORKGROUP_BYTES);
        let most = channels.next_power_of_two().clamp(4, if machine.software { 8 } else { 32 });
        let chunk = [32, 16, 8].into_iter().find(|&chunk| chunk <= most && bytes(chunk) <= budget).unwrap_or(4);
        variant
            .constant("WORKGROUP", word(self.lanes()))
            .constant("QUERIES", word(self.queries))
            .constant("CHUNK", word(chunk))
    }

    /// As [`Tile::build`], with the constants of kernels that sum channels strip by strip.
    pub(super) fn build_strips(
        &self,
        variant: Variant,
        machine: &Capabilities,
        channels: usize,
        copies: usize,
    ) -> Variant {
        self.build(variant, machine, channels, copies)
            .constant("CHANNEL_LANES", word(self.lanes_across))
            .constant("CHANNELS", word(self.channels))
    }
}

/// A long sum cut into parts that workgroups take separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Rows of a part at most.
    pub each: usize,
    /// Parts.
    pub parts: usize,
}

impl Split {
    /// `rows` in tiles of `tile`, where `groups` workgroups would run if nothing were split.
    pub(super) fn of(rows: usize, tile: usize, groups: usize) -> Self {
        let tiles = rows.div_ceil(tile);
        let wanted = ENOUGH_GROUPS.div_ceil(groups).min(tiles / SPLIT_TILES).max(1);
        let each = tiles.div_ceil(wanted) * tile;
        Self { each, parts: rows.div_ceil(each) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Regime, Sizes, Split};
    use crate::kernel::Capabilities;

    fn sizes(queries: usize, keys: usize) -> Sizes {
        Sizes { batch: 2, queries, keys, heads: 1, depth: 3, width: 5 }
    }

    #[test]
    fn few_and_many_choose_the_kernel() {
        let machine = Capabilities::portable();
        assert_eq!(sizes(16, 16).regime(&machine), Regime::SelfAttention);
        assert_eq!(sizes(60_800, 8).regime(&machine), Regime::CrossAttention);
        assert_eq!(sizes(196, 64).regime(&machine), Regime::CrossAttention);
        assert_eq!(sizes(8, 60_800).regime(&machine), Regime::SoftmaxPool);
        assert_eq!(sizes(300, 65).regime(&machine), Regime::SoftmaxPool);
    }

    #[test]
    fn lanes_and_sums_are_whole_numbers_of_tiles() {
        let machines = [Capabilities::portable(), Capabilities { software: true, ..Capabilities::portable() }];
        for machine in &machines {
            for (queries, keys) in [(1, 1), (16, 16), (1, 65), (9, 300), (300, 1), (300, 64), (4096, 4096)] {
                for channels in [1, 3, 16, 32, 100, 512, 5000] {
                    let size = sizes(queries, keys);
                    let tile = size.by_queries(machine, channels);
                    let (rows, step) = (tile.queries * tile.lanes_across / tile.lanes(), tile.lanes_across);
                    assert!(rows >= 1 && rows * tile.channels <= super::SUMS, "{size:?} {channels} {tile:?}");
                    assert!(step.is_power_of_two() && tile.lanes() <= 256, "{size:?} {channels} {tile:?}");
                    let tile = size.by_keys(machine, channels);
                    let sums = (tile.quads * tile.lanes_across).div_ceil(tile.lanes()) * tile.channels * 8;
                    assert!(sums <= super::SUMS, "{size:?} {channels} {tile:?}");
                }
            }
        }
    }

    #[test]
    fn parts_cover_all_rows_and_none_is_empty() {
        for (rows, tile, groups) in [(1, 64, 1), (300, 32, 1), (60_800, 128, 16), (60_800, 64, 2048), (257, 16, 7)] {
            let split = Split::of(rows, tile, groups);
            assert_eq!(split.each % tile, 0);
            assert!(split.parts * split.each >= rows && (split.parts - 1) * split.each < rows, "{split:?}");
        }
        assert!(Split::of(300, 32, 1).parts > 1);
    }
}
