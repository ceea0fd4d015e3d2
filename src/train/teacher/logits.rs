//! What a teacher has said of every training image, in a file: for teachers that are too large to stand beside, or of other programs.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo, TensorView};

use crate::train::checkpoint::CheckpointError;
use crate::train::data::{DataError, digest};
use crate::train::files;
use crate::train::samples::Samples;
use crate::train::weights::{Floats, Headed, WeightsError, floats, place};

/// The tensor of such a file, and all of them.
const NAME: &str = "logits";
/// What is noted beside it, where it is known: a number that tells the images from others.
const IMAGES: &str = "images";
/// Numbers that are looked at in one go.
const CHUNK: usize = 1 << 18;

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
}

impl Logits {
    /// Whether a file has logits, and no weights.
    pub(super) fn are_in(file: &Headed) -> bool {
        file.tensors.len() == 1 && file.tensors.contains_key(NAME)
    }

    /// Those of a file, each of which is finite.
    pub(super) fn of(file: Headed) -> Result<Self, WeightsError> {
        let refuse = |reason: String| CheckpointError::Format { file: file.file.clone(), reason };
        let info = file.tensors.get(NAME).ok_or_else(|| refuse(format!("it has no tensor `{NAME}`")))?.clone();
        let &[images @ (1..), classes @ (1..)] = &info.shape[..] else {
            return Err(refuse(format!("`{NAME}` is {:?}, and must be [images, classes]", info.shape)).into());
        };
        let Some(floats) = floats(info.dtype) else {
            return Err(refuse(format!("`{NAME}` is {:?}, and must be F32, F16 or BF16", info.dtype)).into());
        };
        let noted = file.noted.get(IMAGES).map(|text| u64::from_str_radix(text, 16)).transpose();
        let of = noted.map_err(|error| refuse(format!("what it notes of its {IMAGES}: {error}")))?;
        let mut logits = Self { file, info, floats, images, classes, of, digest: 0 };
        logits.digest = logits.looked_through()?;
        Ok(logits)
    }

    /// Reads all of them once, and tells them from others.
    fn looked_through(&self) -> Result<u64, WeightsError> {
        let rows = (CHUNK / self.classes).max(1);
        let mut seen = digest(self.info.shape.iter().flat_map(|&size| (size as u64).to_le_bytes()));
        for first in (0..self.images).step_by(rows) {
            let numbers = self.rows(first..self.images.min(first + rows)).map_err(|source| self.file.unread(source))?;
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                let count = numbers.iter().filter(|number| !number.is_finite()).count();
                let place = place(&self.info.shape, first * self.classes + at);
                let (file, tensor) = (self.file.file.clone(), NAME.to_owned());
                return Err(WeightsError::NotFinite { file, tensor, at: place, number: numbers[at], count });
            }
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
            seen = digest(seen.to_le_bytes().into_iter().chain(bytes));
        }
        Ok(seen)
    }

    fn rows(&self, rows: Range<usize>) -> io::Result<Vec<f32>> {
        let (from, to) = self.info.data_offsets;
        let row = (to - from) / self.images;
        Ok((self.floats)(&self.file.bytes_at(from + rows.start * row..from + rows.end * row)?))
    }

    /// That there is a row for each of these images.
    pub(super) fn fits(&self, images: &dyn Samples) -> Result<(), DataError> {
        match images.count() == self.images {
            true => Ok(()),
            false => {
                let expected = format!("a row for each of {} (--teacher)", images.count());
                Err(self.misfit(format!("rows of {} images", self.images), &expected))
            }
        }
    }

    /// That they are of these images and of no others, as far as the file knows.
    pub(super) fn check(&self, images: &dyn Samples) -> Result<(), DataError> {
        self.fits(images)?;
        match self.of.is_none_or(|of| of == images.origin()) {
            true => Ok(()),
            false => Err(self.misfit("rows of other images".to_owned(), "rows of these (--teacher, --data)")),
        }
    }

    /// Writes the rows of some of the images one behind the other.
    pub(super) fn gather(&self, images: &dyn Samples, indices: &[usize], rows: &mut Vec<f32>) -> Result<(), DataError> {
        if images.skipped() > 0 {
            let expected = "all of them to be, for the row of one says nothing of another that stands in for it: leave \
                            them out of the data, or give a teacher's weights (--teacher)";
            return Err(self.misfit(format!("{} images that cannot be read", images.skipped()), expected));
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

/// Writes what a teacher says of images, `[images, classes]`, into a file that [`Teacher::open`](super::Teacher::open) reads: the tensor
/// `logits`, and beside it a number that tells the images from others. The file is whole or what it was.
///
/// # Errors
/// When there are not as many numbers for each image, or the file system refuses.
pub fn write_logits(path: &Path, logits: &[f32], images: &dyn Samples) -> Result<(), CheckpointError> {
    let format = |error: safetensors::SafeTensorError| CheckpointError::Format {
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let bytes: Vec<u8> = bytemuck::allocation::pod_collect_to_vec(logits);
    let shape = vec![images.count(), logits.len() / images.count().max(1)];
    let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(format)?;
    let noted = HashMap::from([(IMAGES.to_owned(), format!("{:016x}", images.origin()))]);
    let bytes = safetensors::serialize([(NAME, view)], Some(noted)).map_err(format)?;
    files::replace(path, &bytes).map_err(|source| CheckpointError::File {
        file: path.display().to_string(),
        doing: "write",
        source,
    })
}
