//! The ways of cutting a GEMM that are known, and what each would take: a model of one large GPU.
//!
//! Measured on an H100 (benches/rejected.md), which WebGPU cannot ask about itself; what holds on another machine is found
//! there by `vistok tune`.

use super::super::{Capabilities, Elem, Fragment};
use super::gemm::{Engine, Rows, Sums, Tiles};

/// A way of cutting, and how fast it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    tile: [usize; 3],
    share: [usize; 2],
    /// Whether the next tile is fetched while this one is multiplied. Patches of several taps are not: their addresses, worked
    /// out twice at a time, cost more than waiting (by up to 14 %).
    ahead: bool,
    /// Workgroups that a multiprocessor holds at a time: what memory and registers allow.
    resident: usize,
    /// TFLOP/s where tiles are many and sums long.
    rate: f64,
    /// Microseconds that one workgroup takes for a tile of k, however alone it is.
    step: f64,
    /// Microseconds in which sums leave.
    ends: f64,
    /// Whether workgroups take tiles of rows one after the other: then `step` is for one of them, and `ends` is what begins and
    /// ends all.
    streams: bool,
}

const fn cut(tile: [usize; 3], share: [usize; 2], ahead: bool, resident: usize, [rate, step, ends]: [f64; 3]) -> Cut {
    Cut { tile, share, ahead, resident, rate, step, ends, streams: false }
}

const fn stream(tile: [usize; 3], subgroups: usize, resident: usize, [rate, step, ends]: [f64; 3]) -> Cut {
    Cut { streams: true, ..cut(tile, [1, subgroups], false, resident, [rate, step, ends]) }
}

const SCALAR: &[Cut] = &[
    cut([128, 64, 16], [8, 4], true, 2, [37.0, 0.9, 4.0]),
    cut([64, 64, 16], [4, 4], true, 4, [31.0, 0.45, 3.0]),
    cut([32, 32, 16], [4, 4], false, 8, [15.0, 0.3, 1.5]),
    cut([32, 16, 16], [4, 4], false, 16, [12.0, 0.3, 1.5]),
];
const SIXTEEN: &[Cut] = &[
    cut([128, 128, 32], [2, 2], true, 2, [250.0, 0.85, 4.0]),
    cut([64, 128, 32], [2, 2], true, 2, [200.0, 0.5, 3.0]),
    cut([128, 64, 32], [2, 2], false, 2, [190.0, 0.5, 3.0]),
    cut([64, 64, 32], [2, 2], true, 3, [166.0, 0.3, 2.5]),
    cut([64, 64, 64], [2, 2], true, 2, [140.0, 0.45, 2.5]),
    cut([32, 64, 64], [2, 2], true, 2, [80.0, 0.35, 1.5]),
    cut([32, 32, 64], [2, 2], true, 3, [70.0, 0.3, 1.5]),
    cut([32, 32, 32], [2, 2], true, 4, [60.0, 0.2, 1.5]),
    stream([32, 128, 64], 8, 3, [250.0, 1.8, 6.0]),
    stream([64, 64, 64], 4, 3, [250.0, 1.8, 6.0]),
    stream([32, 128, 128], 8, 2, [250.0, 2.2, 6.0]),
    stream([32, 64, 128], 4, 3, [250.0, 2.0, 6.0]),
    stream([32, 64, 256], 4, 2, [200.0, 3.3, 6.0]),
    stream([16, 128, 256], 8, 2, [150.0, 1.2, 6.0]),
];
/// Not measured on a GPU yet: large tiles where there are many.
const EIGHT: &[Cut] = &[
    cut([64, 64, 32], [2, 2], true, 2, [100.0, 0.4, 2.5]),
    cut([32, 32, 16], [2, 2], false, 4, [50.0, 0.2, 1.5]),
    stream([16, 32, 32], 2, 4, [50.0, 1.0, 6.0]),
];

