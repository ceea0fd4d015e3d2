//! `vistok model`: what a model costs, layer by layer, beside what the paper says. Nothing is run.

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::{Count, Layer, Part};
use vistok::graph::Tensor;
use vistok::models::fpn::Pyramid;
use vistok::models::{Figures, Network, Preset, Published, Target, published};

use super::options::OptionsArgument;
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
    #[command(flatten)]
    options: OptionsArgument,
    /// Height and width of the images [default: 28x28 for the demo's model and Fashion-MNIST's, 800x1216 for FPNs, 224x224 for the others].
    #[arg(long, value_name = "HxW", value_parser = presets::size)]
    size: Option<[usize; 2]>,
    /// Number of classes [default: 10 for the demo's model and Fashion-MNIST's, 54 for FPNs, 1000 for the others].
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Images in the batch that memory is planned for; everything else is said of one image.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// One JSON document on standard output: `macs`, `parameters` (all trainable), `parameters_without_norms`, `parts` (of an FPN
    /// `backbone`, `pyramid` and `head`), `layers` and more.
    #[arg(long)]
    json: bool,
}

/// Counts.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let default = presets::published(&arguments.model);
    let [height, width] = arguments.size.unwrap_or([default.image[0], default.image[1]]);
    let image = [height, width, default.image[2]];
    let network = network(arguments, arguments.classes.unwrap_or(default.classes))?;
    let count = Count::of(network.model(), image, arguments.batch as usize)?;
    // The paper's figures are those of one size.
    let told: Vec<Published> =
        published().into_iter().filter(|told| told.image == image && told.network == network).collect();
    let beside = convolutions(&network, image)?;
    let said = Said { network: &network, image, batch: arguments.batch, count: &count, beside, told: &told };
    match arguments.json {
        true => speak::say_json(&said.document()?),
        false => speak::say(&said.text()),
    }
}

/// Multiply-adds of the pyramid of convolutions that visual tokens stand in the place of, where they do.
fn convolutions(network: &Network, [height, width, channels]: [usize; 3]) -> Result<Option<u64>, Error> {
    let Network::Fpn(fpn) = network else { return Ok(None) };
    if fpn.pyramid == Pyramid::Convolutions {
        return Ok(None);
    }
    let count = Count::of(&fpn.with_convolutions(), [height, width, channels], 1)?;
    Ok(count.parts().into_iter().find(|part| part.name == PYRAMID).map(|part| part.multiply_adds))
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
    arguments.options.applied(network)
}

/// The part that visual tokens replace.
const PYRAMID: &str = "pyramid";

/// What is known of a model.
struct Said<'a> {
    network: &'a Network,
    image: [usize; 3],
    batch: u32,
    count: &'a Count,
    /// Multiply-adds of the convolutions that its pyramid replaces.
    beside: Option<u64>,
    told: &'a [Published],
}

impl Said<'_> {
    fn text(&self) -> String {
        let (model, count, [height, width, channels]) = (self.network.model(), self.count, self.image);
        let of_pixels = model.target() == Target::Pixels;
        let large = of_pixels && count.multiply_adds() > 1_000_000_000;
        let number = |number: f64| if large { format!("{:.2} G", number / 1e9) } else { mega(number) };
        let megabytes = |bytes: usize| format!("{:.1} MB", bytes as f64 / 1e6);
        let mut text = format!(
            "{}, one image of {height}x{width}x{channels}, {} classes, f32\n\n{}\n",
            model.name(),
            model.classes(),
            layers(count)
        );
        text += &format!("multiply-adds            {}\n", number(count.multiply_adds() as f64));
        for Part { name, multiply_adds, .. } in count.parts().iter().filter(|_| of_pixels) {
            text += &format!("  {name:<23}{}", number(*multiply_adds as f64));
            if let Some(beside) = self.beside.filter(|_| name == PYRAMID) {
                let times = beside as f64 / *multiply_adds as f64;
                text += &format!(", {times:.1} times fewer than the {} of convolutions", number(beside as f64));
            }
            text += "\n";
        }
        text += &format!("parameters               {}\n", mega(count.parameters as f64));
        text += &format!("  without norms          {}\n", mega(count.parameters_without_norms as f64));
        text += &format!("activations              {}\n", megabytes(count.activation_bytes()));
        text += &format!("peak memory, batch {}\n", self.batch);
        text += &format!("  inference              {}\n", megabytes(count.inference_bytes));
        text += &format!("  training               {}\n", megabytes(count.training_bytes));
        for Published { place, row, figures, remark, .. } in self.told {
            let Figures { multiply_adds, parameters, pyramid, .. } = figures;
            text += &format!("\nThe paper ({place}, {row}): {multiply_adds} M multiply-adds");
            text += &parameters.map_or_else(String::new, |parameters| format!(", {parameters} M parameters"));
            text += &pyramid.map_or_else(String::new, |pyramid| format!(", {pyramid} M in the pyramid"));
            text += &remark.map_or_else(|| "\n".to_owned(), |remark| format!(";\n{remark}\n"));
        }
        text
    }

    fn document(&self) -> Result<Value, Error> {
        let (network, count) = (self.network, self.count);
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
        let part = |part: Part| {
            let Part { name, parameters, multiply_adds, activation_bytes } = part;
            (name, json!({ "macs": multiply_adds, "parameters": parameters, "activation_bytes": activation_bytes }))
        };
        let row = |told: &Published| {
            json!({
                "place": told.place,
                "row": told.row,
                "macs": told.figures.multiply_adds * 1e6,
                "parameters": told.figures.parameters.map(|parameters| parameters * 1e6),
                "pyramid_macs": told.figures.pyramid.map(|pyramid| pyramid * 1e6),
                "remark": told.remark,
            })
        };
        let options = serde_json::to_value(network).map_err(|error| Error::Refused(error.to_string()))?;
        let mut parts: serde_json::Map<String, Value> = count.parts().into_iter().map(part).collect();
        if let (Some(beside), Some(Value::Object(pyramid))) = (self.beside, parts.get_mut(PYRAMID)) {
            pyramid.insert("macs_of_convolutions".to_owned(), beside.into());
        }
        Ok(json!({
            "model": network.model().name(),
            "network": options,
            "image": self.image,
            "macs": count.multiply_adds(),
            "parameters": count.parameters,
            "parameters_without_norms": count.parameters_without_norms,
            "activation_bytes": count.activation_bytes(),
            "batch": self.batch,
            "peak_bytes": { "inference": count.inference_bytes, "training": count.training_bytes },
            "parts": parts,
            "layers": count.layers.iter().map(layer).collect::<Vec<_>>(),
            "published": self.told.iter().map(row).collect::<Vec<_>>(),
        }))
    }
}

fn mega(number: f64) -> String {
    format!("{:.2} M", number / 1e6)
}

/// The table of all layers.
fn layers(count: &Count) -> String {
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
    table.text()
}
