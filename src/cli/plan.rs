//! `vistok plan`: what would run for a model, in which order and in which memory.

use std::collections::BTreeMap;

use clap::Args;
use vistok::gpu::{Device, OpenOptions};
use vistok::graph::Graph;
use vistok::kernel::{Capabilities, Elem};
use vistok::models::Parameters;
use vistok::ops::Sgd;
use vistok::plan::{Layout, Options, Plan, PlannedNode};
use vistok::train::Recompute;
use vistok::train::step::{StepOptions, evaluation_in, training_step_with};

use super::learning::RecomputeArgument;
use super::table::{Align, Table};
use super::{AdapterArgument, Error, presets, speak};

/// Print what runs for a model, step by step, and the memory that it takes; nothing is computed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A model, such as vt-resnet-demo or resnet50.
    model: String,
    /// Plan a training step: forward, loss, gradients and update. Without, inference.
    #[arg(long)]
    train: bool,
    #[command(flatten)]
    recompute: RecomputeArgument,
    /// Hold images, weights and what lies between in f16, as `--f16` of other commands does.
    #[arg(long)]
    f16: bool,
    /// Instead of every step, how many kernel calls each block of the model is, and which.
    #[arg(long)]
    blocks: bool,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model and Fashion-MNIST's, 224x224x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = presets::image)]
    image: Option<[usize; 3]>,
    /// Number of classes [default: 10 for the demo's model and Fashion-MNIST's, 1000 for the others].
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Plan for the least that WebGPU promises; no adapter is needed.
    #[arg(long, conflicts_with = "adapter")]
    portable: bool,
    #[command(flatten)]
    adapter: AdapterArgument,
}

/// Prints the plan.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let default = presets::published(&arguments.model);
    let model = presets::model(&arguments.model, arguments.classes.unwrap_or(default.classes))?;
    let [height, width, channels] = arguments.image.unwrap_or(default.image);
    let images = [arguments.batch as usize, height, width, channels];
    let machine = match arguments.portable {
        true => Capabilities::portable(),
        false => {
            let adapter = arguments.adapter.adapter.clone();
            Device::open(&OpenOptions { adapter, ..OpenOptions::default() })?.capabilities().clone()
        }
    };
    let recompute = arguments.recompute.get();
    if !arguments.train && recompute != Recompute::Nothing {
        return Err(Error::Refused("--recompute is about backward passes: give --train, too".to_owned()));
    }
    let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let elem = if arguments.f16 { Elem::F16 } else { Elem::F32 };
    let options = StepOptions { recompute, elem, ..StepOptions::default() };
    let graph = match arguments.train {
        true => training_step_with(&options, &*model, images, sgd)?.graph,
        false => evaluation_in(elem, &*model, &mut Parameters::new(), images)?.fused()?.graph,
    };
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    let plan = Plan::new(&graph, &layout, &machine, Options::default())?;
    speak::say(&if arguments.blocks { blocks(&graph, &plan, &model.blocks()) } else { plan.to_string() })
}

/// What a kernel call is for.
const PHASES: [&str; 4] = ["forward", "again", "backward", "update"];

/// A row a block, and one for what stands in none: how many calls are for what, and the kernels of all.
fn blocks(graph: &Graph, plan: &Plan, blocks: &[String]) -> String {
    let columns: Vec<(&'static str, Align)> = [("block", Align::Left)]
        .into_iter()
        .chain(PHASES.map(|phase| (phase, Align::Right)))
        .chain([("kernels", Align::Left)])
        .collect();
    let mut table = Table::new(&columns);
    let mut all = [0; PHASES.len()];
    for block in blocks.iter().map(Some).chain([None]) {
        let (mut calls, mut kernels) = ([0; PHASES.len()], BTreeMap::<&str, usize>::new());
        for (at, step) in plan.steps().iter().enumerate() {
            let node = plan.node_of(at);
            let stands_in = blocks.iter().find(|block| inside(&node.scope, block));
            if stands_in == block {
                calls[phase(graph, node)] += 1;
                *kernels.entry(step.kernel.name).or_default() += 1;
            }
        }
        let said = |(name, count): (&str, usize)| if count > 1 { format!("{name} x{count}") } else { name.to_owned() };
        let kernels: Vec<String> = kernels.into_iter().map(said).collect();
        let name = block.map_or("elsewhere", String::as_str);
        table.row([&[name.to_owned()], &calls.map(|count| count.to_string())[..], &[kernels.join(", ")]].concat());
        all.iter_mut().zip(calls).for_each(|(all, calls)| *all += calls);
    }
    let all = all.map(|count| count.to_string());
    table.row([&["together".to_owned()], &all[..], &[String::new()]].concat());
    table.text()
}

/// Whether a scope is a block's or lies in it; the backward pass's end in `'`, and what is made again in ` again`.
fn inside(scope: &str, block: &str) -> bool {
    scope.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ' ', '\'']))
}

/// What a node is for, as [`PHASES`] lists it.
fn phase(graph: &Graph, planned: &PlannedNode) -> usize {
    let node = &graph.nodes()[planned.node];
    let updates = node.op.updates().len();
    match &*planned.scope {
        _ if updates > 0 && updates == node.outputs.len() => 3,
        scope if scope.ends_with(" again") => 1,
        scope if scope.ends_with('\'') => 2,
        _ => 0,
    }
}
