//! Weight files from elsewhere: what is read, what comes back, and what is said of every one that is wrong. No GPU.

#[allow(dead_code, reason = "other tests draw more")]
#[path = "torchvision/drawn.rs"]
mod drawn;

use std::path::Path;

use drawn::{Entry, file, told};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};
use vistok::models::pytorch::Counterpart;
use vistok::models::{Network, Parameters};
use vistok::train::weights::{Misfit, Names, Weights, WeightsError, declared, export};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A small network, its parameters, and its weights under PyTorch's names.
struct Small {
    network: Network,
    parameters: Parameters,
    entries: Vec<Entry>,
}

const IMAGE: [usize; 3] = [28, 28, 3];

fn small(name: &str) -> Result<Small, Box<dyn std::error::Error>> {
    let network = Network::named(name, 4)?;
    let parameters = declared(network.model(), IMAGE)?;
    let entry = |parameter| {
        let Counterpart { name, shape, .. } = Counterpart::of(parameter);
        // Shares of 2^-8, which every type holds.
        let numbers = drawn::between(&name, shape.iter().product(), [-128.0, 128.0]);
        let bytes = numbers.iter().flat_map(|number| (number.round() / 256.0).to_le_bytes()).collect();
        Entry { name, kind: Dtype::F32, shape, bytes }
    };
    let entries = parameters.iter().map(entry).collect();
    Ok(Small { network, parameters, entries })
}

impl Small {
    fn weights(&self) -> Result<Weights, Box<dyn std::error::Error>> {
        Ok(Weights::parse("small", file(&self.entries)?)?)
    }

    fn all(&self, weights: &Weights) -> Result<Vec<Vec<f32>>, WeightsError> {
        weights.check(self.network.model().name(), &self.parameters)?;
        self.parameters.iter().map(|parameter| weights.numbers(parameter)).collect()
    }

