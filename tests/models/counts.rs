//! Counts against those published, to their digits; and the page that puts both side by side.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vistok::bench::{Count, Layer, ModelSubject, Task};
use vistok::gpu::Device;
use vistok::kernel::Elem;
use vistok::models::{Depth, Network, Parameters, Preset, Published, VtResNet, published};
use vistok::train::step::evaluation_in;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const IMAGENET: [usize; 3] = [224, 224, 3];

fn counted(network: &Network) -> Result<Count, Box<dyn std::error::Error>> {
    Ok(Count::of(network.model(), IMAGENET, 1)?)
}

/// Multiply-adds of the pyramid, in millions.
fn pyramid(count: &Count) -> Option<f64> {
    let pyramid = count.parts().into_iter().find(|part| part.name == "pyramid")?;
    Some(mega(pyramid.multiply_adds as f64))
}

/// Millions.
fn mega(number: impl Into<f64>) -> f64 {
    number.into() / 1e6
}

/// What an independent count of the same layers gave, by hand from the paper: multiply-adds and parameters without the norms
/// of VT blocks, in millions, of VT-ResNet-18 and 34.
const BY_HAND: [(&str, [f64; 2], [f64; 2]); 10] = [
    ("", [1578.9, 11.64], [3299.0, 21.85]),
    (", pooling tokenizer", [1549.7, 11.03], [3245.3, 20.65]),
    (", without recurrent tokenizer", [1564.1, 11.09], [3269.4, 20.75]),
    (", no interaction", [1527.8, 8.50], [3222.3, 17.13]),
    (", graph convolution", [1528.3, 8.50], [3223.1, 17.13]),
    (", 32 tokens", [1711.0, 11.65], [3514.1, 21.85]),
    (", 64 tokens", [1979.7, 11.66], [3951.5, 21.86]),
    (", without projector", [1497.2, 9.33], [3158.0, 17.34]),
    (", half split, position", [1569.3, 11.68], [3279.6, 21.90]),
    // With one round: 196 x 16 x 256 multiply-adds more, and no W_A of 16 x 256.
    (", clustering tokenizer", [1579.75, 11.64], [3299.81, 21.844]),
];

#[test]
fn counts_are_those_published_and_remarks_say_which_are_not() -> Outcome {
    for Published { place, row, network, image, figures, remark, .. } in published() {
        let count = Count::of(network.model(), image, 1)?;
        let found = mega(count.multiply_adds() as f64);
        // Some rows count norms, some do not; where it matters, the deeper networks do.
        let parameters = [count.parameters, count.parameters_without_norms].map(|numbers| mega(numbers as f64));
        let near = |wanted: f64| parameters.iter().any(|parameters| (parameters - wanted).abs() <= 0.06);
        let said = format!("{place}, {row}: {found} M and {parameters:?} M, published {figures:?}");
        // To the last digit, or one beside it: the paper cuts some numbers off and rounds others.
        let agrees = (found - figures.multiply_adds).abs() <= figures.digit && figures.parameters.is_none_or(near);
        assert_eq!(agrees, remark.is_none(), "{said}");
        let off = figures.pyramid.map(|wanted| pyramid(&count).map_or(f64::NAN, |found| (found - wanted).abs()));
        assert!(off.is_none_or(|off| off <= 100.0), "{said}: its pyramid is {off:?} M off");
    }
    Ok(())
}

#[test]
fn counts_are_those_of_a_count_by_hand() -> Outcome {
    let rows = published();
    for (what, eighteen, thirty_four) in BY_HAND {
        for (layers, [multiply_adds, parameters]) in [(18, eighteen), (34, thirty_four)] {
            let name = format!("VT-ResNet-{layers}{what}");
            let row = rows.iter().find(|row| row.row == name).ok_or_else(|| format!("no row {name}"))?;
            let count = counted(&row.network)?;
            let of_trunk = |layer: &&Layer| layer.op == "batch_norm_fixed" && !layer.name.contains("/vt");
            let norms: usize = count.layers.iter().filter(of_trunk).map(|layer| layer.parameters).sum();
            let found = [count.multiply_adds() as f64, (count.parameters_without_norms + norms) as f64].map(mega);
            // Both to the last digit; one was cut off there and not rounded.
            let near = (found[0] - multiply_adds).abs() <= 0.08 && (found[1] - parameters).abs() <= 0.005;
            assert!(near, "{name}: {found:?}, by hand {multiply_adds} and {parameters}");
        }
    }
    Ok(())
}

