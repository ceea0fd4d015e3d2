//! Attention on cooperative matrices: how it is cut up, and the calls. Tokens are few, and come sixteen at a time; what is
//! many (pixels) is met in tiles of rows.

use super::attend_tiles::{FEW_KEYS, Sizes, Split};
use crate::kernel::recording::MAX_GROUPS;
use crate::kernel::{Capabilities, Elem, Fragment, Variant, word};

/// How rows are shared out among subgroups (`shaders/lib/attend_rows.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowTiles {
    fragment: Fragment,
    /// Lanes of a subgroup.
    lanes: usize,
    subgroups: usize,
    /// Rows of a tile.
    pub rows: usize,
    depth: usize,
    width: usize,
    /// Blocks of tokens that stay in registers.
    token_blocks: usize,
    /// Tiles in workgroup memory, one behind the other.
    tiles: usize,
    /// Whether rows of both sides are there at once.
    at_once: bool,
    /// Sides of tokens that subgroups multiply rows by at once: half of them each.
    sides: usize,
    /// Places by which a subgroup's blocks of sums leave in turns.
    slots: usize,
}

/// Tokens at a time.
pub(super) const BLOCK: usize = 16;
/// Elements of a row that a tile holds at most, by which sums of a token still fit registers.
const CHANNELS: usize = 1024;
/// As [`CHANNELS`], on software adapters: what is written out for more takes them minutes to compile.
const SOFTWARE_CHANNELS: usize = 32;
/// Elements of a tile: 16 KiB, of which two or more workgroups find room on a multiprocessor.
const TILE: usize = 8 << 10;
/// Rows of a tile at most.
const ROWS: usize = 64;
/// Blocks of 16 x 16 that a subgroup holds in registers at most: of f16 one takes a lane of 32 four of them.
const HELD: usize = 32;
/// As [`HELD`], of sums: they are f32.
const SUMMED: usize = 16;
/// What works on workgroups side by side in a large GPU: each holds two of them at a time, of [`MOST`] subgroups one
/// (benches/rejected.md).
const MULTIPROCESSORS: usize = 132;
/// Subgroups of a workgroup at most.
const MOST: usize = 8;
/// Channels up to which workgroups of half as many subgroups are faster.
const NARROW: usize = 256;
/// What a workgroup does before its first tile and behind its last, in tiles.
const BEGINS: usize = 2;

impl RowTiles {
    /// For heads of so many channels, and so many tokens that are held at a time; nothing where the machine has no cooperative
    /// matrices or these sizes do not fit them.
    pub(super) fn of(machine: &Capabilities, elem: Elem, sizes: &Sizes, tokens: usize) -> Option<Self> {
        let token_blocks = tokens.div_ceil(BLOCK);
        let most = if sizes.depth.max(sizes.width) > NARROW || token_blocks > 1 { MOST } else { MOST / 2 };
        Self::cut(machine, elem, (sizes, token_blocks), [most, TILE]).filter(|tiles| tiles.held() <= HELD)
    }

    /// For the gradients, BLOCK tokens at a time; `alike` says that the rows' keys are their values, which stand in one tile.
    pub(super) fn of_gradients(machine: &Capabilities, elem: Elem, sizes: &Sizes, alike: bool) -> Option<Self> {
        let halves = !alike && sizes.depth.max(sizes.width) <= NARROW;
        let most = if halves { [MOST / 2, TILE / 2] } else { [MOST, TILE] };
        let one = Self::cut(machine, elem, (sizes, 1), most)?;
        let fits = |tiles: &Self| tiles.bytes() <= machine.max_workgroup_bytes;
        let of_both = Self { tiles: if alike { 1 } else { 2 }, at_once: true, ..one };
        // Of one tile both sides are there at once, whether there is room for what they make or not.
        let at_once = Some(of_both).filter(fits).or((!alike).then_some(one))?;
        // Halves of the subgroups need channels of the same number, and room for the tokens of both sides in the beginning.
        let halved = at_once.at_once && one.subgroups > 1 && one.depth == one.width && at_once.tiles * one.rows > BLOCK;
        let both = Self { sides: if halved { 2 } else { 1 }, ..at_once };
        let tiles = Some(Self { slots: if halves { 1 } else { 2 }, ..both }).filter(fits).unwrap_or(both);
        (sizes.keys.min(sizes.queries) <= FEW_KEYS && tiles.summed() <= SUMMED).then_some(tiles)
    }

