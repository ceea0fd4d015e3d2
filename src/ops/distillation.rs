//! Knowledge distillation (Hinton, Vinyals and Dean 2015): a loss by labels and by what a teacher says of the same images, and its
//! gradient in one.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::cross_entropy::{IGNORE, check, dims, log_of_sum, loss_of, rows_and_classes, slope_of};
use super::cross_entropy_mean::{Counted, counted, is_ignored};
use super::cross_entropy_smoothing::{SMOOTHING, check_smoothing, is_unsmoothed};
use crate::graph::{Case, Draw, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::Rows;
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// logits [.., K], labels `u32 [..]`, teacher [.., K], perhaps seed `f32 [1]` → loss `f32 [1]`, dlogits [.., K].
///
/// loss = mean over the rows that count ((1 − A) h + A T² f), where h is what [`CrossEntropy`](super::CrossEntropy) has a row lose, with
/// its smoothing, and f = ln Σ exp(logits / T) − Σ q logits / T, q = softmax(teacher / T), the cross entropy with the teacher. T² keeps
/// gradients as large whatever T is (section 2 there). Its difference from Kullback and Leibler's divergence is the teacher's own
/// entropy, whose gradient is 0. dlogits is the gradient times the seed, 1 where there is none; the loss is not multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// A, the teacher's share of the loss, from 0 to 1.
    pub share: f64,
    /// T, above 0: the higher, the more alike classes become before they are compared.
    pub temperature: f64,
    /// The label of rows that do not count.
    pub ignore: Option<u32>,
    /// How much of each label is given to all classes alike, from 0 (nothing) to 1.
    #[serde(default, skip_serializing_if = "is_unsmoothed")]
    pub smoothing: f64,
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct WithGradient = "distillation/with_gradient" {
        params { rows: u32, columns: u32, classes: u32, ignored: u32, share: f32, temperature: f32, smoothing: f32 }
        read { logits, labels, teacher, counted, seed }
        write { row_loss, dlogits }
    }
}

/// Inputs without a seed.
const INPUTS: usize = 3;

impl Op for Distillation {
    fn name(&self) -> &'static str {
        "distillation"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([logits, labels, teacher] | [logits, labels, teacher, _]) = inputs else {
            return Err(format!("takes logits, labels, teacher and perhaps a seed, not {} inputs", inputs.len()));
        };
        check(logits, labels)?;
        check_smoothing(self.smoothing)?;
        let Self { share, temperature, .. } = self;
        if !(0.0..=1.0).contains(share) {
            return Err(format!("share must be from 0 to 1 and is {share}"));
        }
        if !(temperature.is_finite() && *temperature > 0.0) {
            return Err(format!("temperature must be above 0 and is {temperature}"));
        }
        match inputs.get(INPUTS).filter(|seed| **seed != Tensor::f32([1])) {
            _ if teacher != logits => Err(format!("teacher must be {logits} as logits and is {teacher}")),
            Some(seed) => Err(format!("the seed must be f32 [1] and is {seed}")),
            None => Ok(vec![Tensor::f32([1]), logits.clone()]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let is_seeded = io.inputs.len() > INPUTS;
        let counted = Counted::record(io, self.ignore, io.input(1), out);
        let row_loss = out.scratch(rows);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, classes);
        out.dispatch(
            &WithGradient {
                rows: word(rows),
                columns,
                classes: word(classes),
                ignored: self.ignore.unwrap_or_default(),
                share: self.share as f32,
                temperature: self.temperature as f32,
                smoothing: self.smoothing as f32,
                logits: io.input(0),
                labels: io.input(1),
                teacher: io.input(2),
                counted: counted.or(io.input(1)),
                seed: io.input(if is_seeded { INPUTS } else { 1 }),
                row_loss,
                dlogits: io.output(1),
            },
            counted.build(variant).constant("SEEDED", is_seeded.into()),
            grid,
        );
        counted.mean(io, row_loss, io.output(0), out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log, Function::Divide]
    }
}

/// numbers / T.
fn cooled<T: Real>(numbers: &[T], temperature: f64) -> Vec<T> {
    numbers.iter().map(|&number| number / T::of(temperature)).collect()
}

