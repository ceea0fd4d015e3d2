//! The log of a run, and what `plot` and `report` make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sight::{Made, fewer_images};
use super::{Outcome, document, has_adapter, output, refusal, text, vistok};

/// Two passes of eight steps over 160 images.
fn train(data: &str, out: &Path, more: &[&str]) -> std::process::Command {
    let mut command = vistok(&["train", "--data", data, "--epochs", "2", "--batch", "20", "--checkpoint-every", "5"]);
    command.args(more).arg("--out").arg(out);
    command
}

/// A table's lines without their last cell, the time.
fn untimed(run: &Path, name: &str) -> Made<Vec<String>> {
    let table = fs::read_to_string(run.join(name))?;
    Ok(table.lines().map(|line| line.rsplit_once(',').map_or(line, |(row, _)| row).to_owned()).collect())
}

/// CRC32C with the mask of TensorFlow's records, a bit at a time.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A field of a message: its number, and its bytes; a whole number as eight of them.
type Field = (u8, Vec<u8>);

/// The fields of a message of protocol buffers.
fn fields(mut bytes: &[u8]) -> Made<Vec<Field>> {
    let mut fields = Vec::new();
    while let [key, rest @ ..] = bytes {
        bytes = rest;
        let mut varint = || -> Made<u64> {
            let length = bytes.iter().position(|byte| byte & 0x80 == 0).ok_or("a number without end")? + 1;
            let (own, rest) = bytes.split_at(length);
            bytes = rest;
            Ok(own.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)))
        };
        let content = match key & 7 {
            0 => varint()?.to_le_bytes().to_vec(),
            kind => {
                let length = if kind == 1 {
                    8
                } else if kind == 5 {
                    4
                } else {
                    varint()? as usize
                };
                let (content, rest) = bytes.split_at_checked(length).ok_or("a field without end")?;
                bytes = rest;
                content.to_vec()
            }
        };
        fields.push((key >> 3, content));
    }
    Ok(fields)
}

fn field(of: &[Field], number: u8) -> Made<&[u8]> {
    Ok(of.iter().find(|(own, _)| *own == number).map(|(_, content)| &content[..]).ok_or("a field is missing")?)
}

/// The events of every file in the folder of a run, the older file first, each as its fields.
fn events(run: &Path) -> Made<Vec<Vec<Vec<Field>>>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(run.join("tensorboard"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        assert!(text(&file)?.contains("tfevents"), "{file:?}");
        let (bytes, mut at, mut events) = (fs::read(&file)?, 0, Vec::new());
        let word =
            |at: usize| -> Made<u32> { Ok(u32::from_le_bytes(bytes.get(at..at + 4).ok_or("cut off")?.try_into()?)) };
        while at < bytes.len() {
            let length = word(at)? as usize;
            assert_eq!((word(at + 4)?, word(at + 8)?), (0, masked(&bytes[at..at + 8])), "a length");
            let event = bytes.get(at + 12..at + 12 + length).ok_or("cut off")?;
            assert_eq!(word(at + 12 + length)?, masked(event), "an event");
            events.push(fields(event)?);
            at += length + 16;
        }
        all.push(events);
    }
    Ok(all)
}

/// Step, tag and number of all that events say of numbers.
fn scalars(events: &[Vec<Field>]) -> Made<Vec<(u64, String, f32)>> {
    let mut all = Vec::new();
    for event in events {
        let step = u64::from_le_bytes(field(event, 2)?.try_into()?);
        for (_, summary) in event.iter().filter(|(number, _)| *number == 5) {
            for (_, value) in fields(summary)? {
                let value = fields(&value)?;
                let tag = String::from_utf8(field(&value, 1)?.to_vec())?;
                all.push((step, tag, f32::from_le_bytes(field(&value, 2)?.try_into()?)));
            }
        }
    }
    Ok(all)
}

