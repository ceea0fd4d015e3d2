//! How a GEMM is cut into tiles: which engine, how large, how deep.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cuts::{Cut, engine};
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
    /// Slices that sums over the depth are cut into, where a kernel can; 0 for as many as the model of a GPU takes.
    #[serde(default)]
    pub slices: usize,
    /// Tiles of rows that a workgroup takes one after the other, while columns of the second factor as deep as the tile stay in
    /// registers (`lib/stream`); 0 where a workgroup takes one, as deep as it is (`lib/gemm`).
    #[serde(default)]
    pub turns: usize,
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

/// Slices of a sum where that is tried: one of them is shorter than the others.
const SLICES: usize = 3;

/// More are not worth their second pass.
const MOST_SLICES: usize = 1024;

/// Turns where that many are tried.
const TURNS: usize = 2;

/// More are few workgroups, however many rows there are.
const MOST_TURNS: usize = 1 << 16;

/// Workgroup memory that a multiprocessor was found to share out among its workgroups: an H100 holds as many at a time as go
/// into this (benches/rejected.md), whatever its registers allow.
const SHARED: usize = 48 << 10;

/// What the rows of the first factor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Rows of a matrix, or pixels, whose elements lie side by side.
    Matrix,
    /// Rows whose elements lie apart, or whose sums are of several lengths.
    Other,
    /// Patches of images, of several taps.
    Patches,
}

/// The sums of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// What its rows are.
    pub rows: Rows,
    /// Rows and columns.
    pub extent: [usize; 2],
    /// Products that are added up.
    pub depth: usize,
    /// Products of this size side by side.
    pub groups: usize,
    /// Whether each sum may be cut into slices, which a second pass adds up.
    pub may_slice: bool,
    /// Whether a number is read beside each sum where it leaves.
    pub beside: bool,
}

impl fmt::Display for Tiles {
    /// `128x64x32 ahead`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n, k] = self.tile;
        write!(f, "{m}x{n}x{k}{}", if self.ahead { " ahead" } else { "" })?;
        if self.turns > 0 {
            write!(f, ", {} turns", self.turns)?;
        }
        if self.slices > 1 { write!(f, " in {} slices", self.slices) } else { Ok(()) }
    }
}

impl Tiles {
    /// The tiles for these sums, in so many slices: those that the machine was told to take, if the sums can be met so, or the
    /// fastest by the model of `kernel/tuning/cuts.rs`.
    #[must_use]
    pub fn choose(machine: &Capabilities, elem: Elem, sums: &Sums) -> Self {
        Self::choose_among(machine, elem, sums, |_| true)
    }

    /// As [`choose`](Self::choose), of those tiles that the kernel can make good use of; what the machine was told to take, it takes.
    #[must_use]
    pub fn choose_among(machine: &Capabilities, elem: Elem, sums: &Sums, good: impl Fn(&Self) -> bool) -> Self {
        let (engine, table) = engine(machine, elem);
        let told = machine.tiles.filter(|tiles| tiles.engine == engine && (tiles.turns == 0 || tiles.streams(sums)));
        let serves = |cut: &&Cut| match told {
            Some(tiles) => cut.tiles(engine, tiles.ahead).is_like(&tiles),
            None => {
                let tiles = cut.tiles(engine, false);
                tiles.fits(machine) && cut.serves(machine) && cut.takes(sums) && good(&tiles)
            }
        };
        // A processor works on few tiles at a time: what it takes are all the products, those beyond the edges among them.
        let takes = |cut: &Cut| if machine.software { (1, cut.products(sums)) } else { cut.best(sums) };
        let each = table.iter().filter(serves).map(|cut| (cut, takes(cut)));
        let best = each.min_by(|one, other| one.1.1.total_cmp(&other.1.1));
        let slices = best.map_or(1, |(_, (slices, _))| slices);
        let turns = best.map_or(told.map_or(0, |tiles| tiles.turns), |(cut, _)| cut.turns(sums));
        match told {
            Some(tiles) if tiles.slices == 0 => Self { slices, turns, ..tiles },
            Some(tiles) => tiles,
            None => {
                let smallest = table.iter().rfind(|cut| cut.turns(sums) == 0).unwrap_or(&table[0]);
                let cut = best.map_or(smallest, |(cut, _)| cut);
                Self { slices, turns, ..cut.tiles_for(engine, sums.rows) }
            }
        }
    }

