//! How often rows (images, pixels) of each label were taken for each class: what accuracy and intersection over union are made of.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::argmax::place;
use super::cross_entropy::{IGNORE, check, dims, rows_and_classes};
use super::cross_entropy_mean::is_ignored;
use crate::graph::{Case, Draw, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::Rows;
use crate::kernel::{Elem, Grid, Recording, word};
use crate::reference::{Array, Real};

/// logits [.., K], labels `u32 [..]`, counts `u32 [K, K]` → counts' `u32 [K, K]`, updated in place.
///
/// Of every row that counts, counts\[label, k\] grows by 1, where k is the class of its largest logit, of equal ones the first; NaN
/// and what is below −3e38 are as small as that. Labels of K or more count nowhere, nor does the one to be ignored. A number of counts
/// must stay below 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// The label of rows that do not count.
    pub ignore: Option<u32>,
}

kernel! {
    /// Workgroups take rows by turns.
    struct AddCounts = "confusion_matrix/add" {
        params { rows: u32, columns: u32, classes: u32, ignored: u32 }
        read { logits, labels }
        write { counts }
    }
}

/// Workgroups at most: enough to keep a large GPU busy, or a CPU, and each counts for many rows before it adds to what all count.
const MOST: usize = 1024;
const MOST_SOFTWARE: usize = 16;
/// Bytes of workgroup memory that the kernel takes besides its own counts.
const OTHERS: usize = 1024;

impl Op for ConfusionMatrix {
    fn name(&self) -> &'static str {
        "confusion_matrix"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [logits, labels, counts] = inputs else {
            return Err(format!("takes logits, labels and counts, not {} inputs", inputs.len()));
        };
        check(logits, labels)?;
        let classes = logits.shape.last().copied().unwrap_or(1);
        let wants = Tensor::new([classes, classes], Elem::U32);
        match *counts == wants {
            true => Ok(vec![wants]),
            false => Err(format!("counts must be {wants}, of the classes of logits, and are {counts}")),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let Rows { columns, variant, grid: Grid([x, y, z]) } = Rows::of(io.machine, io.elem(0), rows, classes);
        let local = classes * classes * 4 + OTHERS <= io.machine.max_workgroup_bytes;
        let most = if io.machine.software { MOST_SOFTWARE } else { MOST };
        let workgroups = (x as usize).saturating_mul(y as usize).saturating_mul(z as usize).min(most);
        out.dispatch(
            &AddCounts {
                rows: word(rows),
                columns,
                classes: word(classes),
                ignored: self.ignore.unwrap_or_default(),
                logits: io.input(0),
                labels: io.input(1),
                counts: io.output(0),
            },
            variant
                .constant("LOCAL", local.into())
                .constant("CELLS", if local { word(classes * classes) } else { 1 })
                .constant("IGNORES", self.ignore.is_some().into()),
            Grid::of(workgroups),
        );
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(2, 0)]
    }
}

impl Maths for ConfusionMatrix {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = dims(inputs[0]);
        let mut counts = inputs[2].clone();
        for row in 0..rows {
            let label = inputs[1].data[row].index();
            if label >= classes || is_ignored(label, self.ignore) {
                continue;
            }
            counts.data[label * classes + place(&inputs[0].data[row * classes..][..classes])] += T::of(1.0);
        }
        vec![counts]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<ConfusionMatrix>(
        "confusion_matrix",
        "counts'[label, k] = counts[label, k] + the rows of this label whose largest logit is that of class k, of equals the first",
        &[IGNORE],
        [&[("logits", "T [.., K]"), ("labels", "u32 [..]"), ("counts", "u32 [K, K]")], &[("counts'", "u32 [K, K]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |rows: &[usize], classes: usize, ignore| {
        let shapes = [&[rows, &[classes]].concat(), rows, &[classes, classes]];
        Case::new(ConfusionMatrix { ignore }, &shapes).labels(1, classes).labels(2, 1000).no_gradient()
    };
    let mut cases = vec![
        case(&[1], 1, None),
        case(&[257], 3, None),
        case(&[2, 5, 31], 11, Some(4)),
        case(&[33], 54, None),
        // Too many classes for a workgroup to count by itself; a row longer than its lanes hold at once.
        case(&[31], 130, Some(7)),
        case(&[5], 1_030, None),
        // Workgroups take turns.
        case(&[2_500], 3, None),
    ];
    // Labels that are no class; equal logits; NaN and infinities.
    cases.push(case(&[63], 3, Some(4)).labels(1, 6));
    cases.push(case(&[300], 130, None).labels(1, 132));
    cases.extend([7, 12, 20].map(|classes| case(&[3, 41], classes, None).draw(0, Draw::Labels(3))));
    cases.extend([6, 20].map(|classes| case(&[129], classes, None).draw(0, Draw::Extreme)));
    cases.extend([5, 8].map(|classes| case(&[17], classes, None).draw(0, Draw::Between(-2e39, -1e39))));
    cases.push(case(&[4, 800, 1216], 54, Some(255)).real("semantic fpn evaluation"));
    cases
}