#[test]
fn a_run_that_goes_on_leaves_the_log_of_one_that_was_never_interrupted() -> Outcome {
    if !has_adapter("the log of a run") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let [straight, unscored, resumed] = ["straight", "unscored", "resumed"].map(|name| folder.path().join(name));
    let found = document(&mut train(&data, &straight, &["--json"]))?;
    let steps = untimed(&straight, "steps.csv")?;
    assert_eq!((steps.len(), &steps[0][..]), (17, "step,epoch,loss,rate"), "{steps:#?}");
    let epochs = untimed(&straight, "epochs.csv")?;
    let last = format!(",{}", found["test_accuracy"]);
    assert!(epochs.len() == 3 && epochs[1].starts_with("1,8,") && epochs[2].ends_with(&last), "{epochs:#?}");
    let loss =
        |row: &String| row.split(',').nth(2).and_then(|loss| loss.parse::<f32>().ok()).map_or(f64::NAN, f64::from);
    let mean = steps[1..9].iter().map(loss).sum::<f64>() / 8.0;
    assert!(epochs[1].contains(&format!(",{mean},")), "{mean}: {epochs:#?}");

    // Scored at the end alone, the weights are the same.
    assert!(output(&mut train(&data, &unscored, &["--score-every", "0", "--tensorboard"]))?.status.success());
    let weights = |run: &Path| fs::read(run.join("model.safetensors"));
    assert!(weights(&straight)? == weights(&unscored)?, "scoring changes what is learned");
    let once = untimed(&unscored, "epochs.csv")?;
    assert!(once[1].ends_with(',') && once[2] == epochs[2] && untimed(&unscored, "steps.csv")? == steps, "{once:#?}");

    // Killed after its first weights, with rows in the log that these weights know nothing of.
    let mut child = train(&data, &resumed, &["--tensorboard"]).stderr(std::process::Stdio::null()).spawn()?;
    while !resumed.join("model.safetensors").exists() && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    let table = resumed.join("steps.csv");
    let torn = fs::read_to_string(&table)? + "70,9,1,1,1\n71,9,0.";
    fs::write(&table, torn)?;
    assert!(output(&mut train(&data, &resumed, &["--resume", "--tensorboard"]))?.status.success());
    assert!(weights(&straight)? == weights(&resumed)?);
    assert_eq!(untimed(&resumed, "steps.csv")?, steps);
    assert_eq!(untimed(&resumed, "epochs.csv")?, epochs);
    event_files_say_what_the_log_says([&unscored, &resumed], &steps)
}

fn event_files_say_what_the_log_says([whole, resumed]: [&Path; 2], steps: &[String]) -> Outcome {
    let all = events(whole)?;
    assert_eq!((all.len(), field(&all[0][0], 3)?), (1, &b"brain.Event:2"[..]));
    let found = scalars(&all[0])?;
    let of = |tag: &str| -> Vec<(u64, f32)> {
        found.iter().filter(|(_, own, _)| own == tag).map(|(step, _, number)| (*step, *number)).collect()
    };
    let [losses, accuracies] = ["train/loss", "test/accuracy"].map(of);
    let row = |(step, loss): &(u64, f32)| format!("{step},{},{loss}", step.div_ceil(8));
    assert_eq!(losses.len(), 16);
    assert!(losses.iter().zip(&steps[1..]).all(|(loss, line)| line.starts_with(&row(loss))), "{losses:?} {steps:#?}");
    assert_eq!(accuracies.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [16]);
    // The second file takes back what the first said of steps that are done again.
    let all = events(resumed)?;
    let begins = &all.last().ok_or("no file")?[1];
    let start = u64::from_le_bytes(field(begins, 2)?.try_into()?);
    assert_eq!((all.len(), field(begins, 7)?), (2, &[8, 1][..]));
    assert_eq!(scalars(&all[1])?.first().map(|(step, tag, _)| (*step, &tag[..])), Some((start, "train/loss")));
    assert!(start > 5 && (start - 1).is_multiple_of(5), "step {start}");
    Ok(())
}