    /// What is said of the file with one change made to its tensors.
    fn said(&mut self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<String, Box<dyn std::error::Error>> {
        change(&mut self.entries);
        let refused = self.all(&self.weights()?).err();
        Ok(refused.map(|error| error.to_string()).unwrap_or_default())
    }
}

fn floats(entry: &Entry) -> Vec<f32> {
    entry.bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

#[test]
fn halves_are_read_as_they_are() -> Outcome {
    let mut small = small("resnet-small")?;
    let single = small.all(&small.weights()?)?;
    for kind in [Dtype::F16, Dtype::BF16] {
        for entry in &mut small.entries {
            let half = |number: &f32| match kind {
                Dtype::F16 => f16::from_f32(*number).to_le_bytes(),
                _ => bf16::from_f32(*number).to_le_bytes(),
            };
            let numbers = if entry.kind == Dtype::F32 { floats(entry) } else { continue };
            (entry.kind, entry.bytes) = (kind, numbers.iter().flat_map(half).collect());
        }
        assert_eq!(small.all(&small.weights()?)?, single, "{kind:?}");
        small.entries = self::small("resnet-small")?.entries;
    }
    Ok(())
}

#[test]
fn what_is_exported_is_what_torchvision_saves_and_reads_again() -> Outcome {
    let told = told("resnet18")?;
    let bytes = drawn::state_dict(&told)?;
    let weights = Weights::parse("torchvision's", bytes.clone())?;
    let parameters = declared(weights.network()?.model(), weights.image())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("again.safetensors");
    export(&path, &parameters, None, |parameter| weights.numbers(parameter))?;
    let written = std::fs::read(&path)?;
    let (there, here) = (SafeTensors::deserialize(&bytes)?, SafeTensors::deserialize(&written)?);
    assert_eq!(there.len(), here.len());
    for (name, tensor) in there.iter() {
        assert_eq!(here.tensor(name)?, tensor, "{name}");
    }
    assert!(there.names().iter().any(|name| name.ends_with("num_batches_tracked")), "the counters are there, too");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 1, "something was left beside the file");
    export(&folder.path().join("none/file"), &parameters, None, |parameter| weights.numbers(parameter))
        .expect_err("there is no such folder");
    Ok(())
}

#[test]
fn parts_of_vt_blocks_keep_their_names() -> Outcome {
    let small = small("vt-resnet-demo")?;
    let names: Vec<&str> = small.entries.iter().map(|entry| &entry.name[..]).collect();
    for name in
        ["layer1.0.conv1.weight", "stage3/vt1/tokenizer/filter", "stage3/vt2/transformer/query/weight", "fc.bias"]
    {
        assert!(names.contains(&name), "{name} is none of {names:?}");
    }
    let weights = small.weights()?;
    assert_eq!((weights.names(), weights.network()?.model().name()), (Names::PyTorch, "vt-resnet-demo"));
    small.all(&weights)?;
    Ok(())
}

#[test]
fn everything_that_does_not_fit_is_listed() -> Outcome {
    let mut small = small("resnet-small")?;
    small.entries.retain(|entry| !entry.name.starts_with("layer2.0.bn2") && entry.name != "fc.bias");
    small.entries[0].shape = vec![16, 3, 9];
    small.entries.push(Entry { name: "fc2.weight".into(), kind: Dtype::F32, shape: vec![1], bytes: vec![0; 4] });
    small.entries.push(Entry {
        name: "bn1.num_batches_tracked".into(),
        kind: Dtype::I64,
        shape: vec![],
        bytes: vec![0; 8],
    });
    let weights = small.weights()?;
    let misfits = weights.misfits(&small.parameters);
    let missing = ["layer2.0.bn2.weight", "layer2.0.bn2.bias", "layer2.0.bn2.running_mean", "layer2.0.bn2.running_var"];
    let mut expected: Vec<Misfit> =
        missing.iter().map(|&name| Misfit::Missing { name: name.into(), shape: vec![32] }).collect();
    expected.push(Misfit::Missing { name: "fc.bias".into(), shape: vec![4] });
    let (shape, wanted) = (vec![16, 3, 9], vec![16, 3, 3, 3]);
    expected.push(Misfit::Misshapen { name: "conv1.weight".into(), shape, wanted });
    expected.push(Misfit::Unexpected { name: "fc2.weight".into(), shape: vec![1] });
    assert_eq!(misfits.len(), expected.len(), "{misfits:?}");
    assert!(expected.iter().all(|misfit| misfits.contains(misfit)), "{misfits:?}");
    let said = weights.check("resnet-small", &small.parameters).map_err(|error| error.to_string());
    let said = said.expect_err("they do not fit");
    for words in missing.into_iter().chain([
        "small",
        "resnet-small",
        "5 missing",
        "fc2.weight",
        "[16, 3, 9] where",
        "vistok model",
    ]) {
        assert!(said.contains(words), "`{said}` does not say `{words}`");
    }
    Ok(())
}

#[test]
fn numbers_that_are_none_and_types_that_are_not_read_are_named() -> Outcome {
    let conv =
        |entries: &mut Vec<Entry>| entries.iter().position(|entry| entry.name == "layer1.0.conv2.weight").unwrap_or(0);
    for (number, words) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let said = small("resnet-small")?.said(|entries| {
            let at = conv(entries);
            // [o, i, kh, kw] = [1, 2, 0, 1] of [16, 16, 3, 3].
            let place = 4 * ((16 + 2) * 9 + 1);
            entries[at].bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        })?;
        for words in ["small", "`layer1.0.conv2.weight`", words, "[1, 2, 0, 1]", "one of 1 "] {
            assert!(said.contains(words), "`{said}` does not say `{words}`");
        }
    }
    for (kind, bytes) in [(Dtype::F64, 8), (Dtype::I32, 4)] {
        let said = small("resnet-small")?.said(|entries| {
            let at = conv(entries);
            entries[at].bytes = vec![0; 16 * 16 * 9 * bytes];
            entries[at].kind = kind;
        })?;
        for words in ["small", "`layer1.0.conv2.weight`", &format!("{kind:?}"), "F32, F16 nor BF16", "tensor.float()"] {
            assert!(said.contains(words), "`{said}` does not say `{words}`");
        }
    }
    Ok(())
}

#[test]
fn other_depths_and_presets_are_refused_with_the_list() -> Outcome {
    let weights = Weights::parse("eighteen", drawn::state_dict(&told("resnet18")?)?)?;
    let refused = |name: &str| -> Result<String, Box<dyn std::error::Error>> {
        let network = Network::named(name, 10)?;
        let parameters = declared(network.model(), weights.image())?;
        Ok(weights.check(name, &parameters).err().map(|error| error.to_string()).unwrap_or_default())
    };
    assert_eq!(refused("resnet18")?, "");
    let deeper = refused("resnet34")?;
    // The 16 blocks of ResNet-34, and what 18 has no block for: each by name.
    for words in ["resnet34", "layer1.2.conv1.weight", "layer3.5.bn2.running_var", "layer4.2.conv2.weight", "missing"] {
        assert!(deeper.contains(words), "`{deeper}` does not say `{words}`");
    }
    let tokens = refused("vt-resnet18")?;
    assert!(tokens.contains("stage5/vt1/") && tokens.contains("unexpected: `layer4.0."), "{tokens}");
    let mut demo = small("vt-resnet-demo")?;
    demo.entries.retain(|entry| entry.name != "stage3/vt1/tokenizer/filter");
    let nearest = demo.weights()?.network().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(nearest.contains("the nearest is vt-resnet-demo") && nearest.contains("vt1/tokenizer/filter"), "{nearest}");
    let none = Weights::parse("none", file(&[])?)?.network().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(none.contains("--model"), "{none}");
    Ok(())
}

