//! The program as its users meet it: what it prints, what it refuses, and that it never panics or half-writes a file.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

mod bench;
#[path = "../data/classes.rs"]
mod classes;
mod compare;
#[allow(dead_code, reason = "other tests draw more")]
#[path = "../torchvision/drawn.rs"]
mod drawn;
#[path = "../data/folder.rs"]
mod folder;
mod kept;
mod model;
mod pictures;
mod recipe;
mod result;
mod runs;
mod segments;
mod sight;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const COMMANDS: [&str; 16] = [
    "devices", "demo", "train", "eval", "classify", "segment", "tokens", "weights", "verify", "bench", "model", "plan",
    "plot", "profile", "report", "tune",
];

fn vistok(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vistok"));
    command.args(arguments);
    command
}

fn output(command: &mut Command) -> Result<Output, Box<dyn std::error::Error>> {
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    Ok(output)
}

/// The one line that a command ends with when it refuses.
fn refusal(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let output = output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?} says something on standard output");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("vistok: ")).collect();
    assert_eq!((lines.len(), stderr.lines().last()), (1, lines.last().copied()), "{command:?}: {stderr}");
    Ok(lines[0].to_owned())
}

/// Whether this machine has an adapter. With `REQUIRE_GPU=1` it must.
fn has_adapter(test: &str) -> bool {
    let found = vistok(&["devices"]).output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var("REQUIRE_GPU").as_deref() != Ok("1"), "{test}: no adapter, and REQUIRE_GPU is 1");
    if !found {
        eprintln!("{test}: NOT RUN, there is no adapter");
    }
    found
}

/// The one document on standard output.
fn document(command: &mut Command) -> Result<Value, Box<dyn std::error::Error>> {
    let output = output(command)?;
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> Result<&str, &'static str> {
    path.to_str().ok_or("the folder for temporary files has an unreadable name")
}

#[test]
fn every_command_explains_itself() -> Outcome {
    for command in COMMANDS {
        let output = output(&mut vistok(&[command, "--help"]))?;
        let help = String::from_utf8(output.stdout)?;
        // What only counts or reads needs no adapter.
        let finds = if ["model", "plot", "weights"].contains(&command) { "--json" } else { "--adapter" };
        assert!(output.status.success() && help.contains(finds), "{command}: {help}");
    }
    let all = String::from_utf8(output(&mut vistok(&["--help"]))?.stdout)?;
    assert!(COMMANDS.iter().all(|command| all.contains(command)), "{all}");
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2() -> Outcome {
    for wrong in [
        &["dance"][..],
        &["demo"],
        &["train", "--data", "embedded"],
        &["eval"],
        &["classify", "--weights", "x"],
        &["classify", "x"],
        &["tokens", "x", "--weights", "x", "--size", "28"],
        &["weights"],
        &["verify", "--quick", "--full"],
        &["verify", "--model", "vt-resnet-demo", "--quick"],
        &["verify", "conv2d", "--model", "vt-resnet-demo"],
        &["verify", "--batch", "3"],
        &["verify", "--case", "x", "--quick"],
        &["verify", "--programs", "0"],
        &["verify", "--programs", "3", "--model", "vt-resnet-demo"],
        &["verify", "--seed", "3"],
        &["train", "--data", "embedded", "--out", "x", "--epochs", "0"],
        &["plan", "resnet18", "--image", "28x28"],
        &["plot"],
        &["report", "x", "y"],
        &["plan", "resnet18", "--batch", "0"],
        &["model", "resnet18", "--size", "28x28x1"],
        &["model", "vt-resnet18", "--preset", "late"],
        &["model", "vt-resnet18", "--with", "vt.tokens"],
    ] {
        assert_eq!(output(&mut vistok(wrong))?.status.code(), Some(2), "{wrong:?}");
    }
    Ok(())
}

#[test]
fn without_an_adapter_the_error_says_how_to_get_one() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    for arguments in [
        &["devices"][..],
        &["demo", "--out", text(&out)?],
        &["train", "--data", "embedded", "--out", text(&out)?],
        &["verify", "--quick"],
        &["bench"],
        &["plan", "vt-resnet-demo"],
    ] {
        let mut command = vistok(arguments);
        // Neither name of the variable may lead to a driver.
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        command.env("WGPU_BACKEND", "vulkan");
        let line = refusal(&mut command)?;
        assert!(line.contains("no GPU adapter") && line.contains("mesa-vulkan-drivers"), "{arguments:?}: {line}");
    }
    assert_eq!(fs::read_dir(&out)?.count(), 0, "something was left in the folder of a run that never began");
    Ok(())
}

