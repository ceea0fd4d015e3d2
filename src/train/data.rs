//! Labeled images: the ones that the crate carries, and the full Fashion-MNIST files from a folder.

use std::fs::File;
#[cfg(feature = "data")]
use std::io::BufRead;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use super::idx::DataError;
use super::idx::{read_images, read_labels};
use super::scenes;
pub use crate::models::{IGNORED, Target};

/// What the classes of Fashion-MNIST show, by label.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

/// Height and width of embedded scenes, and how many there are, with their seeds.
const SCENE: [usize; 2] = [96, 96];
const TRAINING_SCENES: (usize, u64) = (4_000, 1);
const TEST_SCENES: (usize, u64) = (500, 2);

/// Labeled images of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Numbers in a pixel: 1 is gray.
    pub channels: usize,
    /// `[count, height, width, channels]`, 0 (black) to 255.
    pub pixels: Vec<u8>,
    /// `[count]`, of pixels `[count, height, width]`, each below `classes`; of pixels also [`IGNORED`], which is none.
    pub labels: Vec<u8>,
    /// What has a label.
    pub target: Target,
    /// Number of classes.
    pub classes: usize,
}

impl Images {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.labels.len() / self.labels_per_image().max(1)
    }

    /// Labels of one image.
    pub fn labels_per_image(&self) -> usize {
        self.target.labels([1, self.height, self.width, self.channels]).count()
    }

    /// The labels of image `index`.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn labels_of(&self, index: usize) -> &[u8] {
        let each = self.labels_per_image();
        &self.labels[index * each..(index + 1) * each]
    }

    /// Numbers in one image: height x width x channels.
    pub fn elems_per_image(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// The first of them, at most so many.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.pixels.truncate(count.saturating_mul(self.elems_per_image()));
        self.labels.truncate(count.saturating_mul(self.labels_per_image()));
        self
    }

    /// A number that tells these pixels and labels, in this order, from others.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest(self.pixels.iter().chain(&self.labels).copied())
    }

    /// That there are images, as many pixels as the shape says, and labels below `classes`; else
    /// [`DataError::Shape`] or [`DataError::Label`].
    pub fn check(&self) -> Result<(), DataError> {
        let shape = [self.count(), self.height, self.width, self.channels];
        if shape.contains(&0) || self.elems_per_image().checked_mul(self.count()) != Some(self.pixels.len()) {
            return Err(DataError::Shape {
                what: format!("images of shape {shape:?}"),
                found: format!("{} pixel values", self.pixels.len()),
                expected: "the product of the shape, and not 0".into(),
            });
        }
        let whole = self.labels.len() == self.count() * self.labels_per_image();
        if !whole {
            return Err(DataError::Shape {
                what: format!("images of shape {shape:?}"),
                found: format!("{} labels", self.labels.len()),
                expected: format!("{} an image", self.labels_per_image()),
            });
        }
        let ignored = |label: u8| self.target.ignored() == Some(label.into());
        match self.labels.iter().position(|&label| usize::from(label) >= self.classes && !ignored(label)) {
            None => Ok(()),
            Some(at) => Err(DataError::Label {
                file: "labels".into(),
                at,
                found: self.labels[at].into(),
                most: self.classes.saturating_sub(1),
            }),
        }
    }
}

