//! The rows of a cross entropy that count, and the mean over them.

use super::cross_entropy::rows_and_classes;
use crate::graph::Io;
use crate::kernel::{Grid, Recording, Variant, View, tuning, word};
use crate::reference::{Array, Real};

kernel! {
    /// Workgroups take numbers by turns.
    struct Mean = "cross_entropy/mean" {
        params { count: u32, rows: u32 }
        read { losses, counted }
        write { sums }
    }
}

kernel! {
    /// Workgroups take numbers by turns.
    struct Count = "cross_entropy/count" {
        params { count: u32, ignored: u32 }
        read { numbers }
        write { counted }
    }
}

/// Numbers that a workgroup sums at least, where several do.
const EACH: usize = 1 << 12;
/// Workgroups at most: one sums up what they leave.
const MOST: usize = 256;

/// How many workgroups go over so many numbers, before one sums up what they leave; 1 if that is all.
fn workgroups(count: usize) -> usize {
    (count / EACH).clamp(1, MOST)
}

/// How many rows count.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    /// A number, where some labels are ignored.
    number: Option<View>,
}

impl Counted {
    /// The calls that count, if any row may be ignored.
    pub(super) fn record(io: &Io<'_>, ignore: Option<u32>, labels: View, out: &mut Recording) -> Self {
        let Some(ignored) = ignore else { return Self { number: None } };
        let [rows, _] = rows_and_classes(io);
        let lanes = tuning::lanes(io.machine);
        let mut call = |numbers, count, groups, first: bool| {
            let counted = out.scratch(groups);
            out.dispatch(
                &Count { count: word(count), ignored, numbers, counted },
                Variant::default().constant("WORKGROUP", lanes).constant("FIRST", first.into()),
                Grid::of(groups),
            );
            counted
        };
        let groups = workgroups(rows);
        let parts = call(labels, rows, groups, true);
        Self { number: Some(if groups > 1 { call(parts, groups, 1, false) } else { parts }) }
    }

    /// The number, or something that stands in its place unread.
    pub(super) fn or(self, other: View) -> View {
        self.number.unwrap_or(other)
    }

    /// The build of a kernel that knows whether rows may be ignored.
    pub(super) fn build(self, variant: Variant) -> Variant {
        variant.constant("IGNORES", self.number.is_some().into())
    }

    /// The calls that make the mean of the losses of rows.
    pub(super) fn mean(self, io: &Io<'_>, row_loss: View, loss: View, out: &mut Recording) {
        let [rows, _] = rows_and_classes(io);
        let groups = workgroups(rows);
        let parts = if groups > 1 { Some(out.scratch(groups)) } else { None };
        let mut call = |losses, count, (sums, groups), last: bool| {
            let variant = self.build(Variant::default()).constant("LAST", last.into());
            out.dispatch(
                &Mean { count: word(count), rows: word(rows), losses, counted: self.or(losses), sums },
                variant.constant("WORKGROUP", tuning::lanes(io.machine)),
                Grid::of(groups),
            );
        };
        match parts {
            None => call(row_loss, rows, (loss, 1), true),
            Some(parts) => {
                call(row_loss, rows, (parts, groups), false);
                call(parts, groups, (loss, 1), true);
            }
        }
    }
}

/// Whether rows of this label do not count.
pub(super) fn is_ignored(label: usize, ignore: Option<u32>) -> bool {
    ignore.is_some_and(|ignore| label == ignore as usize)
}

/// How many rows count, and 1 if none does: what their sums are divided by.
pub(super) fn counted<T: Real>(labels: &Array<T>, ignore: Option<u32>) -> T {
    T::count(labels.data.iter().filter(|label| !is_ignored(label.index(), ignore)).count().max(1))
}
