//! Which class a row (an image, a pixel) is taken for.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::cross_entropy::{dims, labels_of, rows_and_classes};
use crate::graph::{ByImage, Case, Draw, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Rows;
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// logits [.., K] → class `u32 [..]`: the place of each row's largest logit, of equal ones the first. NaN and what is below −3e38 are
/// as small as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argmax;

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Forward = "argmax/forward" {
        params { rows: u32, columns: u32, classes: u32 }
        read { logits }
        write { class_of }
    }
}

/// What nothing counts as smaller than.
const LOWEST: f64 = -3.0e38;

/// The place of the largest.
pub(super) fn place<T: Real>(logits: &[T]) -> usize {
    let logits = logits.iter().map(|x| if x.to_f64() > LOWEST { x.to_f64() } else { LOWEST });
    let best = logits.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(class, _)| class)
}

impl Op for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [logits] = inputs else { return Err(format!("takes logits, not {} inputs", inputs.len())) };
        Ok(vec![labels_of(logits)?])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        super::by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, classes);
        let (rows, classes) = (word(rows), word(classes));
        out.dispatch(&Forward { rows, columns, classes, logits: io.input(0), class_of: io.output(0) }, variant, grid);
    }

    fn backward(&self, _: &Node, _: &[Option<Value>], _: &mut Graph) -> Gradients {
        let why = "places are whole numbers, and do not move when logits move a little";
        Err(GraphError::NoGradient { op: self.name().to_owned(), why })
    }
}

impl Maths for Argmax {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = dims(inputs[0]);
        let data = (0..rows).map(|row| T::count(place(&inputs[0].data[row * classes..][..classes]))).collect();
        vec![Array { shape: inputs[0].shape[..inputs[0].shape.len() - 1].to_vec(), data }]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Argmax>(
        "argmax",
        "class = the place of each row's largest logit, of equals the first",
        &[],
        [&[("logits", "T [.., K]")], &[("class", "u32 [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| Case::new(Argmax, &[shape]).no_gradient();
    let mut cases: Vec<Case> =
        [&[1, 1][..], &[257, 3], &[2, 5, 31, 11], &[33, 54], &[5, 1_030], &[3, 7, 20], &[2, 4_100]].map(case).into();
    // Equal ones; NaN and infinities; none that is larger than nothing.
    cases.extend([&[3, 41, 7][..], &[41, 12], &[41, 20]].map(|shape| case(shape).draw(0, Draw::Labels(3))));
    cases.extend([&[129, 6][..], &[129, 20]].map(|shape| case(shape).draw(0, Draw::Extreme)));
    cases.extend([&[17, 5][..], &[17, 8]].map(|shape| case(shape).draw(0, Draw::Between(-2e39, -1e39))));
    cases.push(case(&[4, 800, 1216, 54]).real("semantic fpn prediction"));
    cases
}
