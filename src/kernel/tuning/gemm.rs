//! How a GEMM is cut into tiles: which engine, how large, how deep.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::recording::MAX_GROUPS;
use crate::kernel::{Capabilities, Elem, Fragment, Grid, Variant, word};

/// How a GEMM is cut up: the tile of a workgroup, and what of it a lane or a subgroup takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tiles {
    /// Rows, columns and depth of a workgroup's tile.
    pub tile: [usize; 3],
    /// Rows and columns that one lane sums (scalar engine), or subgroups along rows and columns (cooperative matrices).
    pub share: [usize; 2],
    /// Whether the next tile is fetched into registers while this one is multiplied.
    pub ahead: bool,
    /// Slices that sums over the depth are cut into, where a kernel can; 0 for as many as it has without tuning.
    #[serde(default)]
    pub slices: usize,
    /// The engine.
    pub engine: Engine,
}

/// What multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Each lane by itself, in f32.
    Scalar,
    /// Subgroups with cooperative matrices of this size and this many lanes: f16 factors, f32 sums.
    Cooperative(Fragment, u32),
}

/// A way of cutting (tile, share, whether to fetch ahead), and how many tiles there must be for it.
type Cut = ([usize; 3], [usize; 2], bool, usize);

/// Large to small; the first that fits the machine, wastes little and gives it enough to do is taken. Measured on an
/// H100 (benches/rejected.md): 132 multiprocessors want at least some 96 tiles, and large tiles read less.
const SCALAR: &[Cut] = &[
    ([128, 64, 16], [8, 4], true, ENOUGH_TILES),
    ([64, 64, 16], [4, 4], true, ENOUGH_TILES),
    ([32, 32, 16], [4, 4], false, 0),
];
const SIXTEEN: &[Cut] = &[
    ([128, 256, 32], [2, 4], true, 2 * ENOUGH_TILES),
    ([128, 128, 32], [2, 2], false, 2 * ENOUGH_TILES),
    ([128, 128, 64], [2, 4], false, ENOUGH_TILES),
    ([128, 64, 32], [2, 2], false, 2 * ENOUGH_TILES),
    ([128, 64, 64], [2, 2], false, ENOUGH_TILES),
    ([64, 64, 32], [2, 2], false, ENOUGH_TILES / 2),
    ([32, 32, 32], [2, 2], false, 0),
];
/// The same for patches of images, whose addresses cost more than their loads: twice the lanes share them, and where tiles
/// are few, small ones fetched ahead hide what is left.
const SIXTEEN_PATCHES: &[Cut] = &[
    ([128, 128, 64], [2, 4], false, 2 * ENOUGH_TILES),
    ([128, 64, 32], [2, 2], false, 2 * ENOUGH_TILES),
    ([64, 64, 32], [2, 2], true, ENOUGH_TILES / 2),
    ([32, 32, 32], [2, 2], false, 0),
];
const EIGHT: &[Cut] = &[([64, 64, 32], [2, 2], true, ENOUGH_TILES), ([32, 32, 16], [2, 2], false, 0)];
/// On software adapters, where small tiles keep sums in registers.
const SOFTWARE: usize = 32;

/// Tiles that keep a large GPU busy.
const ENOUGH_TILES: usize = 96;

/// Slices of a sum where that is tried: one of them is shorter than the others.
const SLICES: usize = 3;

/// More are not worth their second pass.
const MOST_SLICES: usize = 64;

/// Products that a sliced sum has at least.
const DEEP: usize = 512;

/// What the rows of the first factor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Rows of a matrix.
    Matrix,
    /// Patches of images.
    Patches,
}

/// The engine for an element type on such a machine, and its ways of cutting.
fn engine(machine: &Capabilities, elem: Elem, rows: Rows) -> (Engine, &'static [Cut]) {
    match (machine.fragment, machine.subgroup) {
        (Some(fragment), Some(lanes)) if elem == Elem::F16 => {
            let table = match (fragment, rows) {
                (Fragment::Sixteen, Rows::Matrix) => SIXTEEN,
                (Fragment::Sixteen, Rows::Patches) => SIXTEEN_PATCHES,
                (Fragment::Eight, _) => EIGHT,
            };
            (Engine::Cooperative(fragment, lanes), table)
        }
        _ => (Engine::Scalar, SCALAR),
    }
}