/// Detectron2's semantic FPN, and the layers that VT-FPN's figures leave.
#[test]
fn pyramids_are_those_counted_by_hand() -> Outcome {
    for (name, image, classes, total, of_pyramid) in [
        ("fpn-resnet50", [800, 1216, 3], 54, 159.13, 55.10),
        ("fpn-resnet101", [800, 1216, 3], 54, 231.11, 55.10),
        ("vt-fpn-resnet50", [800, 1216, 3], 54, 112.58, 8.54),
        ("fpn-resnet50", [473, 473, 3], 20, 37.33, 12.89),
        ("vt-fpn-resnet50", [473, 473, 3], 20, 26.51, 2.06),
    ] {
        let count = Count::of(Network::named(name, classes)?.model(), image, 1)?;
        let found = [mega(count.multiply_adds() as f64), pyramid(&count).ok_or("no pyramid")?];
        let digits = found.map(|number| (number / 10.0).round() / 100.0);
        assert_eq!(digits, [total, of_pyramid], "{name} {image:?}");
        let names: Vec<String> = count.parts().into_iter().map(|part| part.name).collect();
        assert_eq!(names, ["backbone", "pyramid", "head"]);
    }
    Ok(())
}

#[test]
fn resnets_are_torchvisions() -> Outcome {
    for (name, multiply_adds, parameters) in [
        ("resnet18", 1814.1, 11_689_512),
        ("resnet34", 3663.8, 21_797_672),
        ("resnet50", 4089.2, 25_557_032),
        ("resnet101", 7801.4, 44_549_160),
    ] {
        let count = counted(&Network::named(name, 1000)?)?;
        let found = mega(count.multiply_adds() as f64);
        assert!((found - multiply_adds).abs() <= 0.06, "{name}: {found} M multiply-adds, published {multiply_adds}");
        assert_eq!(count.parameters, parameters, "{name}");
    }
    Ok(())
}

/// Those that are trained on Fashion-MNIST and compared: multiply-adds by hand, alike within 2 %.
#[test]
fn networks_for_fashion_mnist_cost_the_same() -> Outcome {
    let counted = |name| -> Result<f64, Box<dyn std::error::Error>> {
        Ok(mega(Count::of(Network::named(name, 10)?.model(), [28, 28, 1], 1)?.multiply_adds() as f64))
    };
    let [plain, visual] = [counted("resnet-fashion")?, counted("vt-resnet-fashion")?];
    assert!((plain - 123.86).abs() < 0.005 && (visual - 123.82).abs() < 0.005, "{plain} and {visual} M");
    assert!((visual / plain - 1.0).abs() < 0.02);
    Ok(())
}

/// What is listed is what runs: fused for inference, and with gradients in training, and nothing is counted twice or not.
/// Listed are a network's own products; some run in another order, which takes fewer.
#[test]
fn what_is_counted_is_what_runs() -> Outcome {
    let device = Device::rehearsal()?;
    let images = |batch| [batch, 64, 96, 3];
    for network in Network::presets(7).into_iter().filter(|network| !network.model().name().ends_with("-demo")) {
        let (model, name) = (network.model(), network.model().name());
        let count = Count::of(model, [64, 96, 3], 2)?;
        let listed: usize = count.layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(listed, count.parameters, "{name}: parameters");
        assert!(count.parameters > count.parameters_without_norms, "{name}: its trunk has norms");
        let subject = ModelSubject { model, images: images(2), elem: Elem::F32, task: Task::Forward };
        let (graph, _) = subject.graph()?;
        let plan = subject.plan(&device)?;
        let run: u64 = plan.nodes().iter().map(|planned| graph.cost(planned.node).multiply_adds).sum();
        let built = evaluation_in(Elem::F32, model, &mut Parameters::new(), images(2))?;
        let listed: u64 = (0..built.nodes().len()).map(|node| built.cost(node).multiply_adds).sum();
        // Where the taps of a window lie is the same for all images.
        let of_taps = |layer: &&Layer| layer.name.contains("/geometry");
        let shared: u64 = count.layers.iter().filter(of_taps).map(|layer| layer.multiply_adds).sum();
        assert_eq!(listed + shared, 2 * count.multiply_adds(), "{name}: of two images");
        // Maps of pixels move to tokens; images get a fourth channel.
        let stem = count.layers.iter().find(|layer| layer.op == "conv2d").map_or(0, |stem| 2 * stem.multiply_adds / 3);
        // So do those that attention is made of: a channel more of 7x7 for each of nine taps, of what has as many channels as go in.
        let adapted = count.layers.iter().filter(|layer| layer.op == "spatially_adaptive_conv");
        let fourth = stem + adapted.map(|layer| 2 * 49 * 9 * layer.output.shape.count() as u64).sum::<u64>();
        let fewer = if name == "vt-resnet50" {
            run < listed + fourth
        } else {
            run == listed + fourth || name.starts_with("vt-")
        };
        assert!(fewer && run <= listed + fourth, "{name}: {run} run, {listed} listed");
        assert!(count.training_bytes > count.inference_bytes, "{name}: training keeps more");
        assert!(count.inference_bytes > 4 * count.parameters, "{name}: weights are there, too");
    }
    Ok(())
}

