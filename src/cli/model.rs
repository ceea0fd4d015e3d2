//! `vistok model`: what a model costs, layer by layer, beside what the paper says. Nothing is run.

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::{Count, Layer};
use vistok::graph::Tensor;
use vistok::models::{Network, Preset, Published, published};

use super::table::{Align, Table};
use super::{Error, presets, speak};

/// Print every layer of a model with its shapes, parameters, multiply-adds and bytes, and what all take; nothing is computed
/// and no adapter is needed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A model, such as resnet50 or vt-resnet18.
    model: String,
    /// Which answer to what the paper leaves open, for VT-ResNets: counted, iccv or early [default: the name's, counted].
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,
    /// An option with another value, by its path in what `--json` prints as `network`: `vt.tokens=32`,
    /// `vt.tokenizer.later="anew"`. May be given several times.
    #[arg(long = "with", value_name = "PATH=VALUE", value_parser = change)]
    changes: Vec<Change>,
    /// Height and width of the images [default: 28x28 for the demo's model, 224x224 for the others].
    #[arg(long, value_name = "HxW", value_parser = presets::size)]
    size: Option<[usize; 2]>,
    /// Number of classes [default: 10 for the demo's model, 1000 for the others].
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Images in the batch that memory is planned for; everything else is said of one image.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// One JSON document on standard output: `macs`, `parameters` (all trainable), `parameters_without_norms`, `layers` and
    /// more.
    #[arg(long)]
    json: bool,
}

/// An option's path and its value.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    path: String,
    value: Value,
}

/// `PATH=VALUE`; what is no JSON is a word.
fn change(text: &str) -> Result<Change, String> {
    let (path, value) = text.split_once('=').ok_or("an option and its value, such as vt.tokens=32")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok(Change { path: path.to_owned(), value })
}

/// Counts.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let default = presets::default(&arguments.model, presets::IMAGENET);
    let [height, width] = arguments.size.unwrap_or([default.image[0], default.image[1]]);
    let image = [height, width, default.image[2]];
    let network = network(arguments, arguments.classes.unwrap_or(default.classes))?;
    let count = Count::of(network.model(), image, arguments.batch as usize)?;
    // The paper's figures are those of one size.
    let told = published().into_iter().filter(|told| image == presets::IMAGENET.image && told.network == network);
    let told: Vec<Published> = told.collect();
    match arguments.json {
        true => speak::say_json(&document(&network, (image, arguments.batch), &count, &told)?),
        false => speak::say(&text(&network, (image, arguments.batch), &count, &told)),
    }
}

/// The model that the arguments name, with what they change.
fn network(arguments: &Arguments, classes: usize) -> Result<Network, Error> {
    let name = match arguments.preset {
        Some(Preset::Counted) | None => arguments.model.clone(),
        Some(preset) => format!("{}-{preset}", arguments.model),
    };
    let network = Network::named(&name, classes).map_err(|error| match arguments.preset {
        Some(preset) if Network::named(&arguments.model, classes).is_ok() => {
            Error::Refused(format!("{} has no preset {preset}: VT-ResNets of 18 to 101 layers have", arguments.model))
        }
        _ => error.into(),
    })?;
    if arguments.changes.is_empty() {
        return Ok(network);
    }
    let mut options = serde_json::to_value(&network).map_err(|error| Error::Refused(error.to_string()))?;
    for Change { path, value } in &arguments.changes {
        let pointer = format!("/{}", path.replace('.', "/"));
        let Some(option) = options.pointer_mut(&pointer) else {
            let all = "`vistok model NAME --json` prints all of them as `network`";
            return Err(Error::Refused(format!("{name} has no option `{path}`; {all}")));
        };
        *option = value.clone();
    }
    Ok(options.to_string().parse()?)
}

fn text(
    network: &Network,
    ([height, width, channels], batch): ([usize; 3], u32),
    count: &Count,
    told: &[Published],
) -> String {
    let left = |head| (head, Align::Left);
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        left("layer"),
        left("op"),
        left("input"),
        left("output"),
        right("parameters"),
        right("MACs"),
        right("bytes"),
    ]);
    for Layer { name, op, input, output, parameters, multiply_adds, activation_bytes } in &count.layers {
        let shape = |tensor: &Tensor| tensor.shape.to_string();
        table.row(vec![
            name.clone(),
            (*op).to_owned(),
            input.as_ref().map(shape).unwrap_or_default(),
            shape(output),
            parameters.to_string(),
            multiply_adds.to_string(),
            activation_bytes.to_string(),
        ]);
    }
    let model = network.model();
    let mega = |number: f64| format!("{:.2} M", number / 1e6);
    let megabytes = |bytes: usize| format!("{:.1} MB", bytes as f64 / 1e6);
    let mut text = format!(
        "{}, one image of {height}x{width}x{channels}, {} classes, f32\n\n{}\n",
        model.name(),
        model.classes(),
        table.text()
    );
    text += &format!("multiply-adds            {}\n", mega(count.multiply_adds() as f64));
    text += &format!("parameters               {}\n", mega(count.parameters as f64));
    text += &format!("  without norms          {}\n", mega(count.parameters_without_norms as f64));
    text += &format!("activations              {}\n", megabytes(count.activation_bytes()));
    text += &format!("peak memory, batch {batch}\n");
    text += &format!("  inference              {}\n", megabytes(count.inference_bytes));
    text += &format!("  training               {}\n", megabytes(count.training_bytes));
    for Published { place, row, figures, remark, .. } in told {
        let (macs, parameters) = (figures.multiply_adds, figures.parameters);
        text += &format!("\nThe paper ({place}, {row}): {macs} M multiply-adds, {parameters} M parameters");
        text += &remark.map_or_else(|| "\n".to_owned(), |remark| format!(";\n{remark}\n"));
    }
    text
}

fn document(
    network: &Network,
    (image, batch): ([usize; 3], u32),
    count: &Count,
    told: &[Published],
) -> Result<Value, Error> {
    let shape = |tensor: &Tensor| tensor.shape.to_vec();
    let layer = |layer: &Layer| {
        json!({
            "name": layer.name,
            "op": layer.op,
            "input": layer.input.as_ref().map(shape),
            "output": shape(&layer.output),
            "parameters": layer.parameters,
            "macs": layer.multiply_adds,
            "activation_bytes": layer.activation_bytes,
        })
    };
    let row = |told: &Published| {
        json!({
            "place": told.place,
            "row": told.row,
            "macs": told.figures.multiply_adds * 1e6,
            "parameters": told.figures.parameters * 1e6,
            "remark": told.remark,
        })
    };
    let options = serde_json::to_value(network).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(json!({
        "model": network.model().name(),
        "network": options,
        "image": image,
        "macs": count.multiply_adds(),
        "parameters": count.parameters,
        "parameters_without_norms": count.parameters_without_norms,
        "activation_bytes": count.activation_bytes(),
        "batch": batch,
        "peak_bytes": { "inference": count.inference_bytes, "training": count.training_bytes },
        "layers": count.layers.iter().map(layer).collect::<Vec<_>>(),
        "published": told.iter().map(row).collect::<Vec<_>>(),
    }))
}
