//! Capabilities and sizes → tiles. Every heuristic about speed stands here and nowhere else.

mod choices;
mod cuts;
pub mod gemm;
mod runs;

pub use choices::Choices;
pub use runs::{GroupStrips, Lines, Runs, Teams};

use super::{Capabilities, Elem, Grid, Variant, word};

/// Lanes of a workgroup for kernels that walk over elements, and for those that reduce a row.
///
/// Software adapters run lanes one after another, so more of them only cost barriers.
#[must_use]
pub fn lanes(capabilities: &Capabilities) -> u32 {
    if capabilities.software { 64 } else { capabilities.max_workgroup.min(256) }
}

/// How many elements a lane loads and stores at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    One,
    /// Two, side by side.
    Two,
    /// Four, side by side.
    Four,
}

impl Width {
    /// How many.
    #[must_use]
    pub const fn elements(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// The piece of WGSL that makes `elems` and `floats` this wide.
    #[must_use]
    pub const fn piece(self) -> &'static str {
        match self {
            Self::One => "width_1",
            Self::Two => "width_2",
            Self::Four => "width_4",
        }
    }
}

/// The widest loads that `columns` elements (the last axis, or a whole tensor) divide into.
#[must_use]
pub const fn width(columns: usize) -> Width {
    if columns.is_multiple_of(4) { Width::Four } else { Width::One }
}

/// As [`width`], for kernels that know pairs: 54 classes have no fours.
#[must_use]
pub const fn width_of_pairs(columns: usize) -> Width {
    match width(columns) {
        Width::One if columns.is_multiple_of(2) => Width::Two,
        width => width,
    }
}

/// How a tensor is shared out among lanes that take each element by itself (`shaders/lib/flat.wgsl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Its strips: what a lane works on at once.
    pub strips: u32,
    /// The build.
    pub variant: Variant,
    /// The grid.
    pub grid: Grid,
}

impl Flat {
    /// For so many elements of this type.
    #[must_use]
    pub fn of(capabilities: &Capabilities, elem: Elem, count: usize) -> Self {
        Self::of_rows(capabilities, elem, 1, count)
    }

    /// For so many rows of so many elements each, none of whose strips reaches into the next row.
    #[must_use]
    pub fn of_rows(capabilities: &Capabilities, elem: Elem, rows: usize, elements: usize) -> Self {
        let (lanes, width) = (lanes(capabilities), width(elements));
        let strips = rows * elements / width.elements();
        let busy = if capabilities.software { BUSY_SOFTWARE } else { BUSY };
        let at_once = if strips < lanes as usize * AT_ONCE * busy { 1 } else { AT_ONCE };
        let variant = Variant::of(elem).piece(width.piece()).constant("WORKGROUP", lanes);
        Self {
            strips: word(strips),
            variant: variant.constant("AT_ONCE", word(at_once)),
            grid: Grid::over(strips, lanes as usize * at_once),
        }
    }
}

/// Loads that a lane has under way at a time, where there is enough work for all lanes.
const AT_ONCE: usize = 4;

/// How rows are shared out among lanes that work on each row together (`shaders/lib/rows.wgsl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// What a lane works on at once, counted along a row.
    pub columns: u32,
    /// The build.
    pub variant: Variant,
    /// The grid.
    pub grid: Grid,
}

/// Strips of a row that a lane holds at most: what it loads before it works on any.
const HELD: usize = 4;

impl Rows {
    /// So many rows of so many elements of this type.
    #[must_use]
    pub fn of(capabilities: &Capabilities, elem: Elem, rows: usize, elements: usize) -> Self {
        let (lanes, width) = (lanes(capabilities), width(elements));
        let columns = elements / width.elements();
        let row_lanes = columns.div_ceil(HELD).next_power_of_two().min(lanes as usize);
        let held = columns.div_ceil(row_lanes).min(HELD);
        let variant = Variant::of(elem).piece(width.piece()).constant("WORKGROUP", lanes);
        let variant = variant.constant("ROW_LANES", word(row_lanes)).constant("HELD", word(held));
        Self {
            columns: word(columns),
            variant: variant.constant("WHOLE", (columns <= held * row_lanes).into()),
            grid: Grid::over(rows, lanes as usize / row_lanes),
        }
    }
}

