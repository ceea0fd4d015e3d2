//! Random changes of training pictures: bit for bit Pillow's, levels as two public codes number them, draws as often as they should be.
//!
//! `tests/oracle/write_augment.py` computed what is expected.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use vistok::picture::Picture;
use vistok::train::Samples;
use vistok::train::augment::{Change, Filter, Operation, POLICY, Reading, random_crop};
use vistok::train::batches::{Augmentation, Batches, Normalization, SplitMix64};
use vistok::train::data::{Images, Target};

type Outcome = Result<(), Box<dyn Error>>;

fn told() -> Result<Json, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/augment.json");
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn list(told: &Json) -> &[Json] {
    told.as_array().expect("a list")
}

fn text(told: &Json) -> &str {
    told.as_str().expect("a text")
}

fn whole(told: &Json) -> usize {
    told.as_u64().expect("a whole number") as usize
}

fn number(told: &Json) -> f64 {
    told.as_f64().expect("a number")
}

/// FNV-1a, as the script has it.
fn digest(picture: &Picture) -> String {
    let state =
        picture.pixels.iter().fold(0x811c_9dc5u32, |state, &byte| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{state:08x}")
}

/// The script's pictures by name.
fn pictures(told: &Json) -> Vec<(&str, Picture)> {
    let picture = |row: &Json| {
        let [height, width, channels] = [1, 2, 3].map(|at| whole(&row[at]));
        let digits = text(&row[4]).as_bytes();
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).expect("digits"), 16).expect("a byte");
        Picture { size: [height, width], channels, pixels: digits.chunks_exact(2).map(byte).collect() }
    };
    list(&told["pictures"]).iter().map(|row| (text(&row[0]), picture(row))).collect()
}

/// The one whose name in code is `name`.
fn named<T: Copy + std::fmt::Debug>(all: &[T], name: &Json) -> T {
    *all.iter().find(|one| format!("{one:?}") == text(name)).unwrap_or_else(|| panic!("{name} is not known"))
}