    /// With so many blocks of tokens at a time, and subgroups and elements of a tile at most.
    fn cut(
        machine: &Capabilities,
        elem: Elem,
        (sizes, token_blocks): (&Sizes, usize),
        [most, elements]: [usize; 2],
    ) -> Option<Self> {
        let (fragment, lanes) = (machine.fragment?, machine.subgroup? as usize);
        let (depth, width) = (sizes.depth, sizes.width);
        let widest = depth.max(width);
        let fits = |subgroups: &usize| {
            let whole = BLOCK * subgroups;
            depth.is_multiple_of(whole) && width.is_multiple_of(whole) && subgroups * lanes >= BLOCK
        };
        let subgroups = [MOST, MOST / 2, MOST / 4, MOST / 8].into_iter().filter(|&count| count <= most).find(fits)?;
        let most_rows = if machine.software { ROWS / 2 } else { ROWS };
        let rows = (elements / widest / BLOCK * BLOCK).clamp(BLOCK, most_rows);
        let tiles = Self {
            fragment,
            lanes,
            subgroups,
            rows,
            depth,
            width,
            token_blocks,
            tiles: 1,
            at_once: false,
            sides: 1,
            slots: 1,
        };
        let channels = if machine.software { SOFTWARE_CHANNELS } else { CHANNELS };
        // Grids are not folded: naga does not see that a number folded of a group's is the same for all of its lanes.
        let blocks = if sizes.keys <= FEW_KEYS { 1 } else { sizes.queries.div_ceil(BLOCK) };
        let grid = [sizes.batch, sizes.heads * blocks];
        let known = elem == Elem::F16
            && widest <= channels
            && subgroups * lanes <= machine.max_workgroup as usize
            && grid.into_iter().all(|groups| groups <= MAX_GROUPS as usize);
        (known && tiles.bytes() <= machine.max_workgroup_bytes).then_some(tiles)
    }

    /// Into how many parts channels are cut for products over them, so that every subgroup has one of some rows.
    fn depth_parts(&self) -> usize {
        (self.subgroups / self.sides * BLOCK / self.rows).max(1)
    }

    /// Blocks of 16 x 16 sums in workgroup memory.
    fn blocks(&self) -> usize {
        let products = self.rows / BLOCK * self.depth_parts() * self.token_blocks;
        (products * if self.at_once { 2 } else { 1 }).max(self.slots * self.subgroups)
    }

    /// Blocks of 16 x 16 that a subgroup keeps of the tokens' two matrices.
    fn held(&self) -> usize {
        let columns = self.depth / self.depth_parts() + self.width / self.subgroups;
        self.token_blocks * columns / BLOCK
    }

    /// Blocks of 16 x 16 that a subgroup sums of the tokens' two gradients.
    fn summed(&self) -> usize {
        (self.depth + self.width) / self.subgroups / BLOCK
    }

    /// Workgroup memory of the kernel that takes the most.
    fn bytes(&self) -> usize {
        let tiles = self.tiles * self.rows * (self.depth.max(self.width) + 8) * 2;
        let weights = (BLOCK * (self.rows + 8)).max(2 * self.rows * (self.token_blocks * BLOCK + 8)) * 2;
        let others = self.subgroups * self.lanes * 4 + 4 * BLOCK * 4;
        tiles + self.blocks() * BLOCK * BLOCK * 4 + weights + others
    }