/// FNV-1a: tells apart what is not forged.
pub(crate) fn digest(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Where images come from; parsed from `embedded`, `scenes`, or one of `fashion-mnist`, `cifar`, `folder` and `shards` with `:DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The 8,000 training and 1,000 test images that the crate carries.
    Embedded,
    /// Scenes of several such garments each, with a label for every pixel ([`scenes`]).
    Scenes,
    /// A folder with the four IDX files of Fashion-MNIST, each gzipped or not.
    FashionMnist(PathBuf),
    /// A folder with the binary files of CIFAR-10 or CIFAR-100.
    Cifar(PathBuf),
    /// A folder of pictures and masks (`train::masked`), or of a folder of pictures a class (`train::pictures`).
    Folder(PathBuf),
    /// A folder of tar files with pictures and classes (`train::shards`).
    Shards(PathBuf),
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text.split_once(':') {
            None if text == "embedded" => Ok(Self::Embedded),
            None if text == "scenes" => Ok(Self::Scenes),
            Some(("fashion-mnist", dir)) if !dir.is_empty() => Ok(Self::FashionMnist(dir.into())),
            Some(("cifar", dir)) if !dir.is_empty() => Ok(Self::Cifar(dir.into())),
            Some(("folder", dir)) if !dir.is_empty() => Ok(Self::Folder(dir.into())),
            Some(("shards", dir)) if !dir.is_empty() => Ok(Self::Shards(dir.into())),
            _ => Err(DataError::Source { found: text.into() }),
        }
    }
}

/// Images to train on and images to test on, of one shape and the same classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Images to train on.
    pub train: Images,
    /// Images never trained on.
    pub test: Images,
    /// What to call it in reports.
    pub name: String,
}

impl Dataset {
    /// With fewer images to train on: the first, at most so many; all without a number.
    #[must_use]
    pub fn with_first(mut self, count: Option<usize>) -> Self {
        self.train = self.train.first(count.unwrap_or(usize::MAX));
        self
    }

    /// The balanced subset of Fashion-MNIST that the crate carries (`assets/fashion-mnist`).
    #[cfg(feature = "data")]
    pub fn embedded() -> Result<Self, DataError> {
        macro_rules! asset {
            ($part:literal, $kind:literal) => {{
                let name = concat!($part, "-", $kind, "-ubyte.gz");
                let bytes = include_bytes!(concat!("../../assets/fashion-mnist/", $part, "-", $kind, "-ubyte.gz"));
                (gunzip(&bytes[..]), name.to_owned())
            }};
        }
        let train = labeled(asset!("train", "images-idx3"), asset!("train", "labels-idx1"))?;
        let test = labeled(asset!("t10k", "images-idx3"), asset!("t10k", "labels-idx1"))?;
        Self::of(train, test, "Fashion-MNIST, 9,000 embedded images".into())
    }

    /// 4,000 scenes to train on and 500 to test on, drawn from the embedded garments; no garment is in both.
    pub fn scenes() -> Result<Self, DataError> {
        let garments = Self::embedded()?;
        let draw = |images: &Images, (count, seed): (usize, u64)| scenes::draw(images, SCENE, count, seed);
        let (train, test) = (draw(&garments.train, TRAINING_SCENES)?, draw(&garments.test, TEST_SCENES)?);
        Self::of(train, test, format!("{} fashion scenes", TRAINING_SCENES.0 + TEST_SCENES.0))
    }

    /// The crate was built without the feature `data`: always [`DataError::Feature`].
    #[cfg(not(feature = "data"))]
    pub fn embedded() -> Result<Self, DataError> {
        Err(DataError::Feature { what: "the embedded Fashion-MNIST".into(), feature: "data" })
    }

    /// The four IDX files `train-images-idx3-ubyte` and so on in `dir`, each with `.gz` (looked for first) or without.
    pub fn fashion_mnist(dir: &Path) -> Result<Self, DataError> {
        let part = |part: &str| {
            let images = open(dir, &format!("{part}-images-idx3-ubyte"))?;
            labeled(images, open(dir, &format!("{part}-labels-idx1-ubyte"))?)
        };
        Self::of(part("train")?, part("t10k")?, format!("Fashion-MNIST in {}", dir.display()))
    }

    pub(super) fn of(train: Images, test: Images, name: String) -> Result<Self, DataError> {
        if (train.height, train.width) != (test.height, test.width) {
            return Err(DataError::Shape {
                what: format!("{name}: test images"),
                found: format!("{} x {} pixels", test.height, test.width),
                expected: format!("{} x {} as in training", train.height, train.width),
            });
        }
        Ok(Self { train, test, name })
    }
}

/// One part: images and their labels, each a reader with the file's name.
fn labeled(
    (images, images_file): (impl Read, String),
    (labels, labels_file): (impl Read, String),
) -> Result<Images, DataError> {
    let images = read_images(images, &images_file)?;
    let classes = FASHION_MNIST_CLASSES.len();
    let labels = read_labels(labels, &labels_file, classes)?;
    if images.count != labels.len() {
        return Err(DataError::Counts { file: labels_file, images: images.count, labels: labels.len() });
    }
    let (height, width, target) = (images.height, images.width, Target::Images);
    Ok(Images { height, width, channels: 1, pixels: images.pixels, labels, target, classes })
}

/// A reader of `dir/name.gz` or else `dir/name`, and the path that was opened.
fn open(dir: &Path, name: &str) -> Result<(Box<dyn Read>, String), DataError> {
    for path in [dir.join(format!("{name}.gz")), dir.join(name)] {
        let file = path.display().to_string();
        match File::open(&path) {
            Ok(opened) if path.extension().is_some_and(|extension| extension == "gz") => {
                return Ok((gunzip_file(BufReader::new(opened), &file)?, file));
            }
            Ok(opened) => return Ok((Box::new(BufReader::new(opened)), file)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DataError::Read { file, source }),
        }
    }
    Err(DataError::Missing { dir: dir.display().to_string(), name: name.into() })
}

#[cfg(feature = "data")]
fn gunzip_file(reader: BufReader<File>, _file: &str) -> Result<Box<dyn Read>, DataError> {
    Ok(Box::new(gunzip(reader)))
}

#[cfg(not(feature = "data"))]
fn gunzip_file(_reader: BufReader<File>, file: &str) -> Result<Box<dyn Read>, DataError> {
    Err(DataError::Feature { what: format!("{file} (gzip)"), feature: "data" })
}

/// Decompresses one gzip member; bytes after it are an error, where the decoder alone would pass them over.
#[cfg(feature = "data")]
pub fn gunzip(reader: impl BufRead) -> impl Read {
    OneMember(flate2::bufread::GzDecoder::new(reader))
}

#[cfg(feature = "data")]
struct OneMember<R>(flate2::bufread::GzDecoder<R>);

#[cfg(feature = "data")]
impl<R: BufRead> Read for OneMember<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read(into)?;
        if bytes == 0 && !into.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end of the gzip data"));
        }
        Ok(bytes)
    }
}