#[test]
fn an_unknown_adapter_is_refused_with_those_that_there_are() -> Outcome {
    for command in [&["devices"][..], &["plan", "resnet18"], &["verify"]] {
        let line = refusal(vistok(command).args(["--adapter", "voodoo"]))?;
        assert!(line.contains("matching `voodoo`") && line.contains("present: "), "{line}");
    }
    Ok(())
}

#[test]
fn weight_files_that_are_none_are_refused_by_name() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let eval = |path: &Path| -> Result<String, Box<dyn std::error::Error>> {
        refusal(&mut vistok(&["eval", "--weights", text(path)?]))
    };
    assert!(eval(&path)?.contains("weights.safetensors"), "a missing file is not named");
    // A header that promises more bytes than a disk has, one that is cut off, and a file of another program.
    let foreign = [
        &b"{}"[..],
        &[0xff; 64],
        &[],
        &[&8u64.to_le_bytes()[..], b"{\"a\": 1}"].concat(),
        &[&2u64.to_le_bytes()[..], b"{}"].concat(),
    ];
    for bytes in foreign {
        fs::write(&path, bytes)?;
        let line = eval(&path)?;
        assert!(line.contains("weights.safetensors"), "{bytes:?}: {line}");
    }
    assert!(eval(folder.path())?.starts_with("vistok: "), "a folder is no weight file");
    Ok(())
}

#[test]
fn data_that_is_missing_or_cut_off_is_refused_by_name() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let train = |data: &str| -> Result<String, Box<dyn std::error::Error>> {
        refusal(&mut vistok(&["train", "--out", text(&out)?, "--data", data]))
    };
    assert!(train("imagenet")?.contains("imagenet"));
    let data = format!("fashion-mnist:{}", text(folder.path())?);
    assert!(train(&data)?.contains("-ubyte"));
    let images = [&[0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28][..], &[7; 100]].concat();
    for bytes in [&images[..], b"\x1f\x8b\x08", b"", b"<html>not found</html>"] {
        // All four, so that whichever is read first is the one that is named.
        for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
            fs::write(folder.path().join(format!("{name}-ubyte")), bytes)?;
        }
        assert!(train(&data)?.contains("-ubyte"), "{bytes:?}");
    }
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_training() -> Outcome {
    let folder = tempfile::tempdir()?;
    let taken = folder.path().join("taken");
    fs::write(&taken, b"mine")?;
    for out in [taken.clone(), taken.join("below")] {
        let out = text(&out)?;
        for command in [&["demo", "--out", out][..], &["train", "--data", "embedded", "--out", out]] {
            let line = refusal(&mut vistok(command))?;
            assert!(line.contains(out) && line.contains("--out"), "{line}");
        }
    }
    assert_eq!(fs::read(&taken)?, b"mine");
    Ok(())
}

#[test]
fn unknown_models_and_filters_are_refused_with_what_there_is() -> Outcome {
    let line = refusal(&mut vistok(&["plan", "resnet19", "--portable"]))?;
    assert!(line.contains("resnet19") && line.contains("resnet18") && line.contains("vt-resnet-demo"), "{line}");
    let line = refusal(&mut vistok(&["verify", "--model", "resnet19"]))?;
    assert!(line.contains("resnet19") && line.contains("vt-resnet-demo"), "{line}");
    if has_adapter("unknown filters") {
        for command in ["verify", "bench"] {
            let line = refusal(&mut vistok(&[command, "no such kernel"]))?;
            assert!(line.contains("`no such kernel` matches none"), "{line}");
        }
    }
    Ok(())
}

