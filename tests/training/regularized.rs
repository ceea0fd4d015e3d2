//! Training that leaves out parts at random: it learns, evaluates whole, and resumes bitwise; made again, the same parts are left out.

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::{DROPOUT, Regularization, SURVIVAL};
use vistok::train::regularize::{dropout, survival};
use vistok::train::step::evaluation;
use vistok::train::{Evaluator, Recompute, Settings, Trainer};

use super::resumed::resumed;
use super::{Bench, Outcome, Test, noise, refused, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 5] = [
    ("what leaves parts out learns and resumes, bitwise", resumes),
    ("mixed precision: what leaves parts out learns and resumes, bitwise", resumes_mixed),
    ("seed, step and shares decide what is left out", matters),
    ("evaluation leaves nothing out", evaluates),
    ("shares of nothing are refused", refuses),
];

const ALL: Regularization = Regularization { depth: Some(0.7), dropout: Some(0.2) };

fn with(regularization: Regularization, elem: Elem, steps: u64) -> Settings {
    Settings { regularization, elem, ..settings(steps) }
}

fn resumes(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F32)
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F16)
}

fn resumes_in(bench: &Bench, elem: Elem) -> Outcome {
    let run = resumed(bench, &with(ALL, elem, 40), 17)?;
    let mean = |from: usize| run.reports[from..from + 8].iter().map(|report| report.loss).sum::<f32>() / 8.0;
    require(mean(32) < 0.9 * mean(0), format!("losses from {} to {}", mean(0), mean(32)))?;
    let other = Regularization { depth: Some(0.8), ..ALL };
    refused(trainer(bench, with(other, elem, 40))?.resume(&run.file), &["recipe is", "depth 0.7", "depth 0.8"])?;
    let other = Regularization { dropout: None, ..ALL };
    refused(trainer(bench, with(other, elem, 40))?.resume(&run.file), &["recipe is", "dropout 0.2"])
}

fn matters(bench: &Bench) -> Outcome {
    let run = |regularization, seed| {
        let mut trainer = trainer(bench, Settings { seed, ..with(regularization, Elem::F32, 3) })?;
        train(&mut trainer)?;
        Ok::<_, Failed>(trainer.homes().snapshot()?)
    };
    let first = run(ALL, 5)?;
    require(first == run(ALL, 5)?, "two runs of one seed differ")?;
    let [deep, drops] = [Regularization { dropout: None, ..ALL }, Regularization { depth: None, ..ALL }];
    for regularization in [Regularization::default(), deep, drops, Regularization { depth: Some(0.5), ..ALL }] {
        require(first != run(regularization, 5)?, format!("with {regularization:?} nothing changes"))?;
    }
    // Everything is kept: the bits are those of a run that knows of no depth.
    let whole = run(Regularization { depth: Some(1.0), dropout: Some(0.0) }, 5)?;
    require(whole == run(Regularization::default(), 5)?, "a run that leaves nothing out is another")?;
    // The third step is told what belongs to it.
    let mut third = trainer(bench, with(ALL, Elem::F32, 3))?;
    train(&mut third)?;
    let plan = third.executor().plan();
    let (survives, drops) = (plan.find(SURVIVAL).ok_or("an input")?, plan.find(DROPOUT).ok_or("an input")?);
    let blocks = plan.tensor(survives).map_or(0, |tensor| tensor.shape[1]);
    require(blocks == 3, format!("{blocks} blocks"))?;
    let told = third.executor().read(survives)?;
    require(told == survival(0.7, [8, blocks], [5, 2]), format!("it is told {told:?}"))?;
    require(third.executor().read_u32(drops)? == dropout([5, 2]), "it is told to drop others")?;
    // Made again for the backward pass, branches are skipped by the same images.
    let mut again = trainer(bench, Settings { recompute: Recompute::Everything, ..with(ALL, Elem::F32, 3) })?;
    train(&mut again)?;
    require(first == again.homes().snapshot()?, "made again, other images skip")
}

fn evaluates(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, with(ALL, Elem::F32, 3))?;
    train(&mut trainer)?;
    let plain = evaluation(&tiny(), &mut trainer.parameters().clone(), [8, 8, 8, 1])?;
    let plain = Evaluator::new(&bench.device, &bench.pipelines, &plain, trainer.homes())?;
    let normalization = trainer.about().normalization;
    let found = trainer.evaluator().predictions(&noise(24), normalization)?;
    require(found == plain.predictions(&noise(24), normalization)?, "evaluation is not the plain network's")?;
    let inputs = trainer.evaluator().executor().plan().inputs();
    require(inputs.len() == 1, format!("evaluation is told {inputs:?}"))
}

fn refuses(bench: &Bench) -> Outcome {
    let made = |asked| {
        let settings = with(asked, Elem::F32, 3);
        Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), settings).map(drop)
    };
    for last in [0.0, 1.5, f64::NAN] {
        let asked = Regularization { depth: Some(last), dropout: None };
        refused(made(asked), &["stochastic depth", "above 0 and at most 1"])?;
    }
    let asked = Regularization { depth: None, dropout: Some(1.0) };
    refused(made(asked), &["dropout", "below 1"])
}
