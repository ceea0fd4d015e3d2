//! What a teacher has said of every training image, in a file: for teachers that are too large to stand beside, or of other programs.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde_json::json;

use crate::kernel::Elem;
use crate::train::checkpoint::CheckpointError;
use crate::train::data::{DataError, digest};
use crate::train::files::Replacement;
use crate::train::samples::Samples;
use crate::train::weights::{Floats, Headed, WeightsError, floats, place};

/// The tensor of such a file, and all of them.
const NAME: &str = "logits";
/// What is noted beside it, where it is known: a number that tells the images from others.
const IMAGES: &str = "vistok.images";
/// Numbers that are looked at in one go, and classes at most.
const CHUNK: usize = 1 << 18;
/// What f16 holds at most.
const MOST_F16: f32 = 65_504.0;

/// Logits `[images, classes]` of a file. Rows are read as batches ask for them: of ImageNet's images they are gigabytes.
#[derive(Debug)]
pub(super) struct Logits {
    file: Headed,
    info: TensorInfo,
    floats: Floats,
    images: usize,
    pub(super) classes: usize,
    /// [`Samples::origin`] of the images, if it is noted.
    of: Option<u64>,
    pub(super) digest: u64,
    /// The largest magnitude.
    largest: f32,
}

impl Logits {
    /// Whether a file has logits, and so no weights.
    pub(super) fn are_in(file: &Headed) -> bool {
        file.tensors.contains_key(NAME)
    }

    /// Those of a file, each of which is finite.
    pub(super) fn of(file: Headed) -> Result<Self, WeightsError> {
        let refuse = |problem: String| WeightsError::Teacher { file: file.file.clone(), problem };
        let others: Vec<&str> = file.tensors.keys().map(String::as_str).filter(|name| *name != NAME).collect();
        if !others.is_empty() {
            return Err(refuse(format!("beside `{NAME}` it has {}: leave them out", others.join(", "))));
        }
        let info = file.tensors.get(NAME).ok_or_else(|| refuse(format!("it has no tensor `{NAME}`")))?.clone();
        let &[images @ (1..), classes @ 1..=CHUNK] = &info.shape[..] else {
            let wanted = format!("[images, classes], none of them 0 and of classes {CHUNK} at most");
            return Err(refuse(format!("`{NAME}` is {:?}, and must be {wanted}", info.shape)));
        };
        let Some(floats) = floats(info.dtype) else {
            return Err(refuse(format!("`{NAME}` is {:?}, and must be F32, F16 or BF16", info.dtype)));
        };
        let noted = file.noted.get(IMAGES).map(|text| u64::from_str_radix(text, 16)).transpose();
        let of =
            noted.map_err(|error| refuse(format!("what it notes as `{IMAGES}` is no number of ours ({error})")))?;
        let mut logits = Self { file, info, floats, images, classes, of, digest: 0, largest: 0.0 };
        (logits.digest, logits.largest) = logits.looked_through()?;
        Ok(logits)
    }

    /// Reads all of them once: what tells them from others, and the largest magnitude.
    fn looked_through(&self) -> Result<(u64, f32), WeightsError> {
        let rows = (CHUNK / self.classes).max(1);
        let mut seen = digest(self.info.shape.iter().flat_map(|&size| (size as u64).to_le_bytes()));
        let mut largest = 0.0_f32;
        for first in (0..self.images).step_by(rows) {
            let numbers = self.rows(first..self.images.min(first + rows)).map_err(|source| self.file.unread(source))?;
            finite(&numbers, (&self.file.file, &self.info.shape, first))?;
            largest = numbers.iter().fold(largest, |largest, number| largest.max(number.abs()));
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
            seen = digest(seen.to_le_bytes().into_iter().chain(bytes));
        }
        Ok((seen, largest))
    }

    fn rows(&self, rows: Range<usize>) -> io::Result<Vec<f32>> {
        let (from, to) = self.info.data_offsets;
        let row = (to - from) / self.images;
        Ok((self.floats)(&self.file.bytes_at(from + rows.start * row..from + rows.end * row)?))
    }

    /// What is wrong with them where networks compute in this type, if anything is.
    pub(super) fn misfit_of(&self, elem: Elem) -> Option<String> {
        let overflows = elem == Elem::F16 && self.largest > MOST_F16;
        overflows.then(|| format!("says {}, which f16 does not hold (leave --f16 out)", self.largest))
    }