#[test]
fn blocks_made_again_are_named_and_shrink_the_plan() -> Outcome {
    let plan = ["plan", "resnet18", "--portable", "--batch", "8"];
    let line = refusal(vistok(&plan).args(["--train", "--recompute", "stage3,stage9"]))?;
    assert!(line.contains("`stage9`") && line.contains("stage5/block2") && line.contains("stem"), "{line}");
    let line = refusal(vistok(&plan).args(["--recompute", "all"]))?;
    assert!(line.contains("give --train, too"), "{line}");
    let peak = |more: &[&str]| -> Result<f64, Box<dyn std::error::Error>> {
        let output = output(vistok(&plan).arg("--train").args(more))?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find_map(|line| line.strip_prefix("peak ")).ok_or("the plan prints no peak")?;
        Ok(line.split(' ').next().unwrap_or_default().parse()?)
    };
    let [kept, some, all] = [peak(&[])?, peak(&["--recompute", "stage2"])?, peak(&["--recompute", "all"])?];
    assert!(all < some && some < kept, "{kept} MB, {some} MB with stage 2 made again, {all} MB with all");
    Ok(())
}

#[test]
fn a_plan_says_how_many_calls_each_block_is() -> Outcome {
    let output =
        output(vistok(&["plan", "vt-resnet-demo", "--portable"]).args(["--blocks", "--train", "--recompute", "all"]))?;
    let text = String::from_utf8(output.stdout)?;
    let row = |name: &str| -> Option<Vec<usize>> {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
        line.split_whitespace().skip(1).take(4).map(|cell| cell.parse().ok()).collect()
    };
    let [block, elsewhere, all] =
        ["stage3/vt1", "elsewhere", "together"].map(|name| row(name).ok_or_else(|| format!("no {name} in {text}")));
    // Weights of all blocks are updated by one call, gains and biases by another.
    assert!(block?[3] == 0 && elsewhere?[3] == 2 && all?.iter().sum::<usize>() > 150, "{text}");
    Ok(())
}

#[test]
fn a_picture_of_absurd_size_is_refused() -> Outcome {
    let told = refusal(&mut vistok(&["plan", "resnet50", "--portable", "--image", "4294967296x4294967296x3"]))?;
    assert!(told.contains("has more elements than any machine holds"), "{told}");
    let told = refusal(&mut vistok(&["plan", "resnet50", "--portable", "--image", "65536x65536x3"]))?;
    assert!(told.contains("not even a first axis (batch) of 1 fits"), "{told}");
    Ok(())
}

#[test]
fn a_plan_needs_no_adapter() -> Outcome {
    for arguments in [&["plan", "vt-resnet-demo", "--portable"][..], &["plan", "resnet18", "--portable", "--train"]] {
        let mut command = vistok(arguments);
        let output = output(command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json"))?;
        let plan = String::from_utf8(output.stdout)?;
        assert!(output.status.success() && plan.starts_with("step") && plan.contains("conv2d/forward"), "{plan}");
    }
    Ok(())
}

#[test]
fn verify_gives_one_document_whose_counts_are_its_rows() -> Outcome {
    if !has_adapter("verify --json") {
        return Ok(());
    }
    let found = document(&mut vistok(&["verify", "add/forward", "--quick", "--json"]))?;
    let rows = found["rows"].as_array().ok_or("no rows")?;
    for (status, count) in [("passed", "passed"), ("failed", "failed"), ("not_run", "not_run")] {
        let rows = rows.iter().filter(|row| row["status"] == status).count();
        assert_eq!(found[count].as_u64(), Some(rows as u64), "{found}");
    }
    assert!(found["passed"].as_u64() > Some(0) && found["failed"] == 0, "{found}");
    for key in ["op", "kernel", "engine", "element", "case", "status", "error", "allowed"] {
        assert!(rows.iter().all(|row| row.get(key).is_some()), "a row without `{key}`");
    }
    Ok(())
}

#[test]
fn verify_draws_programs_and_replays_them() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("program.txt");
    fs::write(&file, "v0 = input f32 [2] normal\nv1 = Subtract(v0, v0)\n")?;
    let line = refusal(&mut vistok(&["verify", "--program", text(&file)?]))?;
    assert!(line.contains("line 2") && line.contains("Subtract"), "{line}");
    if !has_adapter("verify --programs --json") {
        return Ok(());
    }
    let found = document(&mut vistok(&["verify", "--programs", "3", "--seed", "4", "--json"]))?;
    assert_eq!(
        (&found["programs"], &found["passed"], &found["failed"]),
        (&3.into(), &3.into(), &0.into()),
        "{found:#}"
    );
    assert!(found["nodes"].as_u64() > Some(3) && found["failures"] == serde_json::json!([]), "{found:#}");
    // Programs that cannot be, that would run nothing, or fill any memory, are failures, and the last line says so.
    let huge = "v0 = input f32 [1048576, 1] normal\nv1 = input f32 [1, 1048576] normal\n\
                v2 = MatMul { transpose_a: false, transpose_b: false }(v0, v1)\noutput v2\n";
    for (program, said) in [
        ("v0 = input f32 [2] normal\nv1 = Add(v0, v0)\nv2 = gradient v0\noutput v2\n", "no gradient reaches v0"),
        ("v0 = input f32 [2] normal\nv1 = Add(v0, v0)\n", "nothing would run"),
        (huge, "too large"),
    ] {
        fs::write(&file, program)?;
        let output = output(&mut vistok(&["verify", "--program", text(&file)?]))?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        assert!(out.contains(said) && err.contains("1 of 1 comparisons failed"), "{out}{err}");
    }
    Ok(())
}

