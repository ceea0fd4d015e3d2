//! How many images a second the loader makes for training, alone: read, decoded, augmented and turned into numbers on all cores, as the
//! thread does that feeds a GPU. No GPU.
//!
//! The images are Fashion-MNIST's that the program carries, 28x28, and pictures of a usual size in files, of which parts of 224x224 are
//! seen. `FEED_DATA` may name others, as `vistok train --data` takes them.

use std::error::Error;
use std::path::Path;

use criterion::{Criterion, Throughput};
use image::{ImageFormat, RgbImage};
use vistok::models::Target;
use vistok::train::augment::Reading;
use vistok::train::batches::{Augmentation, Batches};
use vistok::train::data::Source;
use vistok::train::{Split, View};

/// Images in a batch.
const BATCH: usize = 256;
/// Width and height of a picture in a file, about ImageNet's mean.
const PICTURE: [u32; 2] = [500, 375];
/// Different pictures of a kind.
const PICTURES: u32 = 16;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion, "28x28", &Source::Embedded)?;
    for (name, format) in [("jpeg", ImageFormat::Jpeg), ("png", ImageFormat::Png)] {
        let folder = tempfile::tempdir()?;
        pictures(folder.path(), format)?;
        bench(&mut criterion, name, &Source::Folder(folder.path().to_owned()))?;
    }
    if let Ok(data) = std::env::var("FEED_DATA") {
        bench(&mut criterion, "given", &data.parse()?)?;
    }
    criterion.final_summary();
    Ok(())
}

/// Each with nothing done to it, with what small images get, and with AutoAugment.
fn bench(criterion: &mut Criterion, name: &str, source: &Source) -> Outcome {
    let view = View { size: [224, 224], scale: [0.08, 1.0] };
    let train = Split::open(source, Target::Images, view)?.train;
    let plain = Augmentation::default();
    let moved = Augmentation { flip: true, shift: 2, policy: None };
    let policy = Augmentation { policy: Some(Reading::DeepVoltaire), shift: 0, ..moved };
    let mut group = criterion.benchmark_group("feed");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (how, augmentation) in [("plain", plain), ("flip, shift", moved), ("AutoAugment", policy)] {
        let size = BATCH.min(train.count());
        let batches = Batches::new(&*train, train.normalization()?, size, 1, augmentation)?;
        let epoch = batches.epoch(0);
        let (mut pixels, mut labels, mut at) = (Vec::new(), Vec::new(), 0);
        group.bench_function(format!("{name} {how}"), |bencher| {
            bencher.iter(|| {
                // A bench that cannot run must not look like a fast one.
                epoch.batch(at, &mut pixels, &mut labels).unwrap_or_else(|error| panic!("{name}: {error}"));
                at = (at + 1) % batches.count();
            });
        });
    }
    group.finish();
    Ok(())
}

/// A folder of a batch's pictures of two classes: waves of many colors with some noise, so that they are neither easy nor hard to pack.
fn pictures(folder: &Path, format: ImageFormat) -> Outcome {
    let [width, height] = PICTURE;
    let ending = format.extensions_str()[0];
    let files = |picture: u32| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut noise = picture;
        let image = RgbImage::from_fn(width, height, |x, y| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = |by: u32| 110.0 + 80.0 * ((x * by + y * (picture + 1)) as f32 / 97.0).sin();
            image::Rgb([1, 2, 3].map(|by| (wave(by) + (noise >> 28) as f32) as u8))
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format)?;
        Ok(bytes.into_inner())
    };
    let files = (0..PICTURES).map(files).collect::<Result<Vec<_>, _>>()?;
    for (split, count) in [("train", BATCH), ("test", 2)] {
        for at in 0..count {
            let class = folder.join(split).join(format!("class{}", at % 2));
            std::fs::create_dir_all(&class)?;
            std::fs::write(class.join(format!("{at}.{ending}")), &files[at % files.len()])?;
        }
    }
    Ok(())
}
