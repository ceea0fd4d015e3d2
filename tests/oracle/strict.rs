//! Files that are wrong, each made of a right one: wrong numbers are seen, and what contradicts itself is refused.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use vistok::verify::CaseFile;

/// A file taken apart.
struct Parts {
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("strict::one wrong number is seen", wrong_numbers),
        Trial::test("strict::a wrong layout is seen", wrong_layouts),
        Trial::test("strict::a wrong axis, momentum or rule is seen", wrong_attributes),
        Trial::test("strict::another option of a network is seen", wrong_options),
        Trial::test("strict::files that contradict themselves are refused", contradictions),
        Trial::test("strict::models that contradict themselves are refused", contradicting_models),
        Trial::test("strict::headers that lie are refused", headers),
        Trial::test("strict::what would take forever is refused at once", endless),
    ]
}

impl Parts {
    fn of(name: &str) -> Result<Self, Failed> {
        let bytes = fs::read(super::folder().join("cases").join(format!("{name}.safetensors")))?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let part = |(name, view): (&str, TensorView<'_>)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self { metadata, tensors: tensors.iter().map(part).collect() })
    }

    fn bytes(&self) -> Result<Vec<u8>, Failed> {
        let views: Result<Vec<_>, _> = self
            .tensors
            .iter()
            .map(|(name, (dtype, shape, data))| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
            .collect();
        let views = views.map_err(|error: safetensors::SafeTensorError| error.to_string())?;
        Ok(safetensors::serialize(views, Some(self.metadata.clone()))?)
    }

    fn note(&mut self, entry: &str, text: &str) {
        self.metadata.insert(entry.to_owned(), text.to_owned());
    }

    fn floats(&mut self, name: &str) -> Result<&mut [[u8; 4]], Failed> {
        let (_, _, data) = self.tensors.get_mut(name).ok_or("no such tensor")?;
        Ok(data.as_chunks_mut().0)
    }

    /// The names of the tensors that our maths gives otherwise.
    fn faults(&self) -> Result<Vec<String>, Failed> {
        let rows = CaseFile::parse(&self.bytes()?)?.maths();
        Ok(rows.into_iter().filter(|row| row.fault.is_some()).map(|row| row.tensor).collect())
    }

    fn refusal(&self) -> Result<String, Failed> {
        match CaseFile::parse(&self.bytes()?) {
            Ok(_) => Err(Failed::from("it was taken")),
            Err(error) => Ok(error.to_string()),
        }
    }
}

fn expect(found: &[String], wanted: &[&str], what: &str) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(Failed::from(format!("{what}: faults in {found:?}, not {wanted:?}"))) }
}

fn wrong_numbers() -> Result<(), Failed> {
    for (file, tensor) in [
        ("conv2d-stem", "output.0"),
        ("conv2d-stem", "gradient.2"),
        ("attend-projector", "output.1"),
        ("max_pool-resnet", "output.1"),
        ("model-resnet", "gradient.stem/conv/weight"),
        ("model-vt-resnet", "activation.stage3/vt1/tokenizer"),
        ("model-vt-resnet", "losses"),
    ] {
        let mut parts = Parts::of(file)?;
        expect(&parts.faults()?, &[], file)?;
        let numbers = parts.floats(tensor)?;
        let middle = numbers.len() / 2;
        // A few last bits: the smallest fault that is no rounding.
        let bits = u32::from_le_bytes(numbers[middle]);
        numbers[middle] = if tensor == "output.1" && file.starts_with("max_pool") {
            (bits ^ 1).to_le_bytes()
        } else {
            (f32::from_bits(bits) * 1.0001 + 1e-4).to_le_bytes()
        };
        expect(&parts.faults()?, &[tensor], file)?;
    }
    Ok(())
}

fn wrong_layouts() -> Result<(), Failed> {
    // A matrix stored the other way round, though it has the right shape.
    let mut parts = Parts::of("attend-unscaled")?;
    let keys = parts.floats("input.1")?;
    let (rows, columns) = (7, 9);
    let before = keys.to_vec();
    for at in 0..rows * columns {
        keys[at] = before[at % rows * columns + at / rows];
    }
    let faults = parts.faults()?;
    if faults.len() < 4 { Err(Failed::from(format!("only {faults:?} are seen to be wrong"))) } else { Ok(()) }
}

