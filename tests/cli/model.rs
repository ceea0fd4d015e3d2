//! `vistok model`: counts without a GPU, beside the paper's.

use serde_json::Value;

use super::{Outcome, document, has_adapter, output, refusal, vistok};

/// The document for a model, on a machine without adapters.
fn counted(arguments: &[&str]) -> Result<Value, Box<dyn std::error::Error>> {
    let mut command = vistok(&[&["model"], arguments, &["--json"]].concat());
    document(command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json"))
}

fn mega(number: &Value) -> f64 {
    (number.as_f64().unwrap_or(f64::NAN) / 1e4).round() / 100.0
}

#[test]
fn counts_need_no_adapter_and_are_those_published() -> Outcome {
    let found = counted(&["vt-resnet18"])?;
    assert_eq!((mega(&found["macs"]), mega(&found["parameters_without_norms"])), (1578.95, 11.64), "{found:#}");
    assert_eq!(found["published"][0]["macs"].as_f64(), Some(1579e6), "{found:#}");
    let layers = found["layers"].as_array().ok_or("no layers")?;
    for (key, of_all) in [("macs", "macs"), ("parameters", "parameters"), ("activation_bytes", "activation_bytes")] {
        let sum: u64 = layers.iter().filter_map(|layer| layer[key].as_u64()).sum();
        assert_eq!(Some(sum), found[of_all].as_u64(), "{key}");
    }
    let stem = layers.iter().find(|layer| layer["name"] == "stem/conv").ok_or("no stem")?;
    assert_eq!((&stem["input"], &stem["output"]), (&[1, 224, 224, 3][..].into(), &[1, 112, 112, 64][..].into()));
    assert_eq!((stem["macs"].as_u64(), stem["parameters"].as_u64()), (Some(118_013_952), Some(9408)));
    Ok(())
}

#[test]
fn options_are_changed_by_their_paths() -> Outcome {
    let found = counted(&["vt-resnet34", "--with", "vt.tokens=32"])?;
    assert_eq!((mega(&found["macs"]), &found["published"][0]["row"]), (3514.13, &"VT-ResNet-34, 32 tokens".into()));
    let found = counted(&["vt-resnet18", "--with", "vt.tokenizer.later=anew", "--with", "name=mine"])?;
    assert_eq!((mega(&found["macs"]), &found["model"]), (1564.14, &"mine".into()));
    let line = refusal(&mut vistok(&["model", "vt-resnet18", "--with", "vt.takens=3"]))?;
    assert!(line.contains("no option `vt.takens`") && line.contains("--json"), "{line}");
    let line = refusal(&mut vistok(&["model", "vt-resnet18", "--with", "vt.tokens=three"]))?;
    assert!(line.contains("is no description of a model") && line.contains("three"), "{line}");
    let line = refusal(&mut vistok(&["model", "vt-resnet18", "--with", "projecting=every_block"]))?;
    assert!(line.contains("take Projecting::AllButLast, or Features::Pixels"), "{line}");
    Ok(())
}

#[test]
fn presets_sizes_and_classes_change_what_is_counted() -> Outcome {
    let all = ["counted", "iccv", "early"].map(|preset| counted(&["vt-resnet18", "--preset", preset]));
    let [plain, iccv, early] = all;
    let (plain, iccv, early) = (plain?, iccv?, early?);
    assert_eq!((&plain["model"], &early["model"]), (&"vt-resnet18".into(), &"vt-resnet18-early".into()));
    assert!(iccv["macs"].as_u64() < early["macs"].as_u64() && early["macs"].as_u64() < plain["macs"].as_u64());
    assert_eq!(early, counted(&["vt-resnet18-early"])?);
    let line = refusal(&mut vistok(&["model", "resnet18", "--preset", "early"]))?;
    assert!(line.contains("resnet18 has no preset early"), "{line}");
    let small = counted(&["vt-resnet18", "--size", "160x96", "--classes", "7"])?;
    assert!(
        small["macs"].as_u64() < plain["macs"].as_u64() && small["published"] == serde_json::json!([]),
        "{small:#}"
    );
    assert_eq!(small["image"], serde_json::json!([160, 96, 3]));
    let [one, many] = ["1", "8"].map(|batch| counted(&["resnet18", "--size", "64x64", "--batch", batch]));
    let (one, many) = (one?, many?);
    assert!(one["macs"] == many["macs"] && one["layers"] == many["layers"]);
    for what in ["inference", "training"] {
        assert!(one["peak_bytes"][what].as_u64() < many["peak_bytes"][what].as_u64(), "{what}");
    }
    Ok(())
}

#[test]
fn where_the_paper_contradicts_itself_it_is_said_beside_our_count() -> Outcome {
    for (model, more, words) in [
        ("vt-resnet50", None, &["3582.", "3412 M multiply-adds", "contradicts itself"][..]),
        ("vt-resnet34", Some("vt.tokenizer.later=anew"), &["3269.", "3369 M multiply-adds", "typing error for 3269"]),
    ] {
        let with = more.map(|change| ["--with", change]);
        let output = output(vistok(&["model", model]).args(with.iter().flatten()))?;
        let text = String::from_utf8(output.stdout)?;
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    Ok(())
}

#[test]
fn whole_steps_are_verified_with_what_regularizes_them() -> Outcome {
    if !has_adapter("verify --model --regularized") {
        return Ok(());
    }
    let verified = |more: &[&str]| {
        document(&mut vistok(&[&["verify", "--model", "resnet-small", "--image", "12x12x3", "--json"], more].concat()))
    };
    let (plain, all) = (verified(&[])?, verified(&["--regularized"])?);
    assert_eq!((&plain["regularized"], &all["regularized"], &all["ok"]), (&false.into(), &true.into(), &true.into()));
    // Beside what is left out at random there is a second network.
    let nodes = |found: &Value| found["nodes_of_the_plan"].as_u64().unwrap_or_default();
    assert!(nodes(&all) > nodes(&plain) + 10, "{} nodes, {} without", nodes(&all), nodes(&plain));
    Ok(())
}
