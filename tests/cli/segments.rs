//! `vistok segment`, and what `train`, `eval` and `demo` do with networks that segment.

use std::collections::BTreeSet;
use std::path::Path;

use vistok::models::Network;
use vistok::picture::Picture;
use vistok::train::weights::{declared, export};

use super::sight::resnet18;
use super::{Outcome, document, drawn, has_adapter, output, refusal, text, vistok};

#[test]
fn segments_are_as_large_as_their_picture_and_a_network_without_is_refused() -> Outcome {
    if !has_adapter("segment") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (waves, out) = (drawn::beside("waves.jpg"), folder.path().join("mask.png"));
    let weights = folder.path().join("fpn.safetensors");
    let parameters = declared(Network::named("vt-fpn-small", 6)?.model(), [40, 60, 3])?;
    export(&weights, &parameters, None, |parameter| Ok(parameter.initial(3)))?;
    let segment = ["segment", text(&waves)?, "--out", text(&out)?, "--json", "--weights"];
    let found = document(vistok(&segment).args([text(&weights)?, "--size", "40x40", "--resize", "40"]))?;
    let (picture, mask) = (Picture::open(&waves)?, Picture::open(&out)?);
    assert_eq!(mask.size, picture.size, "{found:#}");
    let classes = found["classes"].as_array().ok_or("no classes")?;
    let mut shares = Vec::new();
    for class in classes {
        let color: Vec<u8> = serde_json::from_value(class["color"].clone())?;
        let counted = mask.pixels.chunks(3).filter(|pixel| **pixel == color[..]).count();
        let share = class["share"].as_f64().ok_or("no share")?;
        assert!((share - counted as f64 / (mask.size[0] * mask.size[1]) as f64).abs() < 1e-9, "{found:#}");
        shares.push(share);
    }
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    let line = refusal(vistok(&segment).arg(resnet18(folder.path())?))?;
    assert!(line.contains("resnet18 has a class for an image"), "{line}");
    let line = refusal(&mut vistok(&["classify", text(&waves)?, "--weights", text(&weights)?]))?;
    assert!(line.contains("vt-fpn-small has a class for every pixel"), "{line}");
    Ok(())
}

#[test]
fn both_pyramids_learn_scenes_and_are_drawn_evaluated_and_shown_pictures() -> Outcome {
    if !has_adapter("demo --segment") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let found = document(&mut vistok(&["demo", "--segment", "--images", "60", "--out", text(&out)?, "--json"]))?;
    let least = found["background_mean_iou"].as_f64().ok_or("no background")?;
    assert!(least > 0.03 && least < 0.09, "{found:#}");
    let sheet = Picture::open(&out.join("scenes.png"))?;
    let colors: BTreeSet<&[u8]> = sheet.pixels.chunks(3).collect();
    assert!(colors.len() > 1000 && colors.contains(&[192u8, 0, 0][..]), "a sheet of {} colors", colors.len());
    for name in ["fpn-small", "vt-fpn-small"] {
        let iou = found[name]["test_mean_iou"].as_f64().ok_or("no score")?;
        assert!(iou > least && iou < 1.0, "{name} learned nothing in six steps: {found:#}");
        let weights = out.join(format!("{name}.safetensors"));
        let again = document(&mut vistok(&["eval", "--weights", text(&weights)?, "--json"]))?;
        assert_eq!((again["test_mean_iou"].as_f64(), &again["model"]), (Some(iou), &name.into()), "{again:#}");
    }
    let [fpn, tokens] = ["fpn-small", "vt-fpn-small"].map(|name| found[name]["pyramid_macs"].as_u64());
    assert!(tokens < fpn && tokens.is_some(), "{found:#}");
    // What the run noted says how a picture is seen.
    let mask = folder.path().join("mask.png");
    let weights = out.join("vt-fpn-small.safetensors");
    let waves = drawn::beside("waves.png");
    let arguments = ["segment", text(&waves)?, "--weights", text(&weights)?, "--out", text(&mask)?, "--json"];
    let found = document(&mut vistok(&arguments))?;
    assert_eq!(Picture::open(&mask)?.size, Picture::open(&waves)?.size, "{found:#}");
    Ok(())
}