    /// The same, but for how often something is done.
    fn is_like(&self, other: &Self) -> bool {
        let once = |tiles: &Self| Self { slices: 0, turns: tiles.turns.min(1), ..*tiles };
        once(self) == once(other)
    }

    /// Whether these sums can be met so, tile of rows by tile of rows.
    fn streams(&self, sums: &Sums) -> bool {
        sums.rows == Rows::Matrix && sums.depth <= self.tile[2]
    }

    /// Every way of cutting that [`choose`](Self::choose) knows for an element type on such a machine, whatever the shape, with
    /// plain arithmetic those of other machines too; and one of so many slices.
    #[must_use]
    pub fn all(machine: &Capabilities, elem: Elem) -> Vec<Self> {
        let (engine, table) = engine(machine, elem);
        let mut all: Vec<Self> = Vec::new();
        for (cut, rows) in table.iter().flat_map(|cut| [(cut, Rows::Matrix), (cut, Rows::Patches)]) {
            let tiles = cut.tiles_for(engine, rows);
            let tiles = Self { slices: 1, turns: tiles.turns * TURNS, ..tiles };
            let serves = engine == Engine::Scalar || cut.serves(machine);
            if tiles.fits(machine) && serves && !all.contains(&tiles) {
                all.push(tiles);
            }
        }
        let smallest = all
            .iter()
            .filter(|tiles| tiles.turns == 0)
            .min_by_key(|tiles| tiles.tile.iter().product::<usize>())
            .copied();
        all.extend(smallest.map(|smallest| Self { slices: SLICES, ..smallest }));
        all
    }

    /// Whether this is one of the ways that [`choose`](Self::choose) knows on such a machine, in however many slices: tiles
    /// from outside may be anything.
    #[must_use]
    pub fn is_known(&self, machine: &Capabilities) -> bool {
        let whole = Self { slices: 1, turns: self.turns.min(1) * TURNS, ..*self };
        let known = |elem| Self::all(machine, elem).contains(&whole);
        self.slices <= MOST_SLICES && self.turns <= MOST_TURNS && [Elem::F32, Elem::F16].into_iter().any(known)
    }

    /// How many slices each sum is cut into, and how deep they are: as many as the tiles say, if the grid has room and the
    /// machine binds what they leave.
    #[must_use]
    pub fn sliced(&self, machine: &Capabilities, sums: &Sums) -> [usize; 2] {
        let depth = sums.depth.max(1);
        let cut = |wanted: usize| {
            let each = depth.div_ceil(wanted.max(1)).next_multiple_of(self.tile[2]);
            [depth.div_ceil(each), each]
        };
        let own = cut(self.slices);
        let numbers = sums.extent.iter().product::<usize>().saturating_mul(sums.groups).saturating_mul(own[0]);
        let binds = numbers.saturating_mul(4) <= machine.max_binding_bytes;
        let fits = own[0].saturating_mul(sums.groups) <= MAX_GROUPS as usize;
        if binds && fits && self.turns == 0 { own } else { cut(1) }
    }

