//! torchvision's state dicts, every number drawn by a counter from its tensor's name, as `write.py` beside this file draws them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use vistok::reference::Random;

/// The seed of everything.
const SEED: u64 = 7;

/// A file of this folder.
pub(crate) fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torchvision").join(name)
}

/// What the script wrote of a network, or of pictures.
pub(crate) fn told(name: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(beside(&format!("{name}.json")))?)?)
}

/// Numbers for a name, between two others.
pub(crate) fn between(name: &str, count: usize, [low, high]: [f64; 2]) -> Vec<f32> {
    let mut random = Random::named(SEED, name);
    (0..count).map(|_| (low + (high - low) * random.uniform()) as f32).collect()
}

/// Rows of numbers.
pub(crate) fn rows(told: &Value) -> Vec<Vec<f64>> {
    let row = |row: &Value| row.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    told.as_array().into_iter().flatten().map(row).collect()
}

/// From where to where a tensor of a state dict is drawn.
fn bounds(name: &str, shape: &[usize]) -> [f64; 2] {
    match shape {
        [_] if name.ends_with("running_var") || name.ends_with("weight") => [0.5, 1.5],
        [_] => [-0.2, 0.2],
        _ => {
            let reach = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
            [-reach, reach]
        }
    }
}

/// One tensor of a state dict: its numbers, little-endian, are those of its type.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors that torchvision's state dict has, under its names and of its shapes. What it keeps in f64 there was drawn in
/// f32, and is f32 here.
pub(crate) fn entries(told: &Value) -> Result<Vec<Entry>, Box<dyn Error>> {
    let mut entries = Vec::new();
    for entry in told["state"].as_array().ok_or("no state dict")? {
        let (name, kind) = (entry[0].as_str().ok_or("no name")?, entry[1].as_str().ok_or("no type")?);
        let shape: Vec<usize> = serde_json::from_value(entry[2].clone())?;
        let (kind, bytes) = match kind {
            "int64" => (Dtype::I64, 0i64.to_le_bytes().to_vec()),
            _ => {
                let numbers = between(name, shape.iter().product(), bounds(name, &shape));
                (Dtype::F32, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            }
        };
        entries.push(Entry { name: name.to_owned(), kind, shape, bytes });
    }
    Ok(entries)
}

/// Tensors as the file that `safetensors.torch.save_file` makes of them.
pub(crate) fn file(entries: &[Entry]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut views = Vec::new();
    for Entry { name, kind, shape, bytes } in entries {
        views.push((&name[..], TensorView::new(*kind, shape.clone(), bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}

/// A whole state dict as such a file.
pub(crate) fn state_dict(told: &Value) -> Result<Vec<u8>, Box<dyn Error>> {
    file(&entries(told)?)
}