/// How a matrix is shared out among workgroups whose lanes lie side by side over columns and walk down rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strips {
    /// Lanes of a workgroup (`WORKGROUP`).
    pub lanes: u32,
    /// How many of them lie side by side (`STRIP`): a power of two that divides `lanes`.
    pub strip: u32,
    /// Workgroups side by side over the columns.
    pub across: usize,
    /// Blocks of rows, one a workgroup.
    pub blocks: usize,
    /// Rows of a block; the last may have fewer.
    pub rows_each: usize,
}

/// Lanes side by side where the matrix has as many columns: 32 read 128 consecutive bytes of f32.
const STRIP: usize = 32;
/// Lanes side by side where partial results are merged: few, so that many lanes share the wait for memory.
const MERGING_STRIP: usize = 8;
/// Rows that a lane walks down at least, where there are as many: its own set-up is paid once.
const ROWS_A_LANE: usize = 8;
/// Blocks that partial results come from at most: they are merged by few workgroups.
const MAX_BLOCKS: usize = 512;
/// Workgroups that keep a large GPU busy, and a CPU.
const BUSY: usize = 1024;
const BUSY_SOFTWARE: usize = 16;

impl Strips {
    /// A matrix read once; `columns` counts what a lane works on at once ([`Width`]).
    #[must_use]
    pub fn of(capabilities: &Capabilities, rows: usize, columns: usize) -> Self {
        Self::of_each(capabilities, 1, rows, columns)
    }

    /// Each of so many matrices, which keep the machine busy together.
    #[must_use]
    pub fn of_each(capabilities: &Capabilities, matrices: usize, rows: usize, columns: usize) -> Self {
        let busy = if capabilities.software { BUSY_SOFTWARE } else { BUSY };
        Self::cut(lanes(capabilities), rows, columns, STRIP, busy.div_ceil(matrices.max(1)))
    }

    /// A matrix whose rows one workgroup takes all; many such matrices keep the machine busy.
    #[must_use]
    pub fn whole(capabilities: &Capabilities, rows: usize, columns: usize) -> Self {
        Self::cut(lanes(capabilities), rows, columns, STRIP, 1)
    }

    /// The build of a kernel on `shaders/lib/strip.wgsl` that is cut like this.
    #[must_use]
    pub fn build(&self, variant: Variant) -> Variant {
        let deep = self.rows_each >= AT_ONCE * (self.lanes / self.strip) as usize;
        let variant = variant.constant("WORKGROUP", self.lanes).constant("STRIP", self.strip);
        variant.constant("AT_ONCE", if deep { word(AT_ONCE) } else { 1 })
    }

    /// Partial results, a row a block: every column's are merged by one workgroup.
    #[must_use]
    pub fn merging(capabilities: &Capabilities, blocks: usize, columns: usize) -> Self {
        Self::cut(lanes(capabilities), blocks, columns, MERGING_STRIP, 1)
    }

    fn cut(lanes: u32, rows: usize, columns: usize, strip: usize, busy: usize) -> Self {
        let most = lanes as usize;
        // Lanes without a row of their own lie idle: they lie side by side instead.
        let idle = most / rows.next_power_of_two().min(most);
        let strip = columns.next_power_of_two().min(strip.max(idle)).min(most);
        let across = columns.div_ceil(strip);
        let useful = rows.div_ceil(most / strip * ROWS_A_LANE);
        let blocks = (busy / across).clamp(1, MAX_BLOCKS).min(useful);
        let rows_each = rows.div_ceil(blocks);
        Self { lanes, strip: strip as u32, across, blocks: rows.div_ceil(rows_each), rows_each }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_cover_every_element_once_and_obey_the_limits() {
        let software = Capabilities { software: true, ..Capabilities::portable() };
        for machine in [Capabilities::portable(), software] {
            for rows in [1, 2, 31, 257, 3_136, 802_816] {
                for columns in [1, 3, 16, 33, 512, 65_537] {
                    for strips in [Strips::of(&machine, rows, columns), Strips::merging(&machine, rows, columns)] {
                        let Strips { lanes, strip, across, blocks, rows_each } = strips;
                        assert!(strip.is_power_of_two() && lanes.is_multiple_of(strip), "{strips:?}");
                        assert!(across * strip as usize >= columns && (across - 1) * (strip as usize) < columns);
                        assert!(blocks * rows_each >= rows && (blocks - 1) * rows_each < rows, "{strips:?}");
                        assert!(across <= 65_535 && blocks <= 65_535, "{strips:?}");
                    }
                    assert_eq!(Strips::merging(&machine, rows, columns).blocks, 1);
                }
            }
        }
    }
}
