//! `vistok plan`: what would run for a model, in which order and in which memory.

use clap::Args;
use vistok::gpu::{Device, OpenOptions};
use vistok::kernel::Capabilities;
use vistok::models::Parameters;
use vistok::ops::Sgd;
use vistok::plan::{Layout, Options, Plan};
use vistok::train::Recompute;
use vistok::train::step::{StepOptions, evaluation, training_step_with};

use super::learning::RecomputeArgument;
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
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model, 224x224x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = presets::image)]
    image: Option<[usize; 3]>,
    /// Number of classes [default: 10 for the demo's model, 1000 for the others].
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
    let default = presets::default(&arguments.model, presets::IMAGENET);
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
    let options = StepOptions { recompute, ..StepOptions::default() };
    let graph = match arguments.train {
        true => training_step_with(&options, &*model, images, sgd)?.graph,
        false => evaluation(&*model, &mut Parameters::new(), images)?,
    };
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    speak::say(&Plan::new(&graph, &layout, &machine, Options::default())?.to_string())
}