    /// `count` rows shared out among workgroups, of which each takes some by turns, where `groups` of them would run if nothing were split.
    pub(super) fn split(&self, count: usize, groups: usize) -> Split {
        let tiles = count.div_ceil(self.rows);
        let slots = MULTIPROCESSORS * if self.subgroups == MOST { 1 } else { 2 };
        // As long as all rounds of workgroups take, in tiles.
        let takes = |each: usize| (groups * tiles.div_ceil(each)).div_ceil(slots) * (each + BEGINS);
        let wanted = (1..=tiles).map(|parts| tiles.div_ceil(parts)).min_by_key(|&each| takes(each));
        let each = wanted.unwrap_or(1) * self.rows;
        Split { each, parts: count.div_ceil(each) }
    }

    /// From one of a workgroup's tiles to its next, in rows: all take neighbors by turns, so that what is under way at a time is
    /// near together in memory.
    pub(super) fn stride(&self, split: Split) -> u32 {
        word(split.parts * self.rows)
    }

    /// The build.
    pub(super) fn build(&self, variant: Variant) -> Variant {
        variant
            .piece(self.fragment.piece())
            .constant("WORKGROUP", word(self.subgroups * self.lanes))
            .constant("SUBGROUP", word(self.lanes))
            .constant("ROWS", word(self.rows))
            .constant("DEPTH", word(self.depth))
            .constant("WIDTH", word(self.width))
            .constant("DEPTH_PARTS", word(self.depth_parts()))
            .constant("TOKEN_BLOCKS", word(self.token_blocks))
            .constant("BLOCKS", word(self.blocks()))
            .constant("TILES", word(self.tiles))
    }

    /// The build of the gradients' kernel.
    pub(super) fn build_gradients(&self, variant: Variant) -> Variant {
        self.build(variant).constant("SIDES", word(self.sides)).constant("SLOTS", word(self.slots))
    }
}

/// How a number of the softmax is handed to the next product, where tensors are of this type: of f16 cooperative matrices
/// take no others, and heads whose channels are whole blocks may meet them. Kernels scale it so that it is not subnormal.
pub(super) fn kept(elem: Elem, sizes: &Sizes) -> fn(f32) -> f32 {
    let whole = sizes.depth.is_multiple_of(BLOCK) && sizes.width.is_multiple_of(BLOCK);
    match elem {
        Elem::F16 if whole => |x| f32::from_bits((x.to_bits() + 0x1000) & !0x1fff), // eleven bits of 24 stay
        _ => |x| x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel reckons where b's products begin (`shaders/lib/attend_row_gradients.wgsl`).
    #[test]
    fn products_of_all_that_is_there_at_once_have_room() {
        let machine = Capabilities::cooperative();
        let mut wide = 0;
        for [depth, width] in
            [16, 64, 128, 256, 512, 768, 896, 1024].map(|channels| [channels; 2]).into_iter().chain([[512, 128]])
        {
            for (queries, keys) in [(9, 16), (16, 300), (300, 16)] {
                let sizes = Sizes { batch: 2, queries, keys, heads: 1, depth, width };
                for alike in [false, true].into_iter().filter(|alike| !alike || depth == width && !sizes.rows_ask()) {
                    let Some(tiles) = RowTiles::of_gradients(&machine, Elem::F16, &sizes, alike) else { continue };
                    let sides = if alike || tiles.tiles == 2 { 2 } else { 1 };
                    assert!(
                        tiles.blocks() >= sides * tiles.rows / BLOCK * tiles.depth_parts(),
                        "{sizes:?} {alike} {tiles:?}"
                    );
                    assert!(tiles.bytes() <= machine.max_workgroup_bytes, "{sizes:?} {alike} {tiles:?}");
                    wide += usize::from(depth == 1024);
                }
            }
        }
        assert!(wide > 0, "1024 channels have no cooperative matrices at all");
    }
}
