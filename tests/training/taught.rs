//! A teacher beside the network that learns: what it says is learned, nothing of it changes, and runs resume bitwise with it alone.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::parameters::TEACHER;
use vistok::models::{Network, Regularization, ResNet};
use vistok::train::batches::Augmentation;
use vistok::train::{Distilled, Recompute, Schedule, Settings, Teacher, Trainer};

use super::resumed::resumed;
use super::{Bench, Outcome, Test, noise, refused, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 5] = [
    ("what a teacher says is learned", learns),
    ("runs with a teacher resume, bitwise", resumes),
    ("mixed precision: runs with a teacher resume, bitwise", resumes_mixed),
    ("a teacher stays what it is where a run diverges", stays),
    ("teachers of other classes and images are refused", refuses),
];

/// A network that knows the images by heart, or has its first weights.
fn teacher(bench: &Bench, steps: u64) -> Result<Arc<Teacher>, Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("teacher.safetensors");
    let known = Settings { augmentation: Augmentation::default(), seed: 77, ..settings(steps) };
    let mut known = trainer(bench, known)?;
    known.train(&noise(24), &AtomicBool::new(false), |_| {})?;
    known.save(&file)?;
    Ok(Arc::new(Teacher::open(&file)?))
}

pub(super) fn of(teacher: &Arc<Teacher>, [share, temperature]: [f64; 2], steps: u64) -> Settings {
    let distillation = Some(Distilled { share, temperature, teacher: teacher.clone() });
    Settings { distillation, ..settings(steps) }
}

/// Without any label the student comes to say what its teacher says.
fn learns(bench: &Bench) -> Outcome {
    let teacher = teacher(bench, 80)?;
    let plain = Settings { augmentation: Augmentation::default(), ..of(&teacher, [1.0, 2.0], 120) };
    let mut student = trainer(bench, plain)?;
    let mut losses = Vec::new();
    let mut unlabeled = noise(24);
    unlabeled.labels.fill(0);
    student.train(&unlabeled, &AtomicBool::new(false), |report| losses.push(report.loss))?;
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..6]), mean(&losses[114..]));
    require(last < 0.9 * first, format!("losses from {first} to {last}"))?;
    // The images' own labels, of which the student has seen none.
    let right = student.accuracy(&noise(24))?;
    require(right > 0.6, format!("{right} of the images are known, a quarter by chance"))?;
    for stored in student.homes().layout().homes().iter().filter(|home| home.name == TEACHER) {
        require(!stored.tensors.is_empty(), "a home without a teacher")?;
    }
    let again = trainer(bench, of(&teacher, [1.0, 2.0], 120))?;
    for parameter in again.parameters().iter() {
        let name = format!("{TEACHER}/{}", parameter.name);
        let [now, then] = [&student, &again].map(|trainer| trainer.homes().read_f32(TEACHER, &name));
        require(now? == then?, format!("{name} has changed"))?;
    }
    Ok(())
}

fn resumes(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F32)
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F16)
}

fn resumes_in(bench: &Bench, elem: Elem) -> Outcome {
    let taught = teacher(bench, 20)?;
    // All that can be left out at random is.
    let regularization = Regularization { depth: Some(0.7), dropout: Some(0.2) };
    let with = |teacher: &Arc<Teacher>, steps| Settings { elem, regularization, ..of(teacher, [0.8, 2.0], steps) };
    let run = resumed(bench, &with(&taught, 12), 5)?;
    let bytes = std::fs::read(&run.file)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    require(!tensors.names().iter().any(|name| name.starts_with(TEACHER)), "the teacher is in the student's file")?;
    let other = teacher(bench, 21)?;
    refused(trainer(bench, with(&other, 12))?.resume(&run.file), &["recipe is", "teacher"])?;
    refused(
        trainer(bench, settings(12))?.resume(&run.file),
        &["recipe is", "distillation 0.8 temperature 2.0 teacher"],
    )?;
    // Blocks that are made again are the student's.
    let mut again = trainer(bench, Settings { recompute: Recompute::Everything, ..with(&taught, 12) })?;
    train(&mut again)?;
    require(again.homes().snapshot()? == run.straight.homes().snapshot()?, "made again, weights differ")
}

/// Who looks for where a run went wrong computes it again from its first weights; the teacher knows all the while what it knew.
fn stays(bench: &Bench) -> Outcome {
    let taught = teacher(bench, 1)?;
    let schedule = Schedule::Cosine { peak: 1e30, warm_up: 0, steps: 80 };
    let mut student = trainer(bench, Settings { schedule, ..of(&taught, [0.8, 1.0], 6) })?;
    let before: Vec<Vec<f32>> = weights_of_teacher(&student)?;
    refused(student.train(&noise(24), &AtomicBool::new(false), |_| {}), &["the first bad value is in step"])?;
    let known = before.iter().flatten().any(|&weight| weight != 0.0);
    require(known && weights_of_teacher(&student)? == before, "the teacher has forgotten what it knew")
}

fn weights_of_teacher(student: &Trainer) -> Result<Vec<Vec<f32>>, Failed> {
    let homes = student.homes().layout().homes().iter().filter(|home| home.name == TEACHER);
    let read = homes.flat_map(|home| &home.tensors).map(|stored| student.homes().read_f32(TEACHER, &stored.name));
    Ok(read.collect::<Result<_, _>>()?)
}

fn refuses(bench: &Bench) -> Outcome {
    let made = |network: Network, image: [usize; 3]| {
        let teacher = Teacher::of(network, image, None, |parameter| Ok(parameter.initial(1)))?;
        let settings = of(&Arc::new(teacher), [0.8, 1.0], 3);
        Ok::<_, Failed>(Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), settings).map(drop))
    };
    refused(made(ResNet::small(5).into(), [8, 8, 1])?, &["the teacher, resnet-small", "5 classes", "4 classes"])?;
    refused(made(ResNet::small(4).into(), [8, 8, 3])?, &["the teacher, resnet-small", "[8, 8, 3]", "[8, 8, 1]"])?;
    require(made(ResNet::small(4).into(), [8, 8, 1])?.is_ok(), "another network of the same classes teaches, too")
}