impl fmt::Display for Tiles {
    /// `128x64x32 ahead`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n, k] = self.tile;
        write!(f, "{m}x{n}x{k}{}", if self.ahead { " ahead" } else { "" })?;
        if self.slices > 0 { write!(f, " in {} slices", self.slices) } else { Ok(()) }
    }
}

impl Tiles {
    /// The tiles for `slices` products of this many rows, which are `kind`, and columns.
    #[must_use]
    pub fn choose(machine: &Capabilities, elem: Elem, kind: Rows, [rows, cols]: [usize; 2], slices: usize) -> Self {
        let (engine, table) = engine(machine, elem, kind);
        if let Some(tiles) = machine.tiles.filter(|tiles| tiles.engine == engine) {
            return tiles;
        }
        let wastes = |size: usize, tile: usize| 4 * size.next_multiple_of(tile) > 5 * size;
        let serves = |&&(tile, share, ahead, enough): &&Cut| {
            let tiles = Self { tile, share, ahead, slices: 0, engine };
            tiles.fits(machine)
                && (!machine.software || tile[0] <= SOFTWARE)
                && (enough == 0 || !wastes(rows, tile[0]) && !wastes(cols, tile[1]))
                && rows.div_ceil(tile[0]) * cols.div_ceil(tile[1]) * slices >= enough
        };
        let smallest = table[table.len() - 1];
        let (tile, share, ahead, _) = table.iter().find(serves).copied().unwrap_or(smallest);
        Self { tile, share, ahead, slices: 0, engine }
    }