#[test]
fn a_run_is_drawn_and_reported() -> Outcome {
    if !has_adapter("plot and report") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let (run, svg, html) = (folder.path().join("mine"), folder.path().join("x.svg"), folder.path().join("x.html"));
    let found = document(&mut train(&data, &run, &["--json"]))?;
    let (own, other) = (text(&run)?, format!("<b> & co={}", text(&run)?));
    for by in ["step", "epoch"] {
        let told = document(&mut vistok(&["plot", own, &other, "--out", text(&svg)?, "--json", "--by", by]))?;
        assert_eq!((&told["runs"][1]["name"], &told["runs"][0]["steps"]), (&"<b> & co".into(), &16.into()), "{told:#}");
        assert_eq!(told["runs"][0]["scores"][1], found["test_accuracy"]);
        let drawn = fs::read_to_string(&svg)?;
        for piece in [
            "mine",
            "&lt;b&gt; &amp; co",
            "Loss of each batch",
            "Test images right",
            "Learning rate",
            "the same in all",
        ] {
            assert!(drawn.contains(piece), "{by}: no `{piece}`");
        }
        // Single losses and means of both, scores of both, and one learning rate.
        assert!(!drawn.contains("<b>") && drawn.matches("<circle").count() == 4, "{by}");
    }
    let told = document(&mut vistok(&["report", &other, "--data", &data, "--out", text(&html)?, "--json"]))?;
    let confusion: Vec<Vec<f64>> = serde_json::from_value(told["confusion"].clone())?;
    let all: f64 = confusion.iter().flatten().sum();
    let right: f64 = (0..10).map(|class| confusion[class][class]).sum();
    assert_eq!((all, Some(right / all)), (20.0, found["test_accuracy"].as_f64()), "{told:#}");
    let labels = fs::read(folder.path().join("t10k-labels-idx1-ubyte"))?;
    let of = |class: usize| labels[8..].iter().filter(|&&label| usize::from(label) == class).count() as f64;
    assert!((0..10).all(|class| confusion[class].iter().sum::<f64>() == of(class)), "a row a class: {confusion:?}");
    let page = fs::read_to_string(&html)?;
    for piece in [
        "<h1>&lt;b&gt; &amp; co: vt-resnet-demo</h1>",
        "Learning rate",
        "<table class=heat>",
        "ankle boot",
        "Most frequent confusions",
        "src=\"data:image/png;base64,iVBORw0KGgo",
        "GPU time of one training step",
        "<th>seed</th><td>1</td>",
    ] {
        assert!(page.contains(piece), "no `{piece}` in the page");
    }
    assert!(!page.contains("<b>") && !page.contains("src=\"http") && !page.contains("<script"));
    fs::remove_file(run.join("model.safetensors"))?;
    let line = refusal(&mut vistok(&["report", own, "--data", &data, "--out", text(&html)?]))?;
    assert!(line.contains("model.safetensors"), "{line}");
    assert_eq!(fs::read_to_string(&html)?, page, "a report that fails has changed the one before");
    Ok(())
}

/// What a page says of time is of the run's own update and precision.
#[test]
fn a_report_times_the_update_of_the_run() -> Outcome {
    if !has_adapter("report of AdamW") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let html = folder.path().join("x.html");
    for (more, update) in [
        (&["--optimizer", "adamw", "--clip", "1"][..], "adamw/update"),
        (&["--f16", "--smoothing", "0.1"], "sgd/update"),
    ] {
        let run = folder.path().join(update.replace('/', "-"));
        assert!(output(&mut train(&data, &run, more))?.status.success());
        assert!(
            output(&mut vistok(&["report", text(&run)?, "--data", &data, "--out", text(&html)?]))?.status.success()
        );
        let page = fs::read_to_string(&html)?;
        // Without timestamps no kernel is named.
        if page.contains("conv2d/forward") {
            let updates = ["sgd/update", "rms_prop/update", "adamw/update"];
            let named: Vec<&str> = updates.into_iter().filter(|name| page.contains(name)).collect();
            assert_eq!(named, [update], "{more:?}");
            let own = |name| page.contains(name);
            assert_eq!(
                (own("clip_norm/limit"), own("loss_scale/decide")),
                (update != "sgd/update", update == "sgd/update")
            );
        }
    }
    Ok(())
}

