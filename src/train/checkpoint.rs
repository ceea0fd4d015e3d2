//! Weight files: the homes as safetensors, with what the run was; written whole or not at all, read strictly.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::batches::Normalization;
use super::step::MOMENTUM;
use crate::gpu::{self, Homes};
use crate::kernel::Elem;
use crate::plan::Stored;

/// The one entry of the file's metadata: lines `key = value`, in the order of the alphabet. One entry, because the
/// format's writer shuffles several, and equal runs should write equal files.
const ENTRY: &str = "vistok";

/// How many differences an error lists.
const LISTED: usize = 5;

/// Why a weight file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{file}: {source}; is the folder there, and may you {doing} in it?")]
    File {
        /// The file.
        file: String,
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// Not safetensors, or cut off.
    #[error("{file} is no whole safetensors file ({reason}); was its writing interrupted, or is it another format?")]
    Format {
        /// The file.
        file: String,
        /// What the reader saw.
        reason: String,
    },
    /// Safetensors, but without what this program notes beside the tensors.
    #[error("{file} was not written by this program: {reason}")]
    Foreign {
        /// The file.
        file: String,
        /// What is missing or unreadable.
        reason: String,
    },
    /// The tensors are those of another model.
    #[error("{file} does not fit the model: {differences}")]
    Differs {
        /// The file.
        file: String,
        /// Which tensors, and how.
        differences: String,
    },
    /// The machine.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// What is noted beside the tensors: enough to build the model again, feed it, and continue.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The model's name, as [`by_name`](crate::models::by_name) knows it.
    pub model: String,
    /// Number of classes.
    pub classes: usize,
    /// Height, width and channels of the images.
    pub image: [usize; 3],
    /// How pixels became numbers.
    pub normalization: Normalization,
    /// Images in a batch.
    pub batch: usize,
    /// The seed of the run.
    pub seed: u64,
    /// Steps done.
    pub step: u64,
}

impl About {
    fn text(&self) -> String {
        let [height, width, channels] = self.image;
        let lines = BTreeMap::from([
            ("batch", self.batch.to_string()),
            ("classes", self.classes.to_string()),
            ("image", format!("{height} {width} {channels}")),
            ("mean", format!("{:?}", self.normalization.mean)),
            ("model", self.model.clone()),
            ("seed", self.seed.to_string()),
            ("std", format!("{:?}", self.normalization.std)),
            ("step", self.step.to_string()),
        ]);
        lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
        let text = |key: &str| lines.get(key).copied().ok_or_else(|| format!("it does not say `{key}`"));
        fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("`{key}` is `{text}`"))
        }
        let sizes: Result<Vec<usize>, String> = text("image")?.split(' ').map(|size| number("image", size)).collect();
        let image = sizes?.try_into().map_err(|_| "`image` is not height, width, channels".to_owned())?;
        let normalization = Normalization { mean: number("mean", text("mean")?)?, std: number("std", text("std")?)? };
        // Images are divided by it: an answer computed with 0 or NaN would look like one.
        if !(normalization.mean.is_finite() && normalization.std.is_finite() && normalization.std > 0.0) {
            return Err(format!("`mean` {} and `std` {} are no normalization", normalization.mean, normalization.std));
        }
        Ok(Self {
            model: text("model")?.to_owned(),
            classes: number("classes", text("classes")?)?,
            image,
            normalization,
            batch: number("batch", text("batch")?)?,
            seed: number("seed", text("seed")?)?,
            step: number("step", text("step")?)?,
        })
    }
}

/// Which homes are read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All: to continue a run.
    All,
    /// All but the optimizer's: to evaluate.
    Weights,
}

/// Writes all homes: to a neighbor of `path` first, which takes its name only when it is whole and on the disk.
///
/// # Errors
/// When the machine cannot be read or the file not be written; then `path` is what it was.
pub fn save(path: &Path, homes: &Homes, about: &About) -> Result<(), CheckpointError> {
    let mut tensors = Vec::new();
    for home in homes.layout().homes() {
        for stored in &home.tensors {
            tensors.push((key(home.name, &stored.name), stored.clone(), homes.read_bytes(home.name, &stored.name)?));
        }
    }
    let format = |error: safetensors::SafeTensorError| CheckpointError::Format {
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let mut views = Vec::with_capacity(tensors.len());
    for (key, stored, bytes) in &tensors {
        let shape = stored.tensor.shape.to_vec();
        views.push((key.as_str(), TensorView::new(dtype(stored.tensor.elem), shape, bytes).map_err(format)?));
    }
    let noted = HashMap::from([(ENTRY.to_owned(), about.text())]);
    let bytes = safetensors::serialize(views, Some(noted)).map_err(format)?;
    replace(path, &bytes).map_err(|source| CheckpointError::File {
        file: path.display().to_string(),
        doing: "write",
        source,
    })
}

/// Makes `path` hold `bytes`, or leaves it as it is.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    if written.is_err() {
        // What failed is reported; a leftover that cannot be removed either is not worse.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A weight file in memory, whole and of the right format.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Vec<u8>,
    about: About,
}

