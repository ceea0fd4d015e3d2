//! Calls of kernels, written down and not run.

use super::{Interface, Kernel, Variant, View};

/// WebGPU's limit on workgroups along one dimension of a dispatch.
pub(crate) const MAX_GROUPS: u32 = 65_535;

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid(pub [u32; 3]);

impl Grid {
    /// `groups` workgroups in a row, folded into two dimensions where WebGPU's limit asks for it.
    ///
    /// A kernel finds its number with `folded(group, groups)` of `shaders/lib/index.wgsl`, and must ignore numbers
    /// past the end: folding rounds up.
    #[must_use]
    pub fn of(groups: usize) -> Self {
        let groups = word(groups.max(1));
        if groups <= MAX_GROUPS {
            return Self([groups, 1, 1]);
        }
        let rows = groups.div_ceil(MAX_GROUPS);
        Self([groups.div_ceil(rows), rows, 1])
    }

    /// One workgroup for each `each` of `count` items, folded as [`Grid::of`] does.
    #[must_use]
    pub fn over(count: usize, each: usize) -> Self {
        Self::of(count.div_ceil(each))
    }

    /// Three dimensions, none folded.
    #[must_use]
    pub fn volume(x: usize, y: usize, z: usize) -> Self {
        Self([word(x), word(y), word(z)])
    }
}

/// A size as a kernel's parameter. One that would not fit saturates; what plans record binds fewer bytes, since
/// no machine's `max_binding_bytes` is over 2^32.
#[must_use]
pub fn word(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// One call of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Which kernel.
    pub kernel: &'static Interface,
    /// Which build of it.
    pub variant: Variant,
    /// The words of `Params`.
    pub params: Vec<u32>,
    /// What each storage binding points to.
    pub views: Vec<View>,
    /// How many workgroups.
    pub grid: Grid,
}

/// The calls that compute one op, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The calls.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of each scratch memory.
    pub scratch: Vec<usize>,
}

impl Recording {
    /// Adds a call.
    pub fn dispatch<K: Kernel>(&mut self, call: &K, variant: Variant, grid: Grid) {
        self.dispatches.push(Dispatch {
            kernel: K::interface(),
            variant,
            params: call.params(),
            views: call.views(),
            grid,
        });
    }

    /// Memory for `count` f32 numbers that lives as long as the op runs. Its content is undefined at first.
    pub fn scratch(&mut self, count: usize) -> View {
        self.scratch.push(count.max(1) * 4);
        View::Scratch(self.scratch.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Grid;

    #[test]
    fn folding_covers_every_group_and_obeys_the_limit() {
        for groups in [1usize, 2, 65_535, 65_536, 65_537, 200_000, 10_000_001] {
            let Grid([x, y, z]) = Grid::of(groups);
            assert!(x as usize * y as usize >= groups && x <= 65_535 && y <= 65_535 && z == 1, "{groups}");
        }
    }
}
