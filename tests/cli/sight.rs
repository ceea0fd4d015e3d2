//! `vistok classify`, `tokens`, `weights` and `eval` with weights of torchvision's names; and wrong images and weights.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vistok::models::{Network, Parameters};
use vistok::train::data::Dataset;
use vistok::train::weights::{declared, export};

use super::drawn;
use super::{Outcome, document, has_adapter, output, refusal, text, vistok};

pub(crate) type Made<T> = Result<T, Box<dyn std::error::Error>>;

/// ResNet-18's weights as torchvision's, in a folder.
pub(crate) fn resnet18(folder: &Path) -> Made<PathBuf> {
    let path = folder.join("resnet18.safetensors");
    fs::write(&path, drawn::state_dict(&drawn::told("resnet18")?)?)?;
    Ok(path)
}

/// The demo's network as it starts, under PyTorch's names: nothing says of which network the weights are.
fn demo(folder: &Path) -> Made<PathBuf> {
    let path = folder.join("demo.safetensors");
    let parameters: Parameters = declared(Network::named("vt-resnet-demo", 10)?.model(), [28, 28, 1])?;
    export(&path, &parameters, None, |parameter| Ok(parameter.initial(3)))?;
    Ok(path)
}

#[test]
fn classes_are_those_of_torchvision_and_a_bad_image_stops_no_other() -> Outcome {
    if !has_adapter("classify") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (weights, labels) = (resnet18(folder.path())?, folder.path().join("labels.txt"));
    fs::write(&labels, "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n")?;
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "once upon a time")?;
    let waves = drawn::beside("waves.png");
    let arguments =
        ["classify", text(&bad)?, text(&waves)?, "/nowhere.jpg", text(&waves)?, "--weights", text(&weights)?];
    let more = ["--labels", text(&labels)?, "--size", "64x64", "--resize", "73", "--top", "10", "--batch", "3"];
    let output = output(vistok(&arguments).args(more).arg("--json"))?;
    let (found, said): (Value, _) = (serde_json::from_slice(&output.stdout)?, String::from_utf8(output.stderr)?);
    assert_eq!(output.status.code(), Some(1), "two images were bad: {said}");
    assert!(said.contains("bad.png") && said.contains("/nowhere.jpg") && said.contains("2 of 4 images"), "{said}");
    assert_eq!((&found["model"], found["failed"].as_array().map(Vec::len)), (&"resnet18".into(), Some(2)), "{found:#}");

    let told = drawn::told("pictures")?;
    let logits: Vec<f64> = serde_json::from_value(told["resnet18"]["logits"].clone())?;
    let largest = logits.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
    let names = fs::read_to_string(&labels)?;
    let images = found["images"].as_array().ok_or("no images")?;
    assert_eq!(images.len(), 2, "{found:#}");
    for image in images {
        let classes = image["classes"].as_array().ok_or("no classes")?;
        let mut probabilities = Vec::new();
        for told in classes {
            let class = told["class"].as_u64().ok_or("no class")? as usize;
            let error = (told["logit"].as_f64().ok_or("no logit")? - logits[class]).abs() / largest;
            assert!(error < 1e-4, "class {class}: {told} and {} in torchvision", logits[class]);
            assert_eq!(told["label"].as_str(), names.lines().nth(class));
            probabilities.push(told["probability"].as_f64().ok_or("no probability")?);
        }
        assert_eq!(classes.len(), 10);
        assert!(probabilities.is_sorted_by(|one, other| one >= other), "{probabilities:?}");
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{probabilities:?}");
    }
    Ok(())
}

#[test]
fn tokens_are_drawn_and_a_network_without_is_refused() -> Outcome {
    if !has_adapter("tokens") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (waves, out) = (drawn::beside("waves.jpg"), folder.path().join("looks.png"));
    let demo = demo(folder.path())?;
    let tokens = ["tokens", text(&waves)?, "--size", "28x28", "--out", text(&out)?, "--weights"];
    let found = document(vistok(&tokens).args([text(&demo)?, "--json"]))?;
    assert_eq!((&found["map"], &found["tokens"]), (&[7, 7][..].into(), &[8, 8][..].into()), "{found:#}");
    let page = vistok::picture::Picture::open(&out)?;
    // Two blocks of a line of eight maps, and the picture above them.
    assert!(page.size[0] > 4 * 144 && page.size[1] > 8 * 144, "{:?}", page.size);
    let colors: std::collections::BTreeSet<&[u8]> = page.pixels.chunks(3).collect();
    assert!(colors.len() > 1000, "a page of {} colors shows nothing", colors.len());
    let line = refusal(vistok(&tokens).arg(resnet18(folder.path())?))?;
    assert!(line.contains("resnet18 draws no visual tokens"), "{line}");
    Ok(())
}