#[test]
fn verify_compares_a_whole_model() -> Outcome {
    if !has_adapter("verify --model --json") {
        return Ok(());
    }
    let found = document(&mut vistok(&["verify", "--model", "vt-resnet-demo", "--json"]))?;
    assert_eq!((&found["model"], &found["ok"]), (&"vt-resnet-demo".into(), &true.into()), "{found}");
    assert!(found["first_divergent_step"].is_null() && found["nodes"].as_u64() > Some(100), "{found}");
    assert!(found["worst"].as_f64() <= Some(1.0) && found["compared"].as_u64() > found["nodes"].as_u64(), "{found}");
    let rows = found["outputs"].as_array().ok_or("no outputs")?;
    for name in ["loss", "gradient stem/conv/weight", "parameters head/bias", "statistics stem/norm/running_mean"] {
        assert!(rows.iter().any(|row| row["name"] == name), "no row for {name}");
    }
    assert!(rows.iter().all(|row| row["status"] == "passed" && row["allowed"].as_f64() > Some(0.0)), "{found}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() -> Outcome {
    let mut child = vistok(&["plan", "resnet50", "--portable", "--train"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn case_files_are_replayed_and_what_is_none_is_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("add.safetensors");
    let case = |path: &Path| Ok::<_, &'static str>(vistok(&["verify", "--json", "--case", text(path)?]));
    assert!(refusal(&mut case(&path)?)?.contains("add.safetensors"), "a missing file is not named");
    assert!(refusal(&mut case(folder.path())?)?.contains("no case file"), "an empty folder is taken for a case");
    fs::write(&path, [0xff; 64])?;
    assert!(refusal(&mut case(folder.path())?)?.contains("add.safetensors"), "a broken file is not named");
    if !has_adapter("case_files_are_replayed_and_what_is_none_is_refused") {
        return Ok(());
    }
    let right = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/cases/add.safetensors");
    fs::copy(&right, &path)?;
    let found = document(&mut case(folder.path())?)?;
    let row = &found["rows"][0];
    assert_eq!(
        (found["passed"].as_u64(), row["op"].as_str(), row["status"].as_str()),
        (Some(6), Some("add"), Some("passed"))
    );
    // The last number of the last tensor, output.0.
    let mut bytes = fs::read(&right)?;
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    fs::write(&path, bytes)?;
    let failed = output(&mut case(folder.path())?)?;
    let found = (failed.status.code(), serde_json::from_slice::<Value>(&failed.stdout)?["failed"].as_u64());
    assert_eq!(found, (Some(1), Some(2)));
    Ok(())
}
