//! A whole step of training: forward, gradients and updates in one plan, run again and again.

use vistok::graph::{Graph, Source, Value, interpret};
use vistok::reference::{Array, Random};

use super::programs::training_step;
use super::{Bench, Outcome, ensure};

const STEPS: usize = 25;

/// Small weights, gains of 1, everything else 0; images that tell their label.
fn start(graph: &Graph, value: Value, source: &Source) -> Array<f32> {
    let shape = &graph.tensor(value).shape;
    let mut random = Random::named(1, &format!("{source:?}"));
    let ends = |name: &str, end: &str| name.ends_with(end);
    match source {
        Source::Input(name) if name == "rate" => Array::from_fn(shape, |_| 0.05),
        Source::Input(name) if name == "label" => Array::from_fn(shape, |at| (at % 3) as f32),
        Source::Input(_) => {
            let pixel = |at| (random.normal() + (at / (9 * 7 * 3) % 3) as f64 * (at % 3) as f64) as f32;
            Array::from_numbers(shape, (0..).map(pixel))
        }
        Source::Stored { name, .. } if ends(name, "weight") => {
            Array::from_numbers(shape, std::iter::repeat_with(|| 0.3 * random.normal() as f32))
        }
        Source::Stored { name, .. } if ends(name, "gain") || ends(name, "variance") => Array::from_fn(shape, |_| 1.0),
        _ => Array::zeros(shape),
    }
}

pub(crate) fn learns(bench: &Bench) -> Outcome {
    let graph = training_step()?;
    let truth = interpret(&graph, |value, source| Ok::<_, libtest_mimic::Failed>(start(&graph, value, source)))?;
    let mut found = Vec::new();
    for reuse in [true, false] {
        let executor = bench.executor(&graph, reuse)?;
        for value in graph.values() {
            let numbers = start(&graph, value, graph.source(value)).data;
            match graph.source(value) {
                Source::Input(name) if name == "label" => {
                    let labels: Vec<u32> = numbers.iter().map(|&label| label as u32).collect();
                    executor.write_u32(name, &labels)?;
                }
                Source::Input(name) => executor.write_f32(name, &numbers)?,
                Source::Stored { home, name } => executor.homes().write_f32(home, name, &numbers)?,
                Source::Node(..) => {}
            }
        }
        let mut losses = Vec::new();
        for step in 0..STEPS {
            executor.run()?;
            losses.push(executor.read_named("loss")?[0]);
            if step == 0 {
                updates_are_right(&graph, &truth, &executor)?;
            }
        }
        let fell = losses[STEPS - 1] < 0.5 * losses[0];
        ensure(fell && losses.iter().all(|loss| loss.is_finite()), || format!("losses {losses:?}"))?;
        let bits: Vec<u32> = losses.iter().map(|loss| loss.to_bits()).collect();
        found.push((bits, executor.homes().snapshot()?));
    }
    ensure(found[0] == found[1], || "reuse changes the bits".to_owned())
}

/// The loss, and every tensor that the step stores anew, against the interpreter's f32.
fn updates_are_right(graph: &Graph, truth: &[Array<f32>], executor: &vistok::gpu::Executor) -> Outcome {
    let updates = graph.nodes().iter().flat_map(|node| node.op.updates().into_iter().map(|(_, at)| node.outputs[at]));
    let loss = executor.plan().find("loss").ok_or("there is a loss")?;
    for value in updates.chain([loss]) {
        let (numbers, truth) = (executor.read(value)?, &truth[value.index()].data);
        let scale = truth.iter().fold(1e-3f32, |scale, number| scale.max(number.abs()));
        // Whole chains of f32 sums in another order: this looks for wrong wiring, the kernels' own tests for rounding.
        let near = numbers.iter().zip(truth).all(|(a, b)| (a - b).abs() <= 1e-3 * scale);
        let told = || format!("v{} is {:?} and not {:?}", value.index(), &numbers[..1], &truth[..1]);
        ensure(near && numbers.len() == truth.len(), told)?;
    }
    Ok(())
}