#[test]
fn weights_go_to_pytorch_and_come_back() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (demo, again) = (demo(folder.path())?, folder.path().join("again.safetensors"));
    let found = document(&mut vistok(&["weights", text(&demo)?, "--pytorch", text(&again)?, "--json"]))?;
    assert_eq!((&found["model"], &found["classes"]), (&"vt-resnet-demo".into(), &10.into()), "{found:#}");
    assert_eq!(found["names"], "PyTorch's");
    assert_eq!(fs::read(&demo)?, fs::read(&again)?, "the same weights make another file");
    let line = refusal(&mut vistok(&["weights", text(&demo)?, "--pytorch", "/nowhere/file"]))?;
    assert!(line.contains("/nowhere/file"), "{line}");
    Ok(())
}

/// One of so many of the program's images, as the four files of a folder, so that a run takes seconds.
pub(crate) fn fewer_images(folder: &Path, every: usize) -> Made<String> {
    let Dataset { train, test, .. } = Dataset::embedded()?;
    for (part, images) in [("train", train), ("t10k", test)] {
        let kept = || (0..images.count()).step_by(every);
        let count = kept().count() as u32;
        let each = images.elems_per_image();
        let pixels: Vec<u8> = kept().flat_map(|at| &images.pixels[at * each..(at + 1) * each]).copied().collect();
        let labels: Vec<u8> = kept().map(|at| images.labels[at]).collect();
        for (kind, head, bytes) in
            [("images-idx3", &[2051, count, 28, 28][..], pixels), ("labels-idx1", &[2049, count][..], labels)]
        {
            let head = head.iter().flat_map(|word: &u32| word.to_be_bytes());
            fs::write(folder.join(format!("{part}-{kind}-ubyte")), head.chain(bytes).collect::<Vec<u8>>())?;
        }
    }
    Ok(format!("fashion-mnist:{}", text(folder)?))
}

#[test]
fn a_run_is_evaluated_and_exported_and_evaluated_alike() -> Outcome {
    if !has_adapter("weights of a run") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    let data = fewer_images(folder.path(), 5)?;
    let trained = document(&mut vistok(&["train", "--data", &data, "--epochs", "1", "--out", text(&run)?, "--json"]))?;
    let (own, theirs) = (run.join("model.safetensors"), folder.path().join("theirs.safetensors"));
    let found = document(&mut vistok(&["weights", text(&own)?, "--pytorch", text(&theirs)?, "--json"]))?;
    assert_eq!((&found["names"], &found["model"]), (&"ours".into(), &"vt-resnet-demo".into()));
    let accuracy = |more: &[&str]| -> Made<f64> {
        let found = document(vistok(&["eval", "--json", "--data", &data]).args(more))?;
        Ok(found["test_accuracy"].as_f64().ok_or("no accuracy")?)
    };
    let own_accuracy = accuracy(&["--weights", text(&own)?])?;
    assert_eq!(Some(own_accuracy), trained["test_accuracy"].as_f64());
    assert!(own_accuracy > 0.2, "{own_accuracy} says little of whether weights are where they belong");
    assert_eq!(accuracy(&["--weights", text(&theirs)?])?, own_accuracy, "what the run noted went with its weights");
    // Nothing noted: the network is known by its tensors, and the pixels are those of the data.
    let bare = folder.path().join("bare.safetensors");
    let bytes = fs::read(&theirs)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    fs::write(&bare, safetensors::serialize(tensors.iter(), None)?)?;
    assert_eq!(accuracy(&["--weights", text(&bare)?])?, own_accuracy);
    assert_eq!(accuracy(&["--weights", text(&bare)?, "--model", "vt-resnet-demo"])?, own_accuracy);
    Ok(())
}

#[test]
fn wrong_weights_and_labels_are_refused_before_anything_runs() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (weights, waves) = (resnet18(folder.path())?, drawn::beside("waves.png"));
    let labels = folder.path().join("labels.txt");
    fs::write(&labels, "one\ntwo\n")?;
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--model", "resnet34"], &["resnet18.safetensors", "resnet34", "layer4.2.conv2.weight", "missing"]),
        (&["--model", "vt-resnet18"], &["vt-resnet18", "stage5/vt1/tokenizer", "unexpected"]),
        (&["--model", "resnet19"], &["resnet19", "there are: resnet18"]),
        (&["--labels", text(&labels)?], &["labels.txt has 2 labels", "10 classes"]),
        (&["--labels", "/nowhere.txt"], &["/nowhere.txt", "one name a line"]),
    ];
    for (arguments, words) in cases {
        let mut command = vistok(&["classify", text(&waves)?, "--weights", text(&weights)?]);
        command.args(arguments).env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        let line = refusal(&mut command)?;
        assert!(words.iter().all(|word| line.contains(word)), "{arguments:?}: `{line}` does not say {words:?}");
    }
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "once upon a time")?;
    let line = refusal(&mut vistok(&["tokens", text(&bad)?, "--weights", text(&demo(folder.path())?)?]))?;
    assert!(line.contains("bad.png") && line.contains("PNG and JPEG"), "{line}");
    Ok(())
}