#[test]
fn any_size_and_any_number_of_classes_is_counted() -> Outcome {
    for preset in Preset::ALL {
        for depth in [Depth::D18, Depth::D50] {
            let network = |classes| Network::from(VtResNet::imagenet(depth, preset, classes));
            let [few, many] = [network(3), network(1003)].map(|network| Count::of(network.model(), [65, 97, 1], 1));
            let (few, many) = (few?, many?);
            let width = many.layers.last().and_then(|layer| layer.input.clone()).ok_or("no head")?.shape.count();
            assert_eq!(many.multiply_adds() - few.multiply_adds(), 1000 * width as u64);
            assert_eq!(many.parameters - few.parameters, 1000 * (width + 1));
        }
    }
    Ok(())
}

/// The page, beside this file.
fn page() -> Result<String, Box<dyn std::error::Error>> {
    let mut text = "# What the paper says and what we count\n\n\
        Millions, for one image of 224x224 and 1,000 classes. The paper's \"FLOPs\" are multiply-adds of convolutions, linear maps \
        and attention products. Ours are those of the graph that runs (`vistok model NAME`); `cargo test --test models` holds \
        them, and writes this page with `WRITE_PAGE=1`.\n\n\
        | where | network | multiply-adds there | here | parameters there | here, without norms | all | remark |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let (of_pixels, of_images): (Vec<_>, Vec<_>) =
        published().into_iter().partition(|row| row.figures.pyramid.is_some());
    for Published { place, row, network, figures, remark, .. } in of_images {
        let count = counted(&network)?;
        writeln!(
            text,
            "| {place} | {row} | {} | {:.1} | {} | {:.2} | {:.2} | {} |",
            figures.multiply_adds,
            mega(count.multiply_adds() as f64),
            figures.parameters.unwrap_or_default(),
            mega(count.parameters_without_norms as f64),
            mega(count.parameters as f64),
            remark.unwrap_or_default(),
        )?;
    }
    text += "\nSegmentation, billions, of 800x1216 and 54 classes (COCO-stuff) or 473x473 and 20 (LIP):\n\n\
        | where | network | multiply-adds there | here | of the pyramid there | here | remark |\n|---|---|---|---|---|---|---|\n";
    for Published { place, row, network, image, figures, remark, .. } in of_pixels {
        let count = Count::of(network.model(), image, 1)?;
        let [there, here] = [figures.multiply_adds, mega(count.multiply_adds() as f64)].map(|number| number / 1e3);
        let [pyramid_there, pyramid_here] =
            [figures.pyramid, pyramid(&count)].map(|number| number.unwrap_or_default() / 1e3);
        let remark = remark.unwrap_or_default();
        writeln!(text, "| {place} | {row} | {there} | {here:.2} | {pyramid_there} | {pyramid_here:.2} | {remark} |")?;
    }
    text += "\nThe presets, with nothing in the paper to compare them with but the counted one:\n\n\
        | network | multiply-adds | parameters without norms | all |\n|---|---|---|---|\n";
    // Those for small images have no counts at 224x224 that anybody would want.
    let small = |name: &str| name.ends_with("-demo") || name.ends_with("-fashion");
    for network in VtResNet::presets(1000).into_iter().filter(|network| !small(&network.name)) {
        let network = Network::from(network);
        let count = counted(&network)?;
        let [macs, without, all] =
            [count.multiply_adds() as f64, count.parameters_without_norms as f64, count.parameters as f64];
        let name = network.model().name();
        writeln!(text, "| {name} | {:.1} | {:.2} | {:.2} |", mega(macs), mega(without), mega(all))?;
    }
    Ok(text)
}

#[test]
fn the_page_is_what_is_counted() -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/README.md");
    let page = page()?;
    if std::env::var("WRITE_PAGE").is_ok() {
        fs::write(&file, &page)?;
    }
    let known = fs::read_to_string(&file)?;
    assert!(known == page, "tests/models/README.md is not what is counted; WRITE_PAGE=1 writes it");
    Ok(())
}