    /// Every way of cutting that [`choose`](Self::choose) knows for an element type on such a machine, whatever the shape;
    /// and one of so many slices.
    #[must_use]
    pub fn all(machine: &Capabilities, elem: Elem) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for kind in [Rows::Matrix, Rows::Patches] {
            let (engine, table) = engine(machine, elem, kind);
            let each = table.iter().map(|&(tile, share, ahead, _)| Self { tile, share, ahead, slices: 0, engine });
            let new: Vec<Self> = each.filter(|tiles| tiles.fits(machine) && !all.contains(tiles)).collect();
            all.extend(new);
        }
        let smallest = all.iter().min_by_key(|tiles| tiles.tile.iter().product::<usize>()).copied();
        all.extend(smallest.map(|smallest| Self { slices: SLICES, ..smallest }));
        all
    }

    /// Whether this is one of the ways that [`choose`](Self::choose) knows on such a machine, in however many slices: tiles
    /// from outside may be anything.
    #[must_use]
    pub fn is_known(&self, machine: &Capabilities) -> bool {
        let whole = Self { slices: 0, ..*self };
        let known = |elem| Self::all(machine, elem).contains(&whole);
        self.slices <= MOST_SLICES && [Elem::F32, Elem::F16].into_iter().any(known)
    }

    /// How many slices each of `sums` sums of this depth, in `groups`, is cut into, and how deep they are: those of the
    /// tiles, if they say, the grid has room and the machine binds what they leave; else `usual`.
    #[must_use]
    pub fn sliced(&self, machine: &Capabilities, usual: usize, [groups, sums, depth]: [usize; 3]) -> [usize; 2] {
        let cut = |wanted: usize| {
            let each = depth.max(1).div_ceil(wanted.max(1)).next_multiple_of(self.tile[2]);
            [depth.max(1).div_ceil(each), each]
        };
        let own = cut(self.slices);
        let binds = own[0].saturating_mul(sums).saturating_mul(4) <= machine.max_binding_bytes;
        let fits = own[0].saturating_mul(groups) <= MAX_GROUPS as usize;
        if self.slices > 0 && binds && fits { own } else { cut(usual) }
    }

    fn fits(&self, machine: &Capabilities) -> bool {
        self.workgroup_bytes() <= machine.max_workgroup_bytes && self.workgroup() <= machine.max_workgroup
    }

    /// The tiles for products whose sums are long and may be sliced: then the number of tiles is no reason for small ones.
    #[must_use]
    pub fn choose_deep(machine: &Capabilities, elem: Elem, extent: [usize; 2], depth: usize, slices: usize) -> Self {
        Self::choose(machine, elem, Rows::Matrix, extent, slices * (depth / DEEP).max(1))
    }

    /// Lanes of a workgroup.
    #[must_use]
    pub fn workgroup(&self) -> u32 {
        let [m, n, _] = self.tile;
        let lanes = match self.engine {
            Engine::Scalar => m / self.share[0] * (n / self.share[1]),
            Engine::Cooperative(_, lanes) => self.share[0] * self.share[1] * lanes as usize,
        };
        word(lanes)
    }

    /// The piece of WGSL that says how many elements are loaded at a time: as many as go into 16 bytes, where these lengths
    /// (of rows, and of what groups or taps cut them into) are multiples of it.
    #[must_use]
    pub fn pack(&self, elem: Elem, lengths: &[usize]) -> &'static str {
        let wide = elem == Elem::F16 && matches!(self.engine, Engine::Cooperative(..));
        let all = |count: usize| lengths.iter().all(|length| length.is_multiple_of(count));
        match (all(8), all(4)) {
            (true, _) if wide => "pack_8",
            (_, true) => "pack_4",
            _ => "pack_1",
        }
    }

    /// Workgroup memory at most, whichever way the factors lie.
    #[must_use]
    pub fn workgroup_bytes(&self) -> usize {
        let [m, n, k] = self.tile;
        match self.engine {
            Engine::Scalar => (m + 4 + n + 4) * k * 4,
            Engine::Cooperative(fragment, _) => {
                let line = |along: usize| (along + 8) * k * 2 + (k + 8) * along * 2 - along * k * 2;
                let spilled = fragment.size() * (n / self.share[1]).min(2 * fragment.size()) + 4 * fragment.size();
                let spilled = self.share[0] * self.share[1] * spilled * 4;
                line(m) + line(n) + spilled
            }
        }
    }

    /// Whether products of these rows, columns and depth are made of whole tiles, so that no index need be checked.
    #[must_use]
    pub fn whole(&self, extent: [usize; 3]) -> bool {
        extent.iter().zip(&self.tile).all(|(size, tile)| size.is_multiple_of(*tile))
    }

    /// The build of `lib/gemm` for these tiles and for products of these rows, columns and depth; `along_k` says which
    /// factors lie along k.
    #[must_use]
    pub fn variant(&self, variant: Variant, extent: [usize; 3], along_k: [bool; 2]) -> Variant {
        let [m, n, k] = self.tile.map(word);
        let share = self.share.map(word);
        let variant = variant
            .constant("WORKGROUP", self.workgroup())
            .constant("TILE_M", m)
            .constant("TILE_N", n)
            .constant("TILE_K", k)
            .constant("EDGES", (!self.whole(extent)).into())
            .constant("AHEAD", self.ahead.into())
            .constant("A_ALONG_K", along_k[0].into())
            .constant("B_ALONG_K", along_k[1].into());
        match self.engine {
            Engine::Scalar => variant.piece("tile_scalar").constant("LANE_M", share[0]).constant("LANE_N", share[1]),
            Engine::Cooperative(fragment, lanes) => variant
                .piece("tile_coop")
                .piece(fragment.piece())
                .constant("SUBGROUP", lanes)
                .constant("SUBGROUPS_M", share[0])
                .constant("SUBGROUPS_N", share[1]),
        }
    }

    /// One workgroup a tile of each slice.
    #[must_use]
    pub fn grid(&self, [rows, cols]: [usize; 2], slices: usize) -> Grid {
        Grid::volume(cols.div_ceil(self.tile[1]), rows.div_ceil(self.tile[0]), slices)
    }
}

/// How many slices a sum of `depth` products is cut into, so that few tiles still keep a large GPU busy. The slices'
/// sums are added in a second pass, in order.
#[must_use]
pub fn depth_slices(machine: &Capabilities, tiles: &Tiles, extent: [usize; 2], depth: usize, groups: usize) -> usize {
    if machine.software {
        return 1;
    }
    let count = extent[0].div_ceil(tiles.tile[0]) * extent[1].div_ceil(tiles.tile[1]) * groups;
    (2 * ENOUGH_TILES).div_ceil(count.max(1)).clamp(1, (depth / DEEP).max(1))
}