impl Maths for Distillation {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let ([logits, labels, teacher] | [logits, labels, teacher, _]) = inputs else { return Vec::new() };
        let Self { share, temperature, ignore, smoothing } = *self;
        let [rows, classes] = dims(logits);
        let counted: T = counted(labels, ignore);
        let [own, taught] = [T::of(1.0 - share), T::of(share)];
        let seed = inputs.get(INPUTS).map_or(T::of(1.0), |seed| seed.data[0]);
        let (mut loss, mut dlogits) = (T::default(), Array::zeros(&logits.shape));
        for row in 0..rows {
            let here = row * classes..(row + 1) * classes;
            let (hot, label) = (&logits.data[here.clone()], labels.data[row].index());
            if is_ignored(label, ignore) {
                continue;
            }
            let [soft, told] = [hot, &teacher.data[here.clone()]].map(|numbers| cooled(numbers, temperature));
            let [log_sum, log_soft, log_told] = [log_of_sum(hot), log_of_sum(&soft), log_of_sum(&told)];
            let shares: Vec<T> = told.iter().map(|&told| (told - log_told).exp()).collect();
            let by_teacher = soft.iter().zip(&shares).map(|(&soft, &share)| share * (log_soft - soft)).sum::<T>();
            let by_label = loss_of(hot, (log_sum, label), (ignore, smoothing));
            loss += own * by_label + taught * T::of(temperature * temperature) * by_teacher;
            for (class, slope) in dlogits.data[here].iter_mut().enumerate() {
                let by_label = slope_of(hot[class], log_sum, [class, label, classes], (ignore, smoothing));
                let by_teacher = T::of(temperature) * ((soft[class] - log_soft).exp() - shares[class]);
                *slope = seed * (own * by_label + taught * by_teacher) / counted;
            }
        }
        vec![Array { shape: vec![1], data: vec![loss / counted] }, dlogits]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Distillation>(
        "distillation",
        "loss = mean over the rows that count ((1 - A) h + A T^2 (ln Σ exp(logits / T) - Σ softmax(teacher / T) logits / T)), h as cross_entropy has it; dlogits = seed its gradient",
        &[("share", "A, the teacher's share, from 0 to 1"), ("temperature", "T, above 0"), IGNORE, SMOOTHING],
        [
            &[("logits", "T [.., K]"), ("labels", "u32 [..]"), ("teacher", "T [.., K]"), ("seed?", "f32 [1]")],
            &[("loss", "f32 [1]"), ("dlogits", "T [.., K]")],
        ],
    )],
    cases,
};

const PAPER: Distillation = Distillation { share: 0.8, temperature: 1.0, ignore: None, smoothing: 0.0 };