fn wrong_attributes() -> Result<(), Failed> {
    // Ten steps by another rule: what comes before the first update is right, what comes after is not.
    for (old, new) in [
        ("\"nesterov\": true", "\"nesterov\": false"),
        ("\"momentum\": 0.9", "\"momentum\": 0.8"),
        ("\"weight_decay\": 0.005", "\"weight_decay\": 0.0"),
    ] {
        for file in ["model-resnet", "model-vt-resnet"] {
            let mut parts = Parts::of(file)?;
            let attributes = parts.metadata["attributes"].replace(old, new);
            parts.note("attributes", &attributes);
            expect(&parts.faults()?, &["losses"], new)?;
        }
    }
    for (file, attributes, faults) in [
        ("permute-0312", r#"{"axes": [0, 3, 1, 2]}"#, &[][..]),
        ("batch_norm-rows", r#"{"eps": 1e-5, "momentum": 0.9, "relu": false}"#, &["output.3", "output.4"]),
        ("sgd-ahead", r#"{"momentum": 0.9, "weight_decay": 0.1, "nesterov": false}"#, &["output.0"]),
        ("map-gelu", r#"{"function": "sigmoid"}"#, &["output.0", "gradient.0"]),
        ("attend-transformer", r#"{"heads": 1, "scale": 0.7}"#, &[]),
    ] {
        let mut parts = Parts::of(file)?;
        parts.note("attributes", attributes);
        match file {
            // Another number of heads is another shape of log_sum: refused, not compared.
            "attend-transformer" => expect(&[parts.refusal()?.contains("output.1").to_string()], &["true"], file)?,
            _ => expect(&parts.faults()?, faults, file)?,
        }
    }
    Ok(())
}

fn contradictions() -> Result<(), Failed> {
    type Change = fn(&mut Parts);
    let changes: &[(&str, Change, &str)] = &[
        ("no op", |parts| drop(parts.metadata.remove("op")), "metadata `op`: is missing"),
        ("unknown op", |parts| parts.note("op", "conv9d"), "no op is called `conv9d`"),
        ("no tolerance", |parts| drop(parts.metadata.remove("tolerance")), "`tolerance`: is missing"),
        ("NaN tolerance", |parts| parts.note("tolerance", "NaN"), "`tolerance`: is `NaN`"),
        ("infinite tolerance", |parts| parts.note("tolerance", "1e999"), "`tolerance`: is `1e999`"),
        ("negative tolerance", |parts| parts.note("tolerance", "-0.1"), "`tolerance`: is `-0.1`"),
        ("idle tolerance", |parts| parts.note("tolerance", "1.0"), "`tolerance`: is `1.0`"),
        ("idle pair", |parts| parts.note("tolerance", "[1e9, 0.1]"), "zeros would pass"),
        // The weight's gradient of up to 25 would be compared, the output of up to 13 not.
        ("half idle pair", |parts| parts.note("tolerance", "[20.0, 0.0]"), "zeros would pass for `output.0`"),
        ("three tolerances", |parts| parts.note("tolerance", "[0.1, 0.1, 0.1]"), "`tolerance`: is `[0.1"),
        ("unknown precision", |parts| parts.note("computed_in", "f128"), "`computed_in`: is `f128`"),
        ("no input", |parts| drop(parts.tensors.remove("input.0")), "conv2d: takes x, weight"),
        ("no output", |parts| drop(parts.tensors.remove("output.0")), "`output.0`: is missing"),
        ("no cotangent", |parts| drop(parts.tensors.remove("cotangent.0")), "`cotangent.0`: is missing"),
        (
            "no gradient",
            |parts| parts.tensors.retain(|name, _| !name.starts_with("gradient")),
            "`gradient.0`: is missing",
        ),
        (
            "a tensor too many",
            |parts| drop(parts.tensors.insert("output.1".into(), (Dtype::F32, vec![1], vec![0; 4]))),
            "`output.1`: has no meaning for conv2d",
        ),
        (
            "an empty tensor",
            |parts| drop(parts.tensors.insert("input.0".into(), (Dtype::F32, vec![0, 5, 5, 3], vec![]))),
            "`input.0`: is empty",
        ),
        (
            "another element type",
            |parts| drop(parts.tensors.insert("input.0".into(), (Dtype::I32, vec![1], vec![0; 4]))),
            "`input.0`: is I32",
        ),
        (
            "another shape",
            |parts| drop(parts.tensors.insert("output.0".into(), (Dtype::F32, vec![2], vec![0; 8]))),
            "`output.0`: is f32 [2] and must be f32 [",
        ),
    ];
    for (what, change, words) in changes {
        let mut parts = Parts::of("conv2d-padded")?;
        change(&mut parts);
        let said = parts.refusal().map_err(|problem| format!("{what}: {problem:?}"))?;
        if !said.contains(words) {
            return Err(Failed::from(format!("{what}: `{said}` does not say `{words}`")));
        }
    }
    Ok(())
}

fn contradicting_models() -> Result<(), Failed> {
    let mut model = Parts::of("model-resnet")?;
    model.tensors.remove("parameters/stem/conv/weight");
    expect(&[model.refusal()?], &["tensor `parameters/stem/conv/weight`: is missing"], "a parameter")?;
    for (file, old, new, words) in [
        ("model-resnet", "resnet-small", "resnet-9000", "no model is called `resnet-9000`"),
        ("model-vt-early", "\"tokens\": 4", "\"tokens\": 99999999", "a number of tokens of 99999999"),
        ("model-vt-early", "\"split\"", "\"splits\"", "unknown field `splits`"),
        ("model-vt-early", "\"rate\"", "\"classes\": 6, \"rate\"", "duplicate field `classes`"),
        ("model-vt-early", "\"classes\": 5}", "\"classes\": 6}", "the model has 6 classes, and `classes` is 5"),
    ] {
        let mut model = Parts::of(file)?;
        let attributes = model.metadata["attributes"].replace(old, new);
        model.note("attributes", &attributes);
        let said = model.refusal()?;
        if !said.contains(words) {
            return Err(Failed::from(format!("{file}, {new}: `{said}` does not say `{words}`")));
        }
    }
    Ok(())
}

/// Options that keep every shape, and yet make another network.
fn wrong_options() -> Result<(), Failed> {
    for (file, old, new) in [
        ("model-vt-early", "\"split\": \"half\"", "\"split\": \"full\""),
        ("model-vt-early", "\"scale\": \"tokens\"", "\"scale\": \"channels\""),
        ("model-vt-early", "\"size\": 6", "\"size\": 5"),
        ("model-vt-iccv", "\"activation\": \"none\"", "\"activation\": \"relu\""),
        ("model-vt-clustering", "\"rounds\": 2", "\"rounds\": 0"),
        ("model-vt-clustering", "\"heads\": 2", "\"heads\": 1"),
        ("model-vt-clustering", "\"scale\": \"channels\"", "\"scale\": \"head\""),
    ] {
        let mut parts = Parts::of(file)?;
        let attributes = parts.metadata["attributes"].replace(old, new);
        if attributes == parts.metadata["attributes"] {
            return Err(Failed::from(format!("{file} does not say {old}")));
        }
        parts.note("attributes", &attributes);
        if parts.faults()?.is_empty() {
            return Err(Failed::from(format!("{file}: {new} is not seen")));
        }
    }
    Ok(())
}

fn headers() -> Result<(), Failed> {
    let whole = Parts::of("add")?.bytes()?;
    let lie = |bytes: Vec<u8>| CaseFile::parse(&bytes).is_err();
    let length = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    let mut lies = vec![vec![], whole[..7].to_vec(), whole[..whole.len() - 1].to_vec(), [&whole[..], &[0]].concat()];
    lies.extend([0, 1, 1 << 19, 1 << 21, 1 << 40, u64::MAX].map(length));
    for (at, bytes) in lies.into_iter().enumerate() {
        if !lie(bytes) {
            return Err(Failed::from(format!("lie {at} was believed")));
        }
    }
    Ok(())
}

fn endless() -> Result<(), Failed> {
    for (file, attributes) in [
        ("fill", r#"{"value": 1.0, "shape": [4294967296, 4294967296, 4294967296], "elem": "f32"}"#),
        ("repeat", r#"{"times": 18446744073709551615}"#),
        ("conv2d-padded", r#"{"stride": [1, 1], "padding": [9223372036854775807, 1], "groups": 1}"#),
        (
            "max_pool-whole",
            r#"{"kernel": [4294967296, 4294967296], "stride": [1, 1], "padding": [4294967295, 4294967295]}"#,
        ),
    ] {
        let mut parts = Parts::of(file)?;
        parts.note("attributes", attributes);
        let began = Instant::now();
        let said = parts.refusal().map_err(|problem| format!("{file}: {problem:?}"))?;
        // Sizes are refused before anything is computed; the file's outputs would not fit them either.
        let words = ["elements", "too large", "must", "numbers"];
        if !words.iter().any(|word| said.contains(word)) || began.elapsed() > Duration::from_secs(1) {
            return Err(Failed::from(format!("{file}, after {:?}: {said}", began.elapsed())));
        }
    }
    // Windows of four billion places over a single pixel: small in every tensor, and endless.
    let mut parts = Parts::of("max_pool-whole")?;
    let window = r#"{"kernel": [1048577, 1048577], "stride": [1048577, 1048577], "padding": [524288, 524288]}"#;
    parts.note("attributes", window);
    parts.tensors.clear();
    parts.tensors.insert("input.0".into(), (Dtype::F32, vec![1, 1, 1, 1], vec![0; 4]));
    parts.tensors.insert("output.0".into(), (Dtype::F32, vec![1, 1, 1, 1], vec![0; 4]));
    let said = parts.refusal()?;
    if said.contains("too large") { Ok(()) } else { Err(Failed::from(said)) }
}