#[test]
fn every_preset_is_known_by_its_tensors() -> Outcome {
    let presets = Network::presets(10);
    let mut known = Vec::new();
    for network in &presets {
        let image = if network.model().name().ends_with("-demo") { [28, 28, 1] } else { [224, 224, 3] };
        let parameters = declared(network.model(), image)?;
        let tensors = parameters.iter().map(Counterpart::of).map(|there| (there.name, there.shape));
        let tensors: std::collections::BTreeMap<String, Vec<usize>> = tensors.collect();
        assert_eq!(tensors.len(), parameters.iter().count(), "two parameters have one name in PyTorch");
        let same = known.iter().position(|other| *other == tensors);
        assert_eq!(same.map(|at: usize| presets[at].model().name()), None, "{}", network.model().name());
        known.push(tensors);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("iccv");
    let network = Network::named("vt-resnet18-iccv", 10)?;
    let parameters = declared(network.model(), [224, 224, 3])?;
    export(&path, &parameters, None, |parameter| Ok(vec![0.5; parameter.tensor.shape.count()]))?;
    let weights = Weights::open(&path)?;
    assert_eq!(weights.network()?, network);
    for (name, words) in [("vt-resnet18", "misshapen: `stage5/vt1/"), ("vt-resnet18-early", "missing: `stage5/vt1/")] {
        let other = Network::named(name, 10)?;
        let refused = weights.check(name, &declared(other.model(), [224, 224, 3])?).err();
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(words) && said.contains(name), "`{said}` does not say `{words}`");
    }
    Ok(())
}

/// A file of this head and these bytes behind it.
fn headed(length: u64, head: &str, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], head.as_bytes(), rest].concat()
}

#[test]
fn heads_are_not_believed() -> Outcome {
    let whole = file(&small("resnet-small")?.entries)?;
    let huge = r#"{"fc.bias":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}"#;
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let over = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}}"#;
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("empty", vec![], "has 0 bytes"),
        ("short", whole[..whole.len() - 1].to_vec(), "bytes of numbers"),
        ("long", [&whole[..], b"x"].concat(), "bytes of numbers"),
        ("in the head", whole[..100].to_vec(), "claims a head"),
        ("10 GB of head", headed(10_000_000_000, "{}", &[]), "claims a head of 10000000000"),
        ("all ones", vec![0xff; 64], "claims a head"),
        ("10 GB of numbers", headed(huge.len() as u64, huge, &[0; 8]), "10000000000 bytes of numbers, and 8 follow"),
        ("overlapping", headed(twice.len() as u64, twice, &[0; 4]), "invalid offset"),
        ("more than there can be", headed(over.len() as u64, over, &[0; 4]), "verflow"),
        ("no JSON", headed(2, "ab", &[]), "expected"),
        ("torch.save", b"PK\x03\x04 and an archive".to_vec(), "safetensors.torch.save_file"),
        ("a bare pickle", b"\x80\x02}q\x00 and so on".to_vec(), "safetensors.torch.save_file"),
    ];
    for (name, bytes, words) in cases {
        let said = Weights::parse(name, bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(name) && said.contains(words), "{name}: `{said}` does not say `{words}`");
    }
    // Sizes that no bytes stand behind.
    let hollow = r#"{"fc.bias":{"dtype":"F32","shape":[1152921504606846976,0],"data_offsets":[0,0]},
        "conv1.weight":{"dtype":"F32","shape":[0,1152921504606846976,1,1],"data_offsets":[0,0]}}"#;
    let hollow = Weights::parse("hollow", headed(hollow.len() as u64, hollow, &[]))?;
    assert_eq!((hollow.classes(), hollow.image()), (None, [224, 224, 3]));
    assert!(hollow.network().is_err());
    let absent = Weights::open(Path::new("/nowhere/at all")).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(absent.contains("/nowhere/at all"), "{absent}");
    let folder = tempfile::tempdir()?;
    Weights::open(folder.path()).expect_err("a folder is no weight file");
    if cfg!(unix) {
        // Endless, and nothing of it is read.
        let said = Weights::open(Path::new("/dev/zero")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("no regular file"), "{said}");
    }
    Ok(())
}

/// A hole of 10 GB costs no disk and must cost no memory: nothing behind the head is read before it fits.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_file_that_does_not_fit_is_not_read() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("huge");
    let head = r#"{"fc.bias":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}"#;
    std::fs::write(&path, headed(head.len() as u64, head, &[]))?;
    std::fs::OpenOptions::new().write(true).open(&path)?.set_len(8 + head.len() as u64 + 10_000_000_000)?;
    let weights = Weights::open(&path)?;
    let parameters = small("resnet-small")?.parameters;
    assert!(weights.check("resnet-small", &parameters).is_err());
    for parameter in parameters.iter() {
        assert!(weights.numbers(parameter).is_err(), "{}", parameter.name);
    }
    assert!(weights.network().is_err());
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
    let kilobytes: usize = peak.trim().trim_end_matches(" kB").parse()?;
    assert!(kilobytes < 2_000_000, "{kilobytes} kB were taken at most");
    Ok(())
}