fn cases() -> Vec<Case> {
    let of = |op: Distillation, rows: &[usize], classes: usize| {
        let logits = [rows, &[classes]].concat();
        Case::new(op, &[&logits, rows, &logits]).labels(1, classes).no_gradient()
    };
    let seeded = |op: Distillation, rows: &[usize], classes: usize| {
        let logits = [rows, &[classes]].concat();
        Case::new(op, &[&logits, rows, &logits, &[1]]).labels(1, classes).f32(3).no_gradient()
    };
    let [warm, smoothed] = [Distillation { temperature: 4.0, ..PAPER }, Distillation { smoothing: 0.1, ..PAPER }];
    let ignoring = |ignore| Distillation { ignore: Some(ignore), smoothing: 0.1, temperature: 2.0, ..PAPER };
    let mut cases: Vec<Case> = [(1, 1), (1, 2), (31, 33), (2, 1_000), (2, 2_309)]
        .into_iter()
        .flat_map(|(rows, classes)| [PAPER, warm, smoothed].map(|op| of(op, &[rows], classes)))
        .collect();
    cases.extend([seeded(PAPER, &[3], 10), seeded(warm, &[257], 3), seeded(ignoring(9), &[2], 300)]);
    cases.extend([0.0, 1.0].map(|share| of(Distillation { share, ..smoothed }, &[7], 5)));
    // So far apart that whoever misses the largest meets infinity.
    let far = Draw::Between(-20_000.0, 20_000.0);
    cases.extend([(33, 300), (16, 2_309)].map(|(rows, classes)| of(PAPER, &[rows], classes).draw(0, far).draw(2, far)));
    // One label in four is no class: the loss is NaN, and so are just those rows of the gradient.
    cases.push(seeded(PAPER, &[31], 3).labels(1, 4));
    // Pixels, of which some, then all are ignored.
    cases.extend([of(ignoring(1), &[2, 5, 3], 4), seeded(ignoring(3), &[3, 61, 47], 3).labels(1, 4)]);
    cases.push(of(ignoring(0), &[7], 2).labels(1, 1));
    cases.push(seeded(PAPER, &[64], 1_000).real("resnet50 imagenet distillation"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Random;

    fn drawn(shape: &[usize], random: &mut Random) -> Array<f64> {
        let data = (0..shape.iter().product()).map(|_| 2.0 * random.normal()).collect();
        Array { shape: shape.to_vec(), data }
    }

    /// By differences in f64; the teacher's logits are no variables.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for (temperature, smoothing, ignore) in [(1.0, 0.0, None), (3.0, 0.1, None), (0.5, 0.2, Some(2))] {
            let op = Distillation { share: 0.8, temperature, ignore, smoothing };
            let mut random = Random::new(3);
            let [logits, teacher, step] = [0, 1, 2].map(|_| drawn(&[4, 5], &mut random));
            let labels = Array { shape: vec![4], data: vec![0.0, 2.0, 4.0, 2.0] };
            let seed = Array { shape: vec![1], data: vec![7.0] };
            let run = |by: f64| {
                let moved = logits.zip(&step, |logit, step| logit + by * step);
                op.maths(&[&moved, &labels, &teacher, &seed])
            };
            let wanted = (run(1e-5)[0].data[0] - run(-1e-5)[0].data[0]) / 2e-5;
            let found: f64 =
                run(0.0)[1].data.iter().zip(&step.data).map(|(slope, step)| slope * step).sum::<f64>() / 7.0;
            assert!((found - wanted).abs() < 1e-9 * wanted.abs().max(1.0), "{op:?}: {found} and {wanted}");
        }
    }

    #[test]
    fn without_a_share_it_is_cross_entropy() {
        let mut random = Random::new(4);
        let [logits, teacher] = [0, 1].map(|_| drawn(&[6, 3], &mut random));
        let labels = Array { shape: vec![6], data: vec![0.0, 1.0, 2.0, 2.0, 1.0, 0.0] };
        let of = |share| Distillation { share, smoothing: 0.1, ..PAPER }.maths(&[&logits, &labels, &teacher]);
        let plain = super::super::CrossEntropyWithGradient { ignore: None, smoothing: 0.1 };
        let plain = plain.maths(&[&logits, &labels]);
        let close =
            |one: &Array<f64>, other: &Array<f64>| one.data.iter().zip(&other.data).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&of(0.0)[0], &plain[0]) && close(&of(0.0)[1], &plain[1]));
        // A student who agrees with its teacher has nothing to learn of it.
        let alike = Distillation { share: 1.0, temperature: 2.0, ..PAPER }.maths(&[&logits, &labels, &logits]);
        assert!(alike[1].data.iter().all(|slope| slope.abs() < 1e-12), "{:?}", alike[1]);
    }

    #[test]
    fn what_is_no_loss_is_refused() {
        let (logits, labels) = (Tensor::f32([2, 3]), Tensor::new([2], crate::kernel::Elem::U32));
        let refused = |op: Distillation, inputs: &[&Tensor]| {
            let inputs: Vec<Tensor> = inputs.iter().map(|&tensor| tensor.clone()).collect();
            op.outputs(&inputs).expect_err("it is no loss")
        };
        let fits = [&logits, &labels, &logits];
        assert!(PAPER.outputs(&fits.map(Clone::clone)).is_ok());
        assert!(refused(Distillation { share: 1.5, ..PAPER }, &fits).contains("share"));
        assert!(refused(Distillation { temperature: 0.0, ..PAPER }, &fits).contains("temperature"));
        assert!(refused(Distillation { smoothing: -1.0, ..PAPER }, &fits).contains("smoothing"));
        let other = Tensor::f32([2, 4]);
        assert!(refused(PAPER, &[&logits, &labels, &other]).contains("teacher must be"));
        assert!(refused(PAPER, &[&logits, &labels, &logits, &labels]).contains("seed"));
        assert!(refused(PAPER, &[&logits, &labels]).contains("2 inputs"));
    }
}