/// What works on tiles side by side.
const MULTIPROCESSORS: usize = 132;
/// Microseconds that a pass of its own costs, and bytes that it moves in one.
const PASS: f64 = 2.5;
const BYTES: f64 = 2.5e6;
/// Rows of a tile at most on software adapters.
const SOFTWARE: usize = 32;
/// Columns of a tile that only software adapters take.
const NARROW: usize = 16;
/// Slices that are thought of first; others fill whole rounds of workgroups.
const SLICES: [usize; 5] = [1, 2, 4, 8, 16];
/// Rounds that are filled so.
const ROUNDS: usize = 4;
/// Turns for which it pays to hold columns.
const LEAST_TURNS: usize = 2;
/// How much longer sums take to leave, and a turn takes, where a number is read beside each of them.
const BESIDE: f64 = 2.7;
const BESIDE_TURN: f64 = 1.5;

/// The engine for an element type on such a machine, and its ways of cutting.
pub(super) fn engine(machine: &Capabilities, elem: Elem) -> (Engine, &'static [Cut]) {
    match (machine.fragment, machine.subgroup) {
        (Some(fragment), Some(lanes)) if elem == Elem::F16 => {
            (Engine::Cooperative(fragment, lanes), if fragment == Fragment::Sixteen { SIXTEEN } else { EIGHT })
        }
        _ => (Engine::Scalar, SCALAR),
    }
}

impl Cut {
    /// These tiles, with the next fetched ahead or not.
    pub(super) const fn tiles(&self, engine: Engine, ahead: bool) -> Tiles {
        Tiles { tile: self.tile, share: self.share, ahead, slices: 0, turns: self.streams as usize, engine }
    }

    /// The same for such rows.
    pub(super) fn tiles_for(&self, engine: Engine, rows: Rows) -> Tiles {
        self.tiles(engine, self.ahead && (engine == Engine::Scalar || rows != Rows::Patches))
    }

    /// Whether a machine would ever take it: on software adapters small tiles keep sums in registers, and large ones of fragments
    /// compile for minutes. What serves only there was not measured on a GPU.
    pub(super) fn serves(&self, machine: &Capabilities) -> bool {
        if machine.software { self.tile[0] <= SOFTWARE } else { self.tile[1] > NARROW }
    }

    /// Whether sums can be met so at all, and are not much shorter than what registers are held for.
    pub(super) fn takes(&self, sums: &Sums) -> bool {
        let [_, _, depth] = self.tile;
        !self.streams || (sums.rows == Rows::Matrix && sums.depth <= depth && 2 * sums.depth > depth)
    }

    /// Tiles of rows for each of some times as many workgroups as run at a time.
    pub(super) fn turns(&self, sums: &Sums) -> usize {
        let (tiles, across) =
            (sums.extent[0].div_ceil(self.tile[0]), sums.extent[1].div_ceil(self.tile[1]) * sums.groups);
        let workgroups = (MULTIPROCESSORS * self.resident * ROUNDS / across.max(1)).max(1);
        if self.streams { tiles.div_ceil(workgroups).max(LEAST_TURNS) } else { 0 }
    }

    /// The slices in which the sums would be done soonest, and the microseconds that they would take.
    pub(super) fn best(&self, sums: &Sums) -> (usize, f64) {
        let whole = self.micros(sums, 1);
        if !sums.may_slice || self.streams {
            return (1, whole);
        }
        let filling = (1..=ROUNDS).map(|rounds| rounds * MULTIPROCESSORS * self.resident / self.count(sums).max(1));
        let wanted = SLICES.into_iter().chain(filling).filter(|&slices| self.can(sums, slices));
        let timed = wanted.map(|slices| (slices, self.micros(sums, slices)));
        timed.fold((1, whole), |best, next| if next.1 < best.1 { next } else { best })
    }

    /// Whether a slice is deep enough to be one.
    const fn can(&self, sums: &Sums, slices: usize) -> bool {
        slices > 0 && sums.depth >= slices * self.tile[2]
    }

    fn count(&self, sums: &Sums) -> usize {
        sums.extent[0].div_ceil(self.tile[0]) * sums.extent[1].div_ceil(self.tile[1]) * sums.groups
    }