#[test]
fn damaged_logs_are_refused_by_file_and_line() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (run, other) = (folder.path().join("run"), folder.path().join("other/run"));
    let out = folder.path().join("x.svg");
    let (steps, epochs) = (run.join("steps.csv"), run.join("epochs.csv"));
    let (head, passes) = ("step,epoch,loss,rate,seconds\n", "epoch,step,loss,test_accuracy,seconds\n");
    fs::create_dir_all(&run)?;
    let refuses = |arguments: &[&str], words: &[&str]| -> Outcome {
        for command in ["plot", "report"] {
            if command == "report" && arguments.len() > 1 {
                continue;
            }
            let line = refusal(vistok(&[command]).args(arguments).arg("--out").arg(&out))?;
            assert!(words.iter().all(|word| line.contains(word)), "{command}: `{line}` does not say {words:?}");
        }
        Ok(())
    };
    refuses(&["/nowhere/at/all"], &["/nowhere/at/all/steps.csv is not there", "vistok train"])?;
    for (table, words) in [
        ("", &["steps.csv, line 1", "vistok train"][..]),
        (head, &["steps.csv has no step yet"]),
        ("step,epoch\n1,1\n", &["steps.csv, line 1: `step,epoch`"]),
        (
            &format!("{head}1,1,2.3,0.1,0.5\n2,1,zwei,0.1,0.6\n"),
            &["steps.csv, line 3: `2,1,zwei,0.1,0.6`", "mend or remove"],
        ),
        (&format!("{head}1,1,2.3,0.1,0.5\n1,1,2.3,0.1,0.5\n"), &["line 3", "after a later step"]),
        (&format!("{head}1,1,2.3,0.1,0.5\n"), &["epochs.csv is not there"]),
    ] {
        fs::write(&steps, table)?;
        refuses(&[text(&run)?], words)?;
    }
    fs::write(&steps, [head.as_bytes(), b"1,1,2.3,0.1,0.5\n\xff\xfe\n"].concat())?;
    refuses(&[text(&run)?], &["steps.csv, line 3"])?;
    fs::write(&steps, format!("{head}1,1,2.3,0.1,0.5\n2,1,2."))?;
    fs::write(&epochs, format!("{passes}1,1,2.3,1e999,0.5\n"))?;
    refuses(&[text(&run)?], &["epochs.csv, line 2"])?;
    fs::write(&epochs, passes)?;
    refuses(&[text(&run)?, "--by", "epoch"], &["no pass of `run` has ended yet", "--by step"])?;
    fs::create_dir_all(&other)?;
    for name in ["steps.csv", "epochs.csv"] {
        fs::copy(run.join(name), other.join(name))?;
    }
    refuses(&[text(&run)?, text(&other)?], &["both called `run`", "first="])?;
    let many: Vec<String> = (0..8).map(|at| format!("run{at}={}", run.display())).collect();
    refuses(&many.iter().map(String::as_str).collect::<Vec<_>>(), &["8 runs in one picture"])?;
    fs::write(other.join("epochs.csv"), passes.replace("accuracy", "mean_iou"))?;
    refuses(&[text(&run)?, &format!("x={}", text(&other)?)], &["different measures"])?;
    assert!(!out.exists());
    // A half line is none, and no pass is no reason to draw nothing.
    assert!(output(vistok(&["plot", text(&run)?, "--out"]).arg(&out))?.status.success() && out.exists());
    let line = refusal(vistok(&["plot", text(&run)?, "--out"]).arg("/nowhere/at/all.svg"))?;
    assert!(line.contains("/nowhere/at/all.svg") && line.contains("--out"), "{line}");
    Ok(())
}