impl Checkpoint {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there, cut off, of another format, or does not say what it holds.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = path.display().to_string();
        let bytes =
            fs::read(path).map_err(|source| CheckpointError::File { file: file.clone(), doing: "read", source })?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| CheckpointError::Format { file: file.clone(), reason: error.to_string() })?;
        let noted = metadata.metadata().as_ref().and_then(|noted| noted.get(ENTRY));
        let reason = || format!("its metadata has no `{ENTRY}`");
        let about = noted.ok_or_else(reason).and_then(|text| About::parse(text));
        let about = about.map_err(|reason| CheckpointError::Foreign { file, reason })?;
        Ok(Self { path: path.to_owned(), bytes, about })
    }

    /// What is noted beside the tensors.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Writes the tensors into homes. All are compared first: names, shapes and element types must be the homes'.
    ///
    /// # Errors
    /// When they differ; then nothing is written.
    pub fn load(&self, homes: &Homes, which: Which) -> Result<(), CheckpointError> {
        let file = || self.path.display().to_string();
        let tensors = SafeTensors::deserialize(&self.bytes)
            .map_err(|error| CheckpointError::Format { file: file(), reason: error.to_string() })?;
        let reads = |home: &str| which == Which::All || home != MOMENTUM;
        let mut found: BTreeMap<&str, TensorView<'_>> = tensors.iter().collect();
        found.retain(|key, _| reads(key.split('/').next().unwrap_or_default()));
        let mut writes = Vec::new();
        let mut differences = Vec::new();
        for home in homes.layout().homes().iter().filter(|home| reads(home.name)) {
            for stored in &home.tensors {
                let key = key(home.name, &stored.name);
                match found.remove(key.as_str()) {
                    None => differences.push(format!("it lacks `{key}`")),
                    Some(view) if fits(&view, stored) => writes.push((home.name, &stored.name, view.data())),
                    Some(view) => differences.push(format!(
                        "`{key}` is {} {:?} there and {} in the model",
                        view.dtype(),
                        view.shape(),
                        stored.tensor
                    )),
                }
            }
        }
        differences.extend(found.keys().map(|key| format!("the model has no `{key}`")));
        if !differences.is_empty() {
            let more = differences.len().saturating_sub(LISTED);
            differences.truncate(LISTED);
            let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
            return Err(CheckpointError::Differs { file: file(), differences: differences.join("; ") + &rest });
        }
        for (home, name, bytes) in writes {
            homes.write_bytes(home, name, bytes)?;
        }
        Ok(())
    }
}

fn key(home: &str, name: &str) -> String {
    format!("{home}/{name}")
}

const fn dtype(elem: Elem) -> Dtype {
    match elem {
        Elem::F32 => Dtype::F32,
        Elem::F16 => Dtype::F16,
        Elem::U32 => Dtype::U32,
    }
}

fn fits(view: &TensorView<'_>, stored: &Stored) -> bool {
    view.dtype() == dtype(stored.tensor.elem) && *view.shape() == *stored.tensor.shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again() {
        let about = About {
            model: "resnet18".to_owned(),
            classes: 10,
            image: [28, 27, 1],
            normalization: Normalization { mean: 0.1, std: 1.0e-7 },
            batch: 64,
            seed: u64::MAX,
            step: 3,
        };
        assert_eq!(About::parse(&about.text()), Ok(about.clone()));
        let missing = about.text().replace("seed = ", "seat = ");
        assert_eq!(About::parse(&missing), Err("it does not say `seed`".to_owned()));
        let bent = about.text().replace("step = 3", "step = three");
        assert_eq!(About::parse(&bent), Err("`step` is `three`".to_owned()));
        for std in ["0.0", "inf", "NaN", "-1.0"] {
            let odd = about.text().replace("std = 1e-7", &format!("std = {std}"));
            assert!(About::parse(&odd).is_err_and(|reason| reason.contains("no normalization")), "{odd}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("taken");
        fs::create_dir(&path)?;
        assert!(replace(&path, b"bytes").is_err());
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        let path = folder.path().join("free");
        replace(&path, b"first")?;
        replace(&path, b"second")?;
        assert_eq!(fs::read(&path)?, b"second");
        Ok(())
    }
}