#[test]
fn every_operation_gives_pillows_bits() -> Outcome {
    let told = told()?;
    let pictures = pictures(&told);
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for row in list(&told["changes"]) {
        let change = Change {
            operation: named(&Operation::ALL, &row[0]),
            by: number(&row[1]),
            filter: named(&[Filter::Nearest, Filter::Bilinear, Filter::Bicubic], &row[2]),
        };
        seen.push(change.operation);
        for ((name, picture), expected) in pictures.iter().zip(list(&row[3])) {
            let mut picture = picture.clone();
            change.apply(&mut picture)?;
            if digest(&picture) != text(expected) {
                wrong.push(format!("{change:?} of `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are not Pillow's:\n{}", wrong.len(), wrong.join("\n"));
    assert!(Operation::ALL.iter().all(|operation| seen.contains(operation)), "an operation is not compared");
    Ok(())
}

#[test]
fn levels_are_numbered_as_the_public_codes_do() -> Outcome {
    let told = told()?;
    for reading in Reading::ALL {
        for operation in Operation::ALL {
            let expected = &told["magnitudes"][format!("{reading:?}")][format!("{operation:?}")];
            for level in 0..10 {
                let expected = expected.get(usize::from(level)).map_or(0.0, number);
                let found = reading.magnitude(operation, level);
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{reading:?} {operation:?} {level}: {found} {expected}"
                );
            }
        }
    }
    let lines = POLICY.map(|line| line.map(|(operation, tenths, level)| (format!("{operation:?}"), tenths, level)));
    assert_eq!(serde_json::to_value(lines.to_vec())?, told["policy"]);
    Ok(())
}

#[test]
fn whole_policies_give_pillows_bits() -> Outcome {
    let told = told()?;
    let pictures = pictures(&told);
    for reading in Reading::ALL {
        for (seed, expected) in list(&told["applied"][format!("{reading:?}")]).iter().enumerate() {
            let (name, mut picture) = pictures[seed % pictures.len()].clone();
            let drawn = reading.draw(&mut SplitMix64::of(&[seed as u64]));
            reading.apply(&mut picture, &mut SplitMix64::of(&[seed as u64]))?;
            assert_eq!(digest(&picture), text(expected), "{reading:?} with seed {seed} of `{name}`: {drawn:?}");
        }
    }
    Ok(())
}

#[test]
fn crops_are_torchvisions() -> Outcome {
    for row in list(&told()?["crops"]) {
        let [height, width, seed] = [0, 1, 2].map(|at| whole(&row[at]));
        let crop = random_crop([height, width], [32, 32], [0.08, 1.0], &mut SplitMix64::of(&[seed as u64]));
        let expected = list(&row[3]).iter().map(whole).collect::<Vec<_>>();
        assert_eq!([crop.first, crop.size].concat(), expected, "of {height} x {width} with seed {seed}");
    }
    Ok(())
}

/// That `count` of `of` are as many as a chance gives, within five standard deviations; never and always are exact.
fn as_often(count: u64, of: u64, chance: f64, what: &str) {
    let (mean, deviation) = (of as f64 * chance, (of as f64 * chance * (1.0 - chance)).sqrt());
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{what}: {count} of {of}, which should be {mean}");
}

#[test]
fn every_line_entry_sign_and_filter_is_drawn_as_often_as_it_should_be() {
    const DRAWS: u64 = 100_000;
    for reading in Reading::ALL {
        let (mut lines, mut done) = ([0; 25], [[0; 2]; 25]);
        let (mut more, mut bicubic) = ([[0; 2]; 25], [[0; 2]; 25]);
        for seed in 0..DRAWS {
            let drawn = reading.draw(&mut SplitMix64::of(&[9, seed]));
            lines[drawn.line] += 1;
            for (at, change) in drawn.changes.iter().enumerate() {
                let Some(Change { operation, by, filter }) = *change else { continue };
                let (expected, _, level) = POLICY[drawn.line][at];
                let magnitude = reading.magnitude(expected, level);
                let enhances = matches!(expected, Operation::Color | Operation::Contrast | Operation::Sharpness);
                let less = if enhances { 2.0 - by } else { -by };
                let size = if enhances && reading == Reading::DeepVoltaire { magnitude + 1.0 } else { magnitude };
                assert!(operation == expected && [by, less].iter().any(|by| (by - size).abs() < 1e-12), "{drawn:?}");
                done[drawn.line][at] += 1;
                more[drawn.line][at] += u64::from(by == size);
                bicubic[drawn.line][at] += u64::from(filter == Filter::Bicubic);
            }
        }
        for line in 0..25 {
            as_often(lines[line], DRAWS, 1.0 / 25.0, &format!("{reading:?} line {line}"));
            for (at, (operation, tenths, level)) in POLICY[line].into_iter().enumerate() {
                let what = format!("{reading:?} line {line} {operation:?}");
                let times = done[line][at];
                as_often(times, lines[line], f64::from(tenths) / 10.0, &what);
                let moves = matches!(operation, Operation::Rotate | Operation::ShearX);
                let enhances = matches!(operation, Operation::Color | Operation::Contrast | Operation::Sharpness);
                // Of 0 both signs are the same.
                let signed = (moves || enhances && reading == Reading::DeepVoltaire) && level > 0;
                as_often(more[line][at], times, if signed { 0.5 } else { 1.0 }, &format!("{what}, its sign"));
                let chance = match (reading, operation) {
                    (Reading::Timm, _) if moves => 0.5,
                    (Reading::DeepVoltaire, Operation::ShearX) => 1.0,
                    _ => 0.0,
                };
                as_often(bicubic[line][at], times, chance, &format!("{what}, its filter"));
            }
        }
    }
}

/// Noise: six pictures of 7 x 5 pixels.
fn images(channels: usize, target: Target) -> Images {
    let mut random = SplitMix64::of(&[3]);
    let labels = 6 * target.labels([1, 7, 5, channels]).count();
    let pixels = (0..6 * 35 * channels).map(|_| random.below(256) as u8).collect();
    Images { height: 7, width: 5, channels, pixels, labels: vec![1; labels], target, classes: 2 }
}

#[test]
fn images_are_changed_behind_flip_and_shift_and_pixels_with_labels_never() -> Outcome {
    let plain = Augmentation { flip: true, shift: 1, policy: None };
    for (channels, target) in [(1, Target::Images), (3, Target::Images), (3, Target::Pixels)] {
        let images = images(channels, target);
        let mut changed = 0;
        for (index, reading) in (0..6).flat_map(|index| Reading::ALL.map(|reading| (index, reading))) {
            let chance = |seed, policy| Some((SplitMix64::of(&[seed]), Augmentation { policy, ..plain }));
            let sample = |seed, policy| -> Result<(Vec<u8>, Vec<u32>), Box<dyn Error>> {
                let mut made = (vec![0; 35 * channels], vec![0; images.labels_per_image()]);
                images.sample(index, chance(seed, policy), &mut made.0, &mut made.1)?;
                Ok(made)
            };
            for seed in 0..20 {
                let (before, labels) = sample(seed, None)?;
                let after = sample(seed, Some(reading))?;
                let mut picture = Picture { size: [7, 5], channels, pixels: before.clone() };
                let mut random = SplitMix64::of(&[seed]);
                // What flip and shift draw.
                for bound in [2, 3, 3] {
                    random.below(bound);
                }
                if target == Target::Images {
                    reading.apply(&mut picture, &mut random)?;
                }
                assert_eq!(after, (picture.pixels, labels), "image {index}, seed {seed}, {reading:?}");
                changed += usize::from(after.0 != before);
            }
        }
        assert_eq!(changed > 100, target == Target::Images, "{changed} of 240 are changed");
    }
    Ok(())
}

#[test]
fn runs_without_a_policy_note_what_they_noted_before() {
    let noted = |policy| format!("{:?}", Augmentation { flip: true, shift: 2, policy });
    assert_eq!(noted(None), "Augmentation { flip: true, shift: 2 }");
    assert_eq!(noted(Some(Reading::Timm)), "Augmentation { flip: true, shift: 2, policy: Timm }");
    assert_ne!(noted(Some(Reading::DeepVoltaire)), noted(Some(Reading::Timm)));
}

#[test]
fn pictures_that_are_none_and_numbers_beyond_reason_are_no_panic() {
    let picture = |size, channels, count| Picture { size, channels, pixels: vec![7; count] };
    let wrong = [([0, 4], 1, 0), ([2, 2], 2, 8), ([2, 2], 3, 11), ([usize::MAX, 8], 3, 0)];
    for (size, channels, count) in wrong {
        let mut picture = picture(size, channels, count);
        let error = Reading::Timm.apply(&mut picture, &mut SplitMix64::of(&[0])).expect_err("refused").to_string();
        assert!(error.contains(&format!("{} x {} x {channels}", size[0], size[1])), "{error}");
    }
    for operation in Operation::ALL {
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic] {
            for by in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1e9, 1e-300] {
                Change { operation, by, filter }.apply(&mut picture([3, 4], 3, 36)).expect("some picture");
            }
        }
    }
    let images = Images { channels: 2, pixels: vec![0; 6 * 35 * 2], ..images(1, Target::Images) };
    let augmentation = Augmentation { policy: Some(Reading::Timm), ..Augmentation::default() };
    let batches = Batches::new(&images, Normalization { mean: 0.0, std: 1.0 }, 2, 0, augmentation).expect("a batch");
    let error = batches.epoch(0).batch(0, &mut Vec::new(), &mut Vec::new()).expect_err("two channels").to_string();
    assert!(error.contains("7 x 5 x 2"), "{error}");
}
