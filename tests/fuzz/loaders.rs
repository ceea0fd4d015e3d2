//! What each fuzz target does with bytes from outside; the corpus test does the same with the kept inputs.
//!
//! A target fails by a panic (its own `assert!`s among them), by memory or by time, never by an error value.

use std::collections::HashMap;
use std::io::Read;

use safetensors::tensor::TensorView;
use vistok::gpu::OpenOptions;
use vistok::infer::Transform;
use vistok::kernel::Capabilities;
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::models::{Network, Parameters, ResNet, by_name};
use vistok::picture::{Mask, Picture};
use vistok::plan::{Layout, Options, Plan};
use vistok::train::Teacher;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::data::{Source, gunzip};
use vistok::train::idx::{read_images, read_labels};
use vistok::train::step::evaluation;
use vistok::train::weights::{Weights, declared};
use vistok::verify::CaseFile;

/// The most bytes of a case file whose maths is computed here: more may rightly take a minute.
const SMALL: usize = 2048;

/// A target's name and what it does.
pub(crate) type Loader = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const LOADERS: [Loader; 8] = [
    ("checkpoint", checkpoint),
    ("about", about),
    ("weights", weights),
    ("picture", picture),
    ("idx", idx),
    ("gzip", gzip),
    ("case", case),
    ("words", words),
];

/// A weight file, and then all that `vistok eval` does with it before there is a device.
pub(crate) fn checkpoint(bytes: &[u8]) {
    let _ = planned(bytes);
}

/// What of a weight file can be planned.
pub(crate) fn planned(bytes: &[u8]) -> Option<Plan> {
    let file = Checkpoint::parse("fuzzed", bytes.to_vec()).ok()?;
    let about = file.about();
    let std = about.normalization.std;
    assert!(std.is_finite() && std > 0.0, "{std} passed as a normalization");
    let network = about.network().ok()?;
    let [height, width, channels] = about.image;
    let images = [about.batch, height, width, channels];
    let graph = evaluation(network.model(), &mut Parameters::new(), images).ok()?;
    let machine = Capabilities::portable();
    let layout = Layout::of(&[&graph], machine.offset_alignment).ok()?;
    let _ = file.check(&layout);
    Plan::new(&graph, &layout, &machine, Options::default()).ok()
}

/// Weights, and what every command does with them before there is a device; or what a teacher has said.
pub(crate) fn weights(bytes: &[u8]) {
    let _ = weighed(bytes);
    let _ = Teacher::parse("fuzzed", bytes.to_vec());
}

/// How many numbers of a network as small as they get, if the file holds all of them.
pub(crate) fn weighed(bytes: &[u8]) -> Option<usize> {
    let weights = Weights::parse("fuzzed", bytes.to_vec()).ok()?;
    if weights.about().is_some() {
        let _ = weights.network();
    }
    assert!(weights.classes().is_none_or(|classes| classes <= bytes.len()) && !weights.image().contains(&0));
    let parameters = declared(&tiny(), [8, 8, 1]).ok()?;
    weights.check("fuzzed", &parameters).ok()?;
    let mut count = 0;
    for parameter in parameters.iter() {
        let numbers = weights.numbers(parameter).ok()?;
        assert!(numbers.len() == parameter.tensor.shape.count() && numbers.iter().all(|number| number.is_finite()));
        count += numbers.len();
    }
    Some(count)
}

/// A residual network of a few hundred numbers, with every kind of layer.
fn tiny() -> ResNet {
    let stages = vec![Stage { channels: 2, blocks: 1, stride: 1 }, Stage { channels: 4, blocks: 1, stride: 2 }];
    let stem = Stem::Small { kernel: 1, channels: 2, stride: 1, pool: false };
    ResNet { name: "tiny".to_owned(), trunk: Trunk::new(stem, Block::Basic, stages), classes: 2 }
}

/// A picture, and what a network would be shown of it; or a mask.
pub(crate) fn picture(bytes: &[u8]) {
    let _ = shown(bytes);
    if let Ok(mask) = Mask::decode("fuzzed", bytes) {
        assert!(mask.classes.len() == mask.size[0] * mask.size[1]);
    }
}

/// What a network would be shown of a file.
pub(crate) fn shown(bytes: &[u8]) -> Option<Vec<f32>> {
    let picture = Picture::decode("fuzzed", bytes).ok()?;
    assert!(picture.pixels.len() == picture.size[0] * picture.size[1] * 3);
    let transform = Transform::imagenet([16, 12], 3);
    let numbers = transform.numbers(&transform.view(&picture).ok()?);
    assert!(numbers.len() == 16 * 12 * 3);
    Some(numbers)
}

/// The same as [`checkpoint`], from the text that stands in a weight file's metadata: mutations of it need no luck with the format around.
pub(crate) fn about(bytes: &[u8]) {
    checkpoint(&noted(bytes));
}

/// A weight file of no tensors with this text.
pub(crate) fn noted(bytes: &[u8]) -> Vec<u8> {
    let noted = HashMap::from([("vistok".to_owned(), String::from_utf8_lossy(bytes).into_owned())]);
    let none = Vec::<(String, TensorView<'_>)>::new();
    safetensors::serialize(none, Some(noted)).unwrap_or_default()
}

/// Images and labels as they are.
pub(crate) fn idx(bytes: &[u8]) {
    if let Ok(images) = read_images(bytes, "fuzzed") {
        assert!(images.count * images.height * images.width == images.pixels.len());
        assert!(images.pixels.len() + 16 == bytes.len(), "bytes were passed over");
    }
    if let Ok(labels) = read_labels(bytes, "fuzzed", 10) {
        assert!(labels.len() + 8 == bytes.len() && labels.iter().all(|&label| label < 10));
    }
}

/// Images and labels out of gzip.
pub(crate) fn gzip(bytes: &[u8]) {
    if let Ok(images) = read_images(gunzip(bytes), "fuzzed") {
        let mut all = Vec::new();
        let more = images.pixels.len() as u64 + 100;
        let read = gunzip(bytes).take(more).read_to_end(&mut all);
        assert!(read.is_ok_and(|read| read == images.pixels.len() + 16), "bytes were passed over");
    }
    let _ = read_labels(gunzip(bytes), "fuzzed", 10);
}

/// A case file, and what the ops' maths says to a small one.
pub(crate) fn case(bytes: &[u8]) {
    let Ok(case) = CaseFile::parse(bytes) else { return };
    if bytes.len() <= SMALL {
        for row in case.maths() {
            assert!(!row.tensor.is_empty());
        }
    }
}

/// Arguments that are little languages of their own.
pub(crate) fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(Source::FashionMnist(dir)) = text.parse() {
        assert!(!dir.as_os_str().is_empty());
    }
    let _ = by_name(&text, bytes.len());
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse(), Ok(network), "a network does not survive its own words");
    }
    let options = OpenOptions { adapter: Some(text.clone()), ..OpenOptions::default() };
    let named = options.takes(7, &text);
    assert!(named || text.parse::<usize>().is_ok(), "an adapter is not found by its own name");
}