    fn fits(&self, machine: &Capabilities) -> bool {
        // Each lane loads at least one strip of a tile of rows, and lanes are whole rows of strips: of strips of 8 and of 4.
        let [rows, _, depth] = self.tile;
        let lanes = self.workgroup() as usize;
        let strips = self.turns == 0 || (rows * depth / 8 >= lanes && lanes >= depth / 4);
        strips && self.workgroup_bytes() <= machine.max_workgroup_bytes && self.workgroup() <= machine.max_workgroup
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

    /// Sums that a lane has of a tile.
    #[must_use]
    pub fn sums_a_lane(&self) -> usize {
        self.tile[0] * self.tile[1] / self.workgroup() as usize
    }

    /// Rows over which an engine tallies columns of sums (`TALLY_ROWS`).
    #[must_use]
    pub const fn tally_rows(&self) -> usize {
        match self.engine {
            _ if self.turns > 0 => self.tile[0] * self.turns,
            Engine::Scalar => self.tile[0],
            Engine::Cooperative(..) => self.tile[0] / self.share[0],
        }
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
            Engine::Cooperative(fragment, _) if self.turns > 0 => {
                let step = fragment.size();
                let tile = (m * (k + 8)).max(step * (n + 8)).max(n * (step + 8)) * 2;
                let tallies = 2 * self.workgroup() as usize * 16;
                tile + (step * (n + 4) * 4).max(tallies)
            }
            Engine::Scalar => (m + 4 + n + 4) * k * 4,
            Engine::Cooperative(..) => {
                let ways = [[true, true], [true, false], [false, true], [false, false]];
                ways.into_iter().map(|along_k| self.spilling_bytes(along_k, self.spill(along_k))).max().unwrap_or(0)
            }
        }
    }

    /// Fragments of sums that a subgroup lays into workgroup memory at a time, on their way out: two, if that leaves room for
    /// as many workgroups.
    fn spill(&self, along_k: [bool; 2]) -> usize {
        let Engine::Cooperative(fragment, _) = self.engine else { return 1 };
        let pairs = (self.tile[1] / self.share[1] / fragment.size()).is_multiple_of(2);
        let room = |spill: usize| SHARED / self.spilling_bytes(along_k, spill);
        if pairs && room(2) == room(1) { 2 } else { 1 }
    }

    fn spilling_bytes(&self, along_k: [bool; 2], spill: usize) -> usize {
        let [m, n, k] = self.tile;
        let Engine::Cooperative(fragment, _) = self.engine else { return 0 };
        let line = |along_k: bool, side: usize| if along_k { (k + 8) * side } else { (side + 8) * k };
        let width = spill * fragment.size() + 4 * (spill - 1);
        let spilled = self.share[0] * self.share[1] * fragment.size() * width * 4;
        (line(along_k[0], m) + line(along_k[1], n)) * 2 + spilled
    }

    /// Whether products of these rows, columns and depth are made of whole tiles, so that no index need be checked.
    #[must_use]
    pub fn whole(&self, extent: [usize; 3]) -> bool {
        extent.iter().zip(&self.tile).all(|(size, tile)| size.is_multiple_of(*tile))
    }

    /// The build of `lib/gemm`, or `lib/stream`, for these tiles and for products of these rows, columns and depth; `along_k`
    /// says which factors lie along k.
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
            .constant("A_ALONG_K", along_k[0].into())
            .constant("B_ALONG_K", along_k[1].into());
        if let (Engine::Cooperative(fragment, lanes), 1..) = (self.engine, self.turns) {
            let variant = variant.piece("stream").piece(fragment.piece());
            return variant.constant("SUBGROUP", lanes).constant("TURNS", word(self.turns));
        }
        let variant = variant.piece("gemm").constant("AHEAD", self.ahead.into());
        match self.engine {
            Engine::Scalar => variant.piece("tile_scalar").constant("LANE_M", share[0]).constant("LANE_N", share[1]),
            Engine::Cooperative(fragment, lanes) => variant
                .piece("tile_coop")
                .piece(fragment.piece())
                .constant("SUBGROUP", lanes)
                .constant("SUBGROUPS_M", share[0])
                .constant("SUBGROUPS_N", share[1])
                .constant("SPILL", word(self.spill(along_k))),
        }
    }

    /// One workgroup a tile of each slice, or as many tiles as it takes turns.
    #[must_use]
    pub fn grid(&self, [rows, cols]: [usize; 2], slices: usize) -> Grid {
        Grid::volume(cols.div_ceil(self.tile[1]), rows.div_ceil(self.tile[0] * self.turns.max(1)), slices)
    }
}
