//! `vistok plan`: what would run for a model, in which order and in which memory.

use clap::Args;
use vistok::gpu::{Device, OpenOptions};
use vistok::kernel::Capabilities;
use vistok::models::Parameters;
use vistok::ops::Sgd;
use vistok::plan::{Layout, Options, Plan};
use vistok::train::step::{evaluation, training_step};

use super::{AdapterArgument, Error, presets, speak};

/// Print what runs for a model, step by step, and the memory that it takes; nothing is computed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A model, such as vt-resnet-demo or resnet50.
    model: String,
    /// Plan a training step: forward, loss, gradients and update. Without, inference.
    #[arg(long)]
    train: bool,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model, 224x224x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = image)]
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
    let small = arguments.model.ends_with("-demo");
    let classes = arguments.classes.unwrap_or(if small { 10 } else { 1000 });
    let model = presets::model(&arguments.model, classes)?;
    let [height, width, channels] = arguments.image.unwrap_or(if small { [28, 28, 1] } else { [224, 224, 3] });
    let images = [arguments.batch as usize, height, width, channels];
    let machine = match arguments.portable {
        true => Capabilities::portable(),
        false => {
            let adapter = arguments.adapter.adapter.clone();
            Device::open(&OpenOptions { adapter, ..OpenOptions::default() })?.capabilities().clone()
        }
    };
    let graph = match arguments.train {
        true => training_step(&*model, images, Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false })?.graph,
        false => evaluation(&*model, &mut Parameters::new(), images)?,
    };
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    speak::say(&Plan::new(&graph, &layout, &machine, Options::default())?.to_string())
}

/// `HxWxC`, none of them 0.
fn image(text: &str) -> Result<[usize; 3], String> {
    let sizes: Vec<usize> = text.split('x').filter_map(|size| size.parse().ok()).collect();
    match <[usize; 3]>::try_from(sizes) {
        Ok(sizes) if text.split('x').count() == 3 && !sizes.contains(&0) => Ok(sizes),
        _ => Err("height, width and channels are three numbers above 0, such as 28x28x1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn sizes_are_three_numbers_above_zero() {
        assert_eq!(image("28x27x1"), Ok([28, 27, 1]));
        for wrong in ["", "28", "28x28", "28x28x0", "28x28x1x1", "axbxc", "28x28x1xa", "-1x2x3"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
    }
}
