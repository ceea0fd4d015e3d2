//! How pixels with windows around them are shared out among lanes (`shaders/lib/relation.wgsl`): each takes a run of neighbors.
//!
//! Not measured on a GPU yet: what a lane loads and computes was counted.

use super::super::{Capabilities, Elem, Variant, word};
use super::lanes;

/// Pixels that a lane takes, where it may take several: what it loads of one column then serves as many windows.
const PIXELS: [usize; 2] = [4, 2];
/// Numbers that a lane sums up at most where it takes several pixels: more would leave registers for few lanes.
const HELD: usize = 32;
/// Columns that a run looks at, at most: a bit each.
const COLUMNS: usize = 32;
/// Lanes that keep a large GPU busy: of several pixels each only where there are so many.
const BUSY_LANES: usize = 1 << 17;
/// Rows of a band at most: a workgroup of 256 lanes has runs of four pixels for so many rows of 16 pixels of 8 groups.
const BAND: usize = 8;
/// Groups that neighboring lanes take at least, where there are so many: their strips of 16 bytes are what memory hands out at once.
const NEIGHBORS: usize = 8;

/// Lines of pixels, each of one row and one group of channels.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// How many lines.
    pub count: usize,
    /// Pixels of a line.
    pub length: usize,
    /// Rows of an image.
    pub height: usize,
    /// Channels of a group.
    pub channels: usize,
    /// Columns of a window.
    pub window: usize,
    /// Columns from one pixel's window to the next one's.
    pub step: usize,
}

/// How a group's channels are loaded: strips of 16 bytes where they divide into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupStrips {
    /// The piece of WGSL that says what a strip is.
    pub piece: &'static str,
    /// How many.
    pub count: usize,
}

impl GroupStrips {
    /// For so many channels of this type.
    #[must_use]
    pub fn of(elem: Elem, channels: usize) -> Self {
        let (piece, width) = match channels {
            _ if channels.is_multiple_of(8) && elem == Elem::F16 => ("channels_8", 8),
            _ if channels.is_multiple_of(4) => ("channels_4", 4),
            _ => ("channels_1", 1),
        };
        Self { piece, count: channels / width }
    }

    /// The build.
    #[must_use]
    pub fn build(self, elem: Elem) -> Variant {
        Variant::of(elem).piece(self.piece).constant("STRIPS", word(self.count))
    }
}

/// Runs of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Pixels of a run (`PIXELS`).
    pub pixels: usize,
    /// Rows whose runs stand one below the other (`BAND`): they divide an image's.
    pub band: usize,
    /// How many runs, over all lines.
    pub count: usize,
}

impl Runs {
    /// For these lines.
    #[must_use]
    pub fn of(machine: &Capabilities, lines: &Lines) -> Self {
        let runs = |pixels: usize| lines.count * lines.length.div_ceil(pixels);
        let may = |pixels: usize| {
            pixels / 2 < lines.length
                && pixels * lines.channels <= HELD
                && (pixels - 1) * lines.step + lines.window <= COLUMNS
                && (machine.software || runs(pixels) >= BUSY_LANES)
        };
        let pixels = PIXELS.into_iter().find(|&pixels| may(pixels)).unwrap_or(1);
        let band = (1..=BAND).rev().find(|&band| lines.height.is_multiple_of(band)).unwrap_or(1);
        Self { pixels, band, count: runs(pixels) }
    }

    /// The build.
    #[must_use]
    pub fn build(&self, variant: Variant) -> Variant {
        variant.constant("PIXELS", word(self.pixels)).constant("BAND", word(self.band))
    }
}

/// Runs that workgroups take to add up what all pixels have of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Teams {
    /// Lanes of a workgroup (`WORKGROUP`).
    pub lanes: u32,
    /// Groups of channels side by side (`GROUPS_AT_ONCE`).
    pub groups: usize,
    /// Workgroups side by side over the groups.
    pub across: usize,
    /// Blocks of runs: each gives one sum a tap and group.
    pub blocks: usize,
}

impl Teams {
    /// So many runs of each of so many groups, `window` taps a row: as few workgroups as may be.
    #[must_use]
    pub fn of(machine: &Capabilities, [runs, groups, window]: [usize; 3]) -> Self {
        let mut most = lanes(machine) as usize;
        // A number a tap and lane, each tap's a few numbers apart from the last one's, and a number a lane.
        while most > window && (window + 2) * most * 4 > machine.max_workgroup_bytes {
            most /= 2;
        }
        let widest = (most / window).clamp(1, groups);
        let cut = |at_once: usize| (groups.div_ceil(at_once), runs.div_ceil(most / at_once));
        let workgroups = |at_once: usize| {
            let (across, blocks) = cut(at_once);
            across * blocks
        };
        let narrowest = NEIGHBORS.min(widest);
        // Of equals the widest.
        let at_once = (narrowest..=widest).rev().min_by_key(|&at_once| workgroups(at_once)).unwrap_or(1);
        let (across, blocks) = cut(at_once);
        Self { lanes: word(most), groups: at_once, across, blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_long_where_lanes_are_many_and_registers_suffice() {
        let lines = Lines { count: 64 * 56 * 8, length: 56, height: 56, channels: 8, window: 7, step: 1 };
        let pixels = |machine: &Capabilities, lines| Runs::of(machine, &lines).pixels;
        let gpu = Capabilities::portable();
        let software = Capabilities { software: true, ..Capabilities::portable() };
        assert_eq!(Runs::of(&gpu, &lines), Runs { pixels: 4, band: 8, count: 64 * 56 * 8 * 14 });
        assert_eq!(pixels(&gpu, Lines { channels: 16, ..lines }), 2);
        assert_eq!(pixels(&gpu, Lines { channels: 64, ..lines }), 1);
        assert_eq!(pixels(&gpu, Lines { count: 64 * 7 * 100, length: 7, ..lines }), 2);
        assert_eq!(pixels(&gpu, Lines { count: 8, ..lines }), 1);
        assert_eq!([1, 2, 3, 4].map(|length| pixels(&software, Lines { count: 8, length, ..lines })), [1, 2, 4, 4]);
        assert_eq!([29, 30, 31].map(|window| pixels(&gpu, Lines { window, ..lines })), [4, 2, 2]);
        assert_eq!([56, 14, 11].map(|height| Runs::of(&gpu, &Lines { height, ..lines }).band), [8, 7, 1]);
    }

    #[test]
    fn teams_cover_every_run_and_obey_the_limits() {
        let software = Capabilities { software: true, ..Capabilities::portable() };
        for machine in [Capabilities::portable(), software] {
            for (runs, groups) in [(1, 1), (7, 3), (50_176, 8), (50_176, 13), (12_544, 25), (896, 100)] {
                for window in [1, 3, 7, 15, 31] {
                    let Teams { lanes, groups: at_once, across, blocks } = Teams::of(&machine, [runs, groups, window]);
                    let each = lanes as usize / at_once;
                    assert!(across * at_once >= groups && blocks * each >= runs, "{runs} {groups} {window}");
                    assert!(window * at_once <= lanes as usize, "a lane has one sum at most");
                    let bytes = 4 * (window * (lanes as usize + at_once) + lanes as usize);
                    assert!(bytes <= machine.max_workgroup_bytes, "{bytes} bytes of {window} taps");
                }
            }
        }
        let wide = |groups| Teams::of(&Capabilities::portable(), [50_176, groups, 7]).groups;
        assert_eq!([3, 8, 13, 25, 50, 100].map(wide), [3, 8, 13, 25, 25, 25]);
    }
}