    /// Multiply-adds of whole tiles.
    pub(super) fn products(&self, sums: &Sums) -> f64 {
        let steps = sums.depth.div_ceil(self.tile[2]);
        (self.count(sums) * steps * self.tile.iter().product::<usize>()) as f64
    }

    /// Microseconds for these sums in so many slices: rounds of workgroups, each as long as its multiprocessors are busy, but
    /// never shorter than one workgroup alone.
    fn micros(&self, sums: &Sums, slices: usize) -> f64 {
        let count = self.count(sums) * slices;
        let slots = MULTIPROCESSORS * self.resident;
        let rounds = count.div_ceil(slots) as f64;
        let together = count.min(slots).div_ceil(MULTIPROCESSORS) as f64;
        let steps = sums.depth.div_ceil(slices).div_ceil(self.tile[2]) as f64;
        let flops = 2.0 * self.tile.iter().product::<usize>() as f64;
        if self.streams {
            let busy = self.resident as f64 * flops * MULTIPROCESSORS as f64 / (self.rate * 1e6);
            let step = self.step * if sums.beside { BESIDE_TURN } else { 1.0 };
            return self.ends + count.div_ceil(slots) as f64 * busy.max(step);
        }
        let step = (together * flops * MULTIPROCESSORS as f64 / (self.rate * 1e6)).max(self.step);
        let added = if slices > 1 {
            let numbers = slices * sums.extent[0] * sums.extent[1] * sums.groups;
            PASS + numbers as f64 * 8.0 / BYTES
        } else {
            0.0
        };
        let ends = self.ends * if sums.beside { BESIDE } else { 1.0 };
        rounds * (steps * step + ends) + added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(machine: &Capabilities, sums: &Sums) -> ([usize; 3], usize) {
        let tiles = Tiles::choose(machine, Elem::F16, sums);
        (tiles.tile, tiles.slices)
    }

    /// As many columns as there are, where a processor would take all that a tile has; a GPU never those that were not measured there.
    #[test]
    fn processors_take_tiles_that_are_filled() {
        let processor = Capabilities { software: true, ..Capabilities::portable() };
        let sums = |columns| {
            let extent = [5_760, columns];
            Sums { rows: Rows::Patches, extent, depth: 144, groups: 1, may_slice: true, beside: false }
        };
        let tile = |machine: &Capabilities, columns| Tiles::choose(machine, Elem::F32, &sums(columns)).tile;
        assert_eq!([8, 16, 32, 48, 64].map(|columns| tile(&processor, columns)[1]), [16, 16, 32, 16, 32]);
        assert_eq!(Tiles::choose(&processor, Elem::F32, &sums(16)).slices, 1);
        assert!([8, 16, 48].iter().all(|&columns| tile(&Capabilities::portable(), columns)[1] > 16));
    }

    /// What an H100 was measured to do best (benches/rejected.md), or within 3 % of it.
    #[test]
    fn the_model_chooses_what_was_measured() {
        let machine = Capabilities::cooperative();
        let sums =
            |extent, depth| Sums { rows: Rows::Matrix, extent, depth, groups: 1, may_slice: true, beside: false };
        assert_eq!(best(&machine, &sums([4096, 4096], 4096)), ([128, 128, 32], 1));
        assert_eq!(best(&machine, &sums([12_544, 256], 2304)), ([128, 128, 32], 1));
        assert_eq!(best(&machine, &sums([50_176, 128], 512)), ([64, 128, 32], 1));
        assert_eq!(best(&machine, &sums([3_136, 512], 2048)).0, [64, 64, 32]);
        // A weight's gradient: few sums, very long.
        let (tile, slices) = best(&machine, &sums([256, 1024], 12_544));
        assert!(tile[0] * tile[1] >= 64 * 128 && (6..=12).contains(&slices), "{tile:?} in {slices}");
        // One image: what takes long are steps one after the other.
        assert!(best(&machine, &sums([49, 512], 4608)).1 >= 8);
    }
}
