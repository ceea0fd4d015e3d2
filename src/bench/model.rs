//! A whole model, ready to be timed: as many runs a second as go through, how long one takes, what recording costs.

use std::fmt;
use std::time::{Duration, Instant};

use super::{BenchError, WARM_UP};
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::graph::{Graph, Source, Tensor};
use crate::kernel::Elem;
use crate::models::{Model, Parameters};
use crate::ops::Sgd;
use crate::plan::{Layout, Options, Plan};
use crate::train::step::{StepOptions, evaluation_in, initialize, training_step_with};
use crate::train::{Optimizer, Recompute};

/// The most runs back to back, and the time after which fewer must do.
const RUNS: u32 = 100;
const ENOUGH: Duration = Duration::from_secs(3);
/// The least runs.
const LEAST: u32 = 3;
/// Single runs, of which the median is taken.
const SINGLE: usize = 11;

/// What a model is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Logits of a batch, fused.
    Forward,
    /// A step of training: forward, loss, gradients, update.
    Training,
    /// The same, the stem made again for the backward pass: a little longer, with less memory.
    StemAgain,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Training => "training",
            Self::StemAgain => "training, stem again",
        })
    }
}

/// A model on a batch of images.
#[derive(Clone, Copy, Debug)]
pub struct ModelSubject<'a> {
    /// The model.
    pub model: &'a dyn Model,
    /// The batch `[N, H, W, C]`.
    pub images: [usize; 4],
    /// What images, weights and everything between them are held in; sums are f32. Training in f16 is of mixed precision
    /// ([`step`](crate::train::step)).
    pub elem: Elem,
    /// What it is run for.
    pub task: Task,
}

/// What was measured of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelMeasurement {
    /// Wall time of a run when many follow each other, recording included.
    pub throughput: Duration,
    /// Wall time of one run alone, from its recording until its results are there: the median.
    pub latency: Duration,
    /// The part of that until it can be submitted: wgpu's and the driver's work on every kernel call.
    pub recording: Duration,
    /// The part of that until the driver has taken it.
    pub submitting: Duration,
    /// Kernel calls of a run.
    pub dispatches: usize,
    /// Different builds of kernels among them.
    pub pipelines: usize,
    /// Bytes of all buffers of a run: values, parameters, inputs.
    pub peak_bytes: usize,
    /// Multiply-adds of a run.
    pub multiply_adds: u64,
}

