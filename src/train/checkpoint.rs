//! Weight files: the homes as safetensors, with what the run was; written whole or not at all, read strictly.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::{fs, io};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::accumulate::ACCUMULATED;
use super::batches::Normalization;
use super::files;
use super::step::SCORES;
use crate::gpu::{self, Homes};
use crate::kernel::Elem;
use crate::kernel::tuning::Choices;
use crate::models::parameters::TEACHER;
use crate::models::{Network, NetworkError};
use crate::plan::{Home, Layout, Stored};

/// The one entry of the file's metadata: lines `key = value`, in the order of the alphabet. One entry, because the
/// format's writer shuffles several, and equal runs should write equal files.
pub(super) const ENTRY: &str = "vistok";

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
    /// The model's name.
    pub model: String,
    /// All of the model's options, as [`Model::description`](crate::models::Model::description) says them. Files of before
    /// there were any say nothing here: then the name says all.
    pub options: String,
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
    /// What the test images said of these weights, in files that are kept for it.
    pub score: Option<f64>,
    /// Learning rates, update and augmentation.
    pub recipe: String,
    /// A number that tells the training images and labels from others.
    pub images: u64,
    /// What the bits depend on beside all that: adapter, driver, and the kernels that the plan chose.
    pub machine: String,
    /// Tiles that the run took because they were found fastest on its machine: who continues it takes them, too.
    pub tiles: Choices,
}

impl About {
    /// The network that the weights are of.
    ///
    /// # Errors
    /// When no network is described so, or has the name.
    pub fn network(&self) -> Result<Network, NetworkError> {
        match self.options.is_empty() {
            true => Network::named(&self.model, self.classes),
            false => self.options.parse(),
        }
    }

    pub(super) fn text(&self) -> String {
        self.lines().iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    fn lines(&self) -> BTreeMap<&'static str, String> {
        let [height, width, channels] = self.image;
        // A line is one line, whatever a driver calls itself.
        let line = |text: &str| text.replace('\n', " ");
        let mut lines = BTreeMap::from([
            ("batch", self.batch.to_string()),
            ("classes", self.classes.to_string()),
            ("image", format!("{height} {width} {channels}")),
            ("images", self.images.to_string()),
            ("machine", line(&self.machine)),
            ("mean", format!("{:?}", self.normalization.mean)),
            ("model", line(&self.model)),
            ("options", line(&self.options)),
            ("recipe", line(&self.recipe)),
            ("seed", self.seed.to_string()),
            ("std", format!("{:?}", self.normalization.std)),
            ("step", self.step.to_string()),
            ("tiles", serde_json::to_string(&self.tiles).unwrap_or_default()),
        ]);
        lines.extend(self.score.map(|score| ("score", format!("{score:?}"))));
        lines
    }

    /// What `other` has differently, for people: `seed is 1 there and 2 here`. Nothing is said of step, score,
    /// machine and tiles.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let (there, here) = (self.lines(), other.lines());
        let counts = |key: &&str| !["step", "score", "machine", "tiles"].contains(key);
        let unsaid = |key: &&str, value: &str| *key == "options" && value.is_empty();
        let differ =
            there.iter().filter(|(key, value)| counts(key) && !unsaid(key, value) && here.get(*key) != Some(*value));
        let more = |key: &str| if key == "images" { " (which images they are, or how they are shown)" } else { "" };
        differ.map(|(key, value)| format!("{key} is {value} there and {} here{}", here[key], more(key))).collect()
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines: HashMap<&str, &str> = text.split('\n').filter_map(|line| line.split_once(" = ")).collect();
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
            options: lines.get("options").copied().unwrap_or_default().to_owned(),
            classes: number("classes", text("classes")?)?,
            image,
            normalization,
            batch: number("batch", text("batch")?)?,
            seed: number("seed", text("seed")?)?,
            step: number("step", text("step")?)?,
            recipe: text("recipe")?.to_owned(),
            score: lines.get("score").map(|text| number("score", text)).transpose()?,
            images: number("images", text("images")?)?,
            machine: text("machine")?.to_owned(),
            // Older files say nothing of tiles.
            tiles: lines
                .get("tiles")
                .map_or(Ok(Choices::default()), |text| serde_json::from_str(text))
                .map_err(|error| format!("`tiles` are no table: {error}"))?,
        })
    }
}

