//! `vistok compare`: the paper's tables beside our counts.

use super::{Outcome, document, output, refusal, vistok};

#[test]
fn tables_are_counted_without_an_adapter() -> Outcome {
    let nowhere = |arguments: &[&str]| {
        let mut command = vistok(&[&["compare", "--count"], arguments].concat());
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        command
    };
    let found = document(&mut nowhere(&["--json"]))?;
    let rows = found["rows"].as_array().ok_or("no rows")?;
    let told: Vec<_> = rows.iter().map(|row| (row["row"].as_str(), row["accuracy"].as_f64())).collect();
    let names =
        ["ResNet-101", "ResNet-101 + SE", "ResNet-101 + CBAM", "LR-ResNet-101", "AA-ResNet-101", "VT-ResNet-101"];
    let expected = names.map(Some).into_iter().zip([77.39, 77.65, 78.49, 78.5, 78.7, 81.09].map(Some));
    assert_eq!(told, expected.collect::<Vec<_>>(), "the table of the slides");
    // SE in a network whose stride is in its first convolution: 7,570.19 M, and 4.74 M more.
    let [macs, parameters] = ["macs", "parameters"].map(|key| rows[1][key].as_f64().unwrap_or(f64::NAN) / 1e6);
    assert!((macs - 7574.93).abs() < 0.01 && (parameters - 49.327).abs() < 0.001, "{macs} M, {parameters} M");
    assert!(rows.iter().all(|row| row["forward_ms"].is_null()), "nothing was timed: {found:#}");
    let said = output(&mut nowhere(&["--table", "fpn"]))?;
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("mIoU there") && text.contains("VT-FPN, ResNet-101, LIP"), "{text}");
    Ok(())
}

#[test]
fn a_figure_without_a_folder_is_refused_before_anything_is_timed() -> Outcome {
    let line = refusal(&mut vistok(&["compare", "--figure", "/nowhere/at/all.svg"]))?;
    assert!(line.contains("/nowhere/at/all.svg") && line.contains("folder"), "{line}");
    Ok(())
}
