//! What a picture shows, and where the visual tokens look: PyTorch's weights or our own, in an application of yours.
//!
//! `cargo run --release --example classify -- WEIGHTS IMAGE`. With a ResNet there are classes alone.

use std::error::Error;
use std::path::Path;

use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::infer::{Classifier, Seen, Transform, Wanted};
use vistok::models::Network;
use vistok::picture::Picture;
use vistok::train::weights::Weights;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, image] = &arguments[..] else { return Err("classify WEIGHTS IMAGE".into()) };
    run(Path::new(weights), Path::new(image)).map(drop)
}

/// Everything, start to end.
pub(crate) fn run(weights: &Path, image: &Path) -> Result<Seen, Box<dyn Error>> {
    let weights = Weights::open(weights)?;
    let (network, transform) = (weights.network()?, Transform::of(&weights));
    let wanted = if matches!(network, Network::VtResNet(_)) { Wanted::Tokens } else { Wanted::Classes };

    let device = Device::open(&OpenOptions::default())?;
    let pipelines = Pipelines::new(&device, None);
    let shown = (1, transform.image()); // one image at a time: height, width and channels
    let classifier = Classifier::new((&device, &pipelines), (&network, &weights), shown, wanted)?;
    let numbers = transform.numbers(&transform.view(&Picture::open(image)?)?);
    let seen = classifier.see(&numbers)?.remove(0);

    for ranked in seen.best(5) {
        println!("class {:4}  {:5.1} %", ranked.class, 100.0 * ranked.probability);
    }
    for (at, block) in seen.looks.iter().flat_map(|looks| &looks.blocks).enumerate() {
        for (token, map) in block.iter().enumerate() {
            // A map's shares sum to 1: from nothing to the most, in ten letters.
            let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            let letter = |share: &f32| char::from(b" .:-=+*#%@"[(9.0 * share / most) as usize]);
            println!("block {at}, token {token}");
            let width = seen.looks.as_ref().map_or(1, |looks| looks.size[1]);
            map.chunks(width).for_each(|row| println!("  {}", row.iter().map(letter).collect::<String>()));
        }
    }
    Ok(seen)
}
