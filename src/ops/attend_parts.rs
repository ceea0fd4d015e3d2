//! Sums of attention that workgroups share: where their parts stand, and how they are joined.

use super::attend_tiles::{Sizes, Split};
use crate::graph::Io;
use crate::kernel::{Grid, Recording, Variant, View, tuning, word};

kernel! {
    /// Joins the parts of [`SoftmaxPool`].
    struct Join = "attend/join" {
        params { batch: u32, queries: u32, heads: u32, width: u32, parts: u32 }
        read { part_y, part_log_sum }
        write { y, log_sum }
    }
}

kernel! {
    /// One lane an element of y.
    struct AddParts = "attend/add_parts" {
        params { count: u32, parts: u32, first: u32, second: u32 }
        read { parts_of_y, more_parts }
        write { y }
    }
}

/// Where what a part of the keys gives is written: where it ends, or elsewhere, to be joined.
pub(super) struct Parts {
    pub y: View,
    pub log_sum: View,
    count: usize,
}

impl Parts {
    pub(super) fn of(io: &Io<'_>, split: Split, out: &mut Recording) -> Self {
        let count = split.parts;
        let [y, log_sum] = [0, 1].map(|at| match count {
            1 => io.output(at),
            _ => out.scratch(count * io.outputs[at].shape.count()),
        });
        Self { y, log_sum, count }
    }

    pub(super) fn piece(&self) -> &'static str {
        if self.count == 1 { "part_elem" } else { "part_f32" }
    }

    pub(super) fn join(self, io: &Io<'_>, sizes: Sizes, out: &mut Recording) {
        if self.count == 1 {
            return;
        }
        let join = Join {
            batch: word(sizes.batch),
            queries: word(sizes.queries),
            heads: word(sizes.heads),
            width: word(sizes.width),
            parts: word(self.count),
            part_y: self.y,
            part_log_sum: self.log_sum,
            y: io.output(0),
            log_sum: io.output(1),
        };
        let lanes = tuning::lanes(io.machine);
        let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes);
        out.dispatch(&join, variant, Grid::over(io.outputs[0].shape.count(), lanes as usize));
    }
}

/// Memory for the parts of an output.
pub(super) fn parts(io: &Io<'_>, output: usize, parts: usize, out: &mut Recording) -> View {
    out.scratch(parts * io.outputs[output].shape.count())
}

/// Adds the parts of an output; of two lots of them where the two differ. A lot is a memory and where in it it begins.
pub(super) fn add_parts(io: &Io<'_>, output: usize, lots: [(View, usize); 2], parts: usize, out: &mut Recording) {
    let count = io.outputs[output].shape.count();
    let lanes = tuning::lanes(io.machine);
    let [(parts_of_y, first), (more_parts, second)] = lots;
    let call = AddParts {
        count: word(count),
        parts: word(parts),
        first: word(first),
        second: word(second),
        parts_of_y,
        more_parts,
        y: io.output(output),
    };
    let two = u32::from(lots[0] != lots[1]);
    let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes).constant("TWO", two);
    out.dispatch(&call, variant, Grid::over(count, lanes as usize));
}

/// Where the gradients of keys and values are written: what is summed in parts, or of keys that are the values too,
/// elsewhere than where they end.
pub(super) struct KeyGradients {
    pub dk: View,
    pub dv: View,
    parts: usize,
    /// Whether the keys are the values.
    alike: bool,
}

impl KeyGradients {
    pub(super) fn of(io: &Io<'_>, count: usize, out: &mut Recording) -> Self {
        let alike = io.outputs.len() == 2;
        let [dk, dv] = match (alike, count) {
            (false, 1) => [1, 2].map(|at| io.output(at)),
            (false, _) => [1, 2].map(|at| parts(io, at, count, out)),
            (true, _) => [1, 1].map(|at| parts(io, at, count, out)),
        };
        Self { dk, dv, parts: count, alike }
    }

    /// What the kernel writes.
    pub(super) fn piece(&self) -> &'static str {
        if self.alike || self.parts > 1 { "part_f32" } else { "part_elem" }
    }

    /// Adds what has to be added.
    pub(super) fn join(self, io: &Io<'_>, out: &mut Recording) {
        let Self { dk, dv, parts, alike } = self;
        if alike {
            add_parts(io, 1, [(dk, 0), (dv, 0)], parts, out);
        } else if parts > 1 {
            add_parts(io, 1, [(dk, 0); 2], parts, out);
            add_parts(io, 2, [(dv, 0); 2], parts, out);
        }
    }
}