    /// That they are of these images and of no others, as far as the file knows.
    pub(super) fn check(&self, images: &dyn Samples) -> Result<(), DataError> {
        if images.count() != self.images {
            let expected = format!("a row for each of {} (--teacher)", images.count());
            return Err(self.misfit(format!("rows of {} images", self.images), &expected));
        }
        match self.of.is_none_or(|of| of == images.origin()) {
            true => Ok(()),
            false => Err(self.misfit("rows of other images".to_owned(), "rows of these (--teacher, --data)")),
        }
    }

    /// Writes the rows of some of the images one behind the other.
    pub(super) fn gather(&self, images: &dyn Samples, indices: &[usize], rows: &mut Vec<f32>) -> Result<(), DataError> {
        if images.skipped() > 0 {
            return Err(self.misfit(format!("{} of the images unreadable", images.skipped()), ALL_READABLE));
        }
        rows.clear();
        for &index in indices {
            let row = self.rows(index..index + 1);
            rows.extend(row.map_err(|source| DataError::Read { file: self.file.file.clone(), source })?);
        }
        Ok(())
    }

    fn misfit(&self, found: String, expected: &str) -> DataError {
        let what = format!("the teacher's logits, {}", self.file.file);
        DataError::Shape { what, found, expected: expected.to_owned() }
    }
}

const ALL_READABLE: &str = "none: a row says nothing of the image that stands in for its own. Leave those out of the data and let `vistok \
                            teach` ask again, or give a teacher's weights (--teacher)";

/// That rows from one on are numbers, in a file with logits of this shape.
fn finite(numbers: &[f32], (file, shape, first): (&str, &[usize], usize)) -> Result<(), WeightsError> {
    let Some(at) = numbers.iter().position(|number| !number.is_finite()) else { return Ok(()) };
    let count = numbers.iter().filter(|number| !number.is_finite()).count();
    let (file, tensor, number) = (file.to_owned(), NAME.to_owned(), numbers[at]);
    Err(WeightsError::NotFinite { file, tensor, at: place(shape, first * shape[1] + at), number, count })
}

/// A file of what a teacher says of images, for [`Teacher::open`](super::Teacher::open): the tensor `logits` `[images, classes]`, and beside
/// it a number that tells the images from others. It is there when it is whole, and until then what was there.
#[derive(Debug)]
pub struct LogitsFile {
    file: Replacement,
    name: String,
    shape: [usize; 2],
    /// Numbers that are written.
    written: usize,
}

impl LogitsFile {
    /// Begins one for so many classes of each of these images.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(path: &Path, images: &dyn Samples, classes: usize) -> Result<Self, WeightsError> {
        let (name, shape) = (path.display().to_string(), [images.count(), classes]);
        let noted = format!("{:016x}", images.origin());
        let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": [0, 4 * shape[0] * classes] });
        let mut head = json!({ "__metadata__": { IMAGES: noted }, NAME: tensor }).to_string();
        // Numbers begin at a multiple of their size.
        head.extend(std::iter::repeat_n(' ', head.len().next_multiple_of(8) - head.len()));
        let begun = Replacement::begin(path).and_then(|mut file| {
            file.write_all(&(head.len() as u64).to_le_bytes())?;
            file.write_all(head.as_bytes())?;
            Ok(file)
        });
        let file = begun.map_err(|source| unwritten(&name, source))?;
        Ok(Self { file, name, shape, written: 0 })
    }

    /// Writes what is said of the next images, `[some, classes]`.
    ///
    /// # Errors
    /// When a number is not finite, or the file system refuses.
    pub fn write(&mut self, rows: &[f32]) -> Result<(), WeightsError> {
        finite(rows, (&self.name, &self.shape, self.written / self.shape[1].max(1)))?;
        self.written += rows.len();
        let bytes: Vec<u8> = bytemuck::allocation::pod_collect_to_vec(rows);
        self.file.write_all(&bytes).map_err(|source| unwritten(&self.name, source))
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// When something was not said of every image, or the file system refuses.
    pub fn finish(self, images: &dyn Samples) -> Result<(), WeightsError> {
        let [count, classes] = self.shape;
        let problem = match (count.checked_mul(classes) == Some(self.written), images.skipped()) {
            (true, 0) => None,
            (true, skipped) => Some(format!("{skipped} of the images cannot be read: leave them out of the data")),
            (false, _) => {
                Some(format!("{} numbers of {count} images and {classes} classes were written", self.written))
            }
        };
        match problem {
            Some(problem) => Err(WeightsError::Teacher { file: self.name, problem }),
            None => self.file.finish().map_err(|source| unwritten(&self.name, source)),
        }
    }
}

fn unwritten(file: &str, source: io::Error) -> WeightsError {
    CheckpointError::File { file: file.to_owned(), doing: "write", source }.into()
}