impl ModelSubject<'_> {
    /// What runs.
    ///
    /// # Errors
    /// When the images do not fit the model.
    pub fn graph(&self) -> Result<(Graph, Parameters), BenchError> {
        match self.task {
            Task::Forward => {
                let mut parameters = Parameters::new();
                let graph = evaluation_in(self.elem, self.model, &mut parameters, self.images)?;
                Ok((graph.fused()?.graph, parameters))
            }
            Task::Training | Task::StemAgain => self.step(Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false }),
        }
    }

    /// A step of training that updates so.
    fn step(&self, optimizer: impl Into<Optimizer>) -> Result<(Graph, Parameters), BenchError> {
        let again = match self.task {
            // The first block of every model is its stem.
            Task::StemAgain => Recompute::Blocks(self.model.blocks().into_iter().take(1).collect()),
            _ => Recompute::Nothing,
        };
        let options = StepOptions { elem: self.elem, recompute: again, ..StepOptions::default() };
        let step = training_step_with(&options, self.model, self.images, optimizer)?;
        Ok((step.graph, step.parameters))
    }

    /// Plans it, without running anything: what of a measurement is no time.
    ///
    /// # Errors
    /// When the images do not fit the model, or a value the machine.
    pub fn plan(&self, device: &Device) -> Result<Plan, BenchError> {
        planned(&self.graph()?.0, device)
    }

    /// Its graph, and what runs it, with parameters as they start and images that are spread.
    ///
    /// # Errors
    /// When it does not fit, a kernel does not compile, memory does not suffice or the device is lost.
    pub fn prepare(&self, device: &Device, pipelines: &Pipelines) -> Result<(Graph, Executor), BenchError> {
        let (graph, parameters) = self.graph()?;
        let (executor, homes) = on(device, pipelines, &graph)?;
        initialize(&homes, &parameters, 0)?;
        Ok((graph, executor))
    }

    /// The same of a step of training that updates weights in another way, whatever the task.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_update(
        &self,
        device: &Device,
        pipelines: &Pipelines,
        optimizer: Optimizer,
    ) -> Result<(Graph, Executor), BenchError> {
        let (graph, parameters) = self.step(optimizer)?;
        let (executor, homes) = on(device, pipelines, &graph)?;
        optimizer.initialize(&homes, &parameters, 0)?;
        Ok((graph, executor))
    }

    /// Runs it until its times are known.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn measure(&self, device: &Device, pipelines: &Pipelines) -> Result<ModelMeasurement, BenchError> {
        let (graph, executor) = self.prepare(device, pipelines)?;
        let wait = || device.wait("timing a model");
        let once = |runs: u32| -> Result<Duration, BenchError> {
            let began = Instant::now();
            for _ in 0..runs {
                executor.run()?;
            }
            wait()?;
            Ok(began.elapsed() / runs)
        };
        let warming = Instant::now();
        let mut one = once(1)?;
        while warming.elapsed() < WARM_UP {
            one = once(LEAST)?;
        }
        let runs = (ENOUGH.as_secs_f64() / one.as_secs_f64().max(1e-9)) as u32;
        let throughput = once(runs.clamp(LEAST, RUNS))?;
        let mut single = Vec::with_capacity(SINGLE);
        for _ in 0..if one > ENOUGH { 1 } else { SINGLE } {
            let began = Instant::now();
            let commands = executor.record();
            let recorded = began.elapsed();
            device.queue.submit([commands]);
            let submitted = began.elapsed();
            wait()?;
            single.push([began.elapsed(), recorded, submitted - recorded]);
        }
        let [latency, recording, submitting] = [0, 1, 2].map(|part| {
            single.sort_unstable_by_key(|times| times[part]);
            single[single.len() / 2][part]
        });
        let steps = executor.plan().steps();
        let mut builds: Vec<String> =
            steps.iter().map(|step| format!("{} {:?}", step.kernel.name, step.variant)).collect();
        builds.sort_unstable();
        builds.dedup();
        Ok(ModelMeasurement {
            throughput,
            latency,
            recording,
            submitting,
            dispatches: steps.len(),
            pipelines: builds.len(),
            peak_bytes: executor.plan().peak_bytes(),
            multiply_adds: multiply_adds(&graph, executor.plan()),
        })
    }
}

/// What runs a graph, with images that are spread, and its homes.
fn on(device: &Device, pipelines: &Pipelines, graph: &Graph) -> Result<(Executor, Homes), BenchError> {
    let plan = planned(graph, device)?;
    let homes = Homes::new(device, plan.layout())?;
    let executor = Executor::new(device, pipelines, plan, &homes)?;
    fill(&executor, graph)?;
    Ok((executor, homes))
}

fn planned(graph: &Graph, device: &Device) -> Result<Plan, BenchError> {
    let layout = Layout::of(&[graph], device.capabilities().offset_alignment)?;
    Ok(Plan::new(graph, &layout, device.capabilities(), Options::default())?)
}

/// Images that are spread, labels of 0, a small rate.
fn fill(executor: &Executor, graph: &Graph) -> Result<(), BenchError> {
    for value in graph.values() {
        let Source::Input(name) = graph.source(value) else { continue };
        let Tensor { shape, elem } = graph.tensor(value);
        match elem {
            Elem::U32 => executor.write_u32(name, &vec![0; shape.count()])?,
            Elem::F32 | Elem::F16 if name == "rate" => executor.write_f32(name, &[1e-3])?,
            Elem::F32 | Elem::F16 => {
                let numbers: Vec<f32> = super::subject::spread(shape.count()).map(|number| number as f32).collect();
                executor.write_f32(name, &numbers)?;
            }
        }
    }
    Ok(())
}

/// Of every node that runs.
fn multiply_adds(graph: &Graph, plan: &Plan) -> u64 {
    plan.nodes().iter().map(|planned| graph.cost(planned.node).multiply_adds).sum()
}
