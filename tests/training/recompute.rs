//! Blocks made again for the backward pass: no bit of a run changes, and a run may go on with others.

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::{Model, ResNet};
use vistok::train::{Recompute, Resumed, Settings, Trainer};

use super::{Bench, Outcome, noise, require, settings, tiny, train};

pub(crate) fn changes_no_bit(bench: &Bench) -> Outcome {
    changes_no_bit_in(bench, Elem::F32)
}

pub(crate) fn changes_no_bit_mixed(bench: &Bench) -> Outcome {
    changes_no_bit_in(bench, Elem::F16)
}

fn changes_no_bit_in(bench: &Bench, elem: Elem) -> Outcome {
    let small = ResNet::small(4);
    for model in [&tiny() as &dyn Model, &small] {
        let run = |recompute: Recompute| {
            let settings = Settings { elem, recompute, ..settings(4) };
            let mut trainer = Trainer::new(&bench.device, &bench.pipelines, model, &noise(24), settings)?;
            let reports = train(&mut trainer)?;
            let calls = trainer.executor().plan().steps().len();
            Ok::<_, Failed>((reports, trainer.homes().snapshot()?, calls))
        };
        let (losses, homes, calls) = run(Recompute::Nothing)?;
        let last = model.blocks().pop().ok_or("no blocks")?;
        for recompute in [Recompute::Everything, Recompute::Blocks(vec![last])] {
            let (losses_too, homes_too, more) = run(recompute.clone())?;
            require(more > calls, format!("{}: {recompute:?} makes nothing again", model.name()))?;
            require(losses == losses_too, format!("{}: losses differ with {recompute:?}", model.name()))?;
            require(homes == homes_too, format!("{}: weights differ with {recompute:?}", model.name()))?;
        }
    }
    Ok(())
}

pub(crate) fn resumes_with_others(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("half.safetensors");
    let trainer = |steps: u64, recompute: Recompute| {
        let settings = Settings { recompute, ..settings(steps) };
        Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), settings)
    };
    let mut straight = trainer(6, Recompute::Nothing)?;
    train(&mut straight)?;
    let mut half = trainer(3, Recompute::Everything)?;
    train(&mut half)?;
    half.save(&file)?;
    let mut rest = trainer(6, Recompute::Blocks(vec!["stem".to_owned()]))?;
    require(rest.resume(&file)? == Resumed::Exactly, "it is said that it would be rounded elsewhere")?;
    train(&mut rest)?;
    require(rest.homes().snapshot()? == straight.homes().snapshot()?, "weights, statistics or velocities differ")?;
    let unknown = trainer(6, Recompute::Blocks(vec!["stage9".to_owned()]));
    let said = unknown.err().map(|error| error.to_string()).unwrap_or_default();
    require(said.contains("`stage9`") && said.contains("stage3/vt1"), format!("`{said}` does not say what there is"))
}