#[test]
fn a_folder_is_learned_continued_and_evaluated() -> Outcome {
    if !has_adapter("train --task segment") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    crate::folder::draw(folder.path(), [6, 3])?;
    let (data, out) = (format!("folder:{}", text(folder.path())?), folder.path().join("run"));
    let train = |out: &Path, task: &str, more: [&str; 2]| {
        let mut command = vistok(&["train", "--task", task, "--data", &data, "--size", "32x48", "--scale"]);
        command.args(more).args(["--batch", "3", "--rate", "0.05", "--epochs", "20", "--out"]).arg(out);
        command
    };
    let found = document(&mut train(&out, "segment", ["0.7:1.5", "--json"]))?;
    let iou = found["test_mean_iou"].as_f64().ok_or("no score")?;
    assert!(iou > 0.4 && found["test_iou"].as_array().is_some_and(|all| all.len() == 3), "{found:#}");
    let weights = out.join("model.safetensors");
    let again = document(&mut vistok(&["eval", "--weights", text(&weights)?, "--data", &data, "--json"]))?;
    assert_eq!((again["test_mean_iou"].as_f64(), &again["model"]), (Some(iou), &"vt-fpn-small".into()), "{again:#}");
    // Done already, and of no other pictures.
    let resumed = document(train(&out, "segment", ["0.7:1.5", "--json"]).arg("--resume"))?;
    assert_eq!(resumed["test_mean_iou"].as_f64(), Some(iou), "{resumed:#}");
    let line = refusal(train(&out, "segment", ["0.7:1.5", "--resume"]).args(["--with", "channels=8"]))?;
    assert!(line.contains("options is") && line.contains("\"channels\":8"), "{line}");
    let line = refusal(train(&out, "segment", ["0.7:1.5", "--resume"]).args(["--with", "tokens=8"]))?;
    assert!(line.contains("vt-fpn-small has no option `tokens`"), "{line}");
    let line = refusal(&mut train(&out, "segment", ["0.7:2", "--resume"]))?;
    assert!(line.contains("images"), "{line}");
    let other = folder.path().join("other");
    let line = refusal(&mut train(&other, "classify", ["1:1", "--json"]))?;
    assert!(line.contains("--task segment") && line.contains("train/CLASS"), "{line}");
    let line = refusal(vistok(&["train", "--data", &data, "--batch", "7", "--out"]).arg(&other))?;
    assert!(line.contains("a batch of 7 cannot be filled from 6 images"), "{line}");
    // What is damaged is named when it is met, and mended the run ends as if nothing had been.
    let mask = folder.path().join("train/masks/004.png");
    let whole = std::fs::read(&mask)?;
    std::fs::write(&mask, b"no mask")?;
    let line = refusal(&mut train(&other, "segment", ["0.7:1.5", "--json"]))?;
    assert!(line.contains("masks/004.png is no mask") && line.contains("holds the run after"), "{line}");
    std::fs::write(&mask, whole)?;
    let mended = document(train(&other, "segment", ["0.7:1.5", "--json"]).arg("--resume"))?;
    assert_eq!(mended["test_mean_iou"].as_f64(), Some(iou), "{mended:#}");
    // To be tried on, the test pictures are enough, and they are segmented as large as they are tried on.
    std::fs::remove_dir_all(folder.path().join("train"))?;
    let again = document(&mut vistok(&["eval", "--weights", text(&weights)?, "--data", &data, "--json"]))?;
    assert_eq!(again["test_mean_iou"].as_f64(), Some(iou), "{again:#}");
    let (picture, drawn) = (folder.path().join("test/images/001.png"), folder.path().join("drawn.png"));
    let segment = ["segment", text(&picture)?, "--weights", text(&weights)?, "--out", text(&drawn)?];
    assert!(output(&mut vistok(&segment))?.status.success());
    assert_eq!(Picture::open(&drawn)?.size, Picture::open(&picture)?.size);
    Ok(())
}