/// Writes all homes: to a neighbor of `path` first, which takes its name only when it is whole and on the disk.
///
/// # Errors
/// When the machine cannot be read or the file not be written; then `path` is what it was.
pub fn save(path: &Path, homes: &Homes, about: &About) -> Result<(), CheckpointError> {
    let mut tensors = Vec::new();
    for home in kept(homes.layout()) {
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
    files::replace(path, &bytes).map_err(|source| CheckpointError::File {
        file: path.display().to_string(),
        doing: "write",
        source,
    })
}

/// A weight file in memory, whole and of the right format.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    file: String,
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
        Self::parse(&file, bytes)
    }

    /// Reads the bytes of a file that errors call `file`.
    ///
    /// # Errors
    /// When they are cut off, of another format, or do not say what they hold.
    pub fn parse(file: &str, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let file = file.to_owned();
        let about = match SafeTensors::read_metadata(&bytes) {
            Err(error) => return Err(CheckpointError::Format { file, reason: error.to_string() }),
            Ok((_, metadata)) => match metadata.metadata().as_ref().and_then(|noted| noted.get(ENTRY)) {
                Some(text) => About::parse(text),
                None => Err(format!("its metadata has no `{ENTRY}`")),
            },
        };
        match about {
            Ok(about) => Ok(Self { file, bytes, about }),
            Err(reason) => Err(CheckpointError::Foreign { file, reason }),
        }
    }

    /// What is noted beside the tensors.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Compares the tensors with those of a layout: names, shapes and element types must be the layout's.
    ///
    /// # Errors
    /// When they differ.
    pub fn check(&self, layout: &Layout) -> Result<(), CheckpointError> {
        self.matching(layout).map(|_| ())
    }

    /// Writes the tensors into homes, compared first as by [`check`](Self::check).
    ///
    /// # Errors
    /// When they differ; then nothing is written.
    pub fn load(&self, homes: &Homes) -> Result<(), CheckpointError> {
        for (home, name, view) in self.matching(homes.layout())? {
            homes.write_bytes(home, name, view.data())?;
        }
        Ok(())
    }

    /// Home, name and content of every tensor of a layout.
    fn matching<'a>(
        &'a self,
        layout: &'a Layout,
    ) -> Result<Vec<(&'static str, &'a str, TensorView<'a>)>, CheckpointError> {
        let file = || self.file.clone();
        let tensors = SafeTensors::deserialize(&self.bytes)
            .map_err(|error| CheckpointError::Format { file: file(), reason: error.to_string() })?;
        let mut found: BTreeMap<&str, TensorView<'a>> = tensors.iter().collect();
        let mut matching = Vec::new();
        let mut differences = Vec::new();
        for home in kept(layout) {
            for stored in &home.tensors {
                let key = key(home.name, &stored.name);
                match found.remove(key.as_str()) {
                    None => differences.push(format!("it lacks `{key}`")),
                    Some(view) if fits(&view, stored) => matching.push((home.name, stored.name.as_str(), view)),
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
        if differences.is_empty() {
            return Ok(matching);
        }
        let more = differences.len().saturating_sub(LISTED);
        differences.truncate(LISTED);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(CheckpointError::Differs { file: file(), differences: differences.join("; ") + &rest })
    }
}

/// The homes that are the run: what scores are counted in is nobody's state, a teacher has a file of its own, and sums of gradients are 0
/// between steps.
fn kept(layout: &Layout) -> impl Iterator<Item = &Home> {
    layout.homes().iter().filter(|home| ![SCORES, TEACHER, ACCUMULATED].contains(&home.name))
}

pub(super) fn key(home: &str, name: &str) -> String {
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
    use crate::kernel::Capabilities;
    use crate::kernel::tuning::gemm::Tiles;

    #[test]
    fn what_is_noted_is_read_again() {
        let mut tiles = Choices::default();
        let machine = Capabilities::portable();
        for way in Tiles::all(&machine, Elem::F32) {
            tiles.set(format!("A {{ b: \"{way}\" }} f32 [1, 2]"), way);
        }
        let about = About {
            model: "resnet18".to_owned(),
            options: Network::named("resnet18", 10).expect("a preset").to_string(),
            classes: 10,
            image: [28, 27, 1],
            normalization: Normalization { mean: 0.1, std: 1.0e-7 },
            batch: 64,
            seed: u64::MAX,
            step: 3,
            score: Some(0.875),
            recipe: "Decay { start: 0.1 }".to_owned(),
            images: 7,
            machine: "a = b".to_owned(),
            tiles,
        };
        assert_eq!(About::parse(&about.text()), Ok(about.clone()));
        assert_eq!(about.network(), Network::named("resnet18", 10));
        // Files of before options were noted: the name says all, and nothing is held against them.
        let older = About { options: String::new(), ..about.clone() };
        assert_eq!((older.network(), older.differences(&about)), (about.network(), vec![]));
        assert!(about.differences(&older)[0].starts_with("options is {"), "but those that are noted count");
        let missing = about.text().replace("seed = ", "seat = ");
        assert_eq!(About::parse(&missing), Err("it does not say `seed`".to_owned()));
        let bent = about.text().replace("step = 3", "step = three");
        assert_eq!(About::parse(&bent), Err("`step` is `three`".to_owned()));
        for std in ["0.0", "inf", "NaN", "-1.0"] {
            let odd = about.text().replace("std = 1e-7", &format!("std = {std}"));
            assert!(About::parse(&odd).is_err_and(|reason| reason.contains("no normalization")), "{odd}");
        }
    }
}
