//! Weights from files and into them: ours, and those of PyTorch under torchvision's and timm's names.
//!
//! Which of the two a file is, its names say; [`pytorch`](crate::models::pytorch) has the table of them. F32, F16 and BF16
//! are read. Reading is strict: each tensor of the model once, in its shape, finite, and nothing else, but for PyTorch's
//! counters of batches. What does not fit is listed, all of it.

mod error;
mod header;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo, TensorView};

pub use error::{Misfit, WeightsError};
pub(super) use header::Headed;

use super::checkpoint::{About, CheckpointError, ENTRY, key};
use super::files;
use super::step::evaluation_in;
use crate::gpu::Homes;
use crate::kernel::Elem;
use crate::models::parameters::{AVERAGES, PARAMETERS, STATISTICS};
use crate::models::pytorch::{COUNTER, Counterpart};
use crate::models::{Model, Network, Parameter, Parameters};

/// Whose names the tensors of a file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Ours: home and name, `parameters/stage2/block1/conv1/weight`.
    Ours,
    /// torchvision's and timm's: `layer1.0.conv1.weight`.
    PyTorch,
}

/// The classifier of pixels, and the first convolution behind which it stands.
const PREDICTOR: &str = "head/predictor/bias";
const BACKBONE: &str = "backbone/stem/conv/weight";
/// Height and width that ImageNet's networks are made for.
const IMAGENET: usize = 224;

/// The most channels of images that a file may ask for.
const MOST_CHANNELS: usize = 1024;

/// A weight file whose head was read. Tensors are read one by one, as they are asked for. Where a run of ours has written moving
/// averages of its weights, those are read, unless [`raw`](Self::raw) says otherwise.
#[derive(Debug)]
pub struct Weights {
    inner: Headed,
    names: Names,
    averaged: bool,
    about: Option<About>,
}

impl Weights {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there, cut off, or of another format.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::of(Headed::open(path)?)
    }

    /// The same of the bytes of a file that errors call `file`.
    ///
    /// # Errors
    /// When they are cut off or of another format.
    pub fn parse(file: &str, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        Self::of(Headed::of_bytes(file, bytes)?)
    }

    pub(super) fn of(inner: Headed) -> Result<Self, WeightsError> {
        let ours = |name: &String| [PARAMETERS, STATISTICS].contains(&home(name));
        let names = if inner.tensors.keys().any(ours) { Names::Ours } else { Names::PyTorch };
        let about = match inner.noted.get(ENTRY).map(|text| About::parse(text)).transpose() {
            Ok(about) => about,
            Err(reason) => return Err(CheckpointError::Foreign { file: inner.file, reason }.into()),
        };
        let averaged = names == Names::Ours && inner.tensors.keys().any(|name| home(name) == AVERAGES);
        Ok(Self { inner, names, averaged, about })
    }

    /// The weights themselves, whether the file has their averages or not.
    #[must_use]
    pub fn raw(self) -> Self {
        Self { averaged: false, ..self }
    }

    /// Whether moving averages are read in place of the weights.
    #[must_use]
    pub fn are_averaged(&self) -> bool {
        self.averaged
    }

    /// Whose names its tensors have.
    #[must_use]
    pub fn names(&self) -> Names {
        self.names
    }

    /// What this program noted beside the tensors, if it wrote the file.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.about.as_ref()
    }

    /// The network that the weights are of: the noted one, or the only one with a name that has just these tensors.
    ///
    /// # Errors
    /// When what is noted is no network; when nothing is noted, and none or several have these tensors.
    pub fn network(&self) -> Result<Network, WeightsError> {
        let file = || self.inner.file.clone();
        if let Some(about) = &self.about {
            return about.network().map_err(|source| WeightsError::Network { file: file(), source });
        }
        let classes = self.classes().ok_or_else(|| {
            let problem = "has no classifier of a network of ours (`fc.bias`, `head/predictor/bias`)".to_owned();
            WeightsError::Nameless { file: file(), problem }
        })?;
        let image = self.image();
        let mut known = Vec::new();
        for network in Network::presets(classes) {
            // A network that such images do not fit is none of these.
            if let Ok(parameters) = declared(network.model(), image) {
                let mut misfits = self.misfits(&parameters);
                misfits.retain(|misfit| !matches!(misfit, Misfit::Mistyped { .. }));
                known.push((misfits, network));
            }
        }
        let fits = known.iter().filter(|(misfits, _)| misfits.is_empty());
        let fitting: Vec<&str> = fits.map(|(_, network)| network.model().name()).collect();
        if fitting.len() > 1 {
            let problem = format!("{} have such tensors", fitting.join(", "));
            return Err(WeightsError::Nameless { file: file(), problem });
        }
        match known.into_iter().min_by_key(|(misfits, _)| misfits.len()) {
            Some((misfits, network)) if misfits.is_empty() => Ok(network),
            Some((misfits, nearest)) => {
                let model = format!("any model with a name; the nearest is {}", nearest.model().name());
                Err(WeightsError::Misfits { file: file(), model, misfits })
            }
            None => Err(WeightsError::Nameless { file: file(), problem: "no model reads such images".to_owned() }),
        }
    }

    /// How many classes the classifier tells apart, if there is one.
    #[must_use]
    pub fn classes(&self) -> Option<usize> {
        // Of images, and of pixels, for which PyTorch's libraries have no name in common.
        let names = match self.names {
            Names::Ours => [key(PARAMETERS, "head/bias"), key(PARAMETERS, PREDICTOR)],
            Names::PyTorch => ["fc.bias".to_owned(), PREDICTOR.to_owned()],
        };
        match names.iter().find_map(|name| self.inner.tensors.get(name))?.shape[..] {
            // As many bytes stand behind a size only where it is the only one.
            [classes] if classes > 0 => Some(classes),
            _ => None,
        }
    }

    /// Height, width and channels of the images: the noted ones, or ImageNet's with as many channels as the first
    /// convolution reads.
    #[must_use]
    pub fn image(&self) -> [usize; 3] {
        if let Some(about) = &self.about {
            return about.image;
        }
        let places = match self.names {
            Names::Ours => [(key(PARAMETERS, "stem/conv/weight"), 2), (key(PARAMETERS, BACKBONE), 2)],
            Names::PyTorch => [("conv1.weight".to_owned(), 1), (BACKBONE.to_owned(), 2)],
        };
        let found = places.iter().find_map(|(name, axis)| Some((self.inner.tensors.get(name)?, *axis)));
        let channels = found.and_then(|(info, axis)| info.shape.get(axis).copied());
        [IMAGENET, IMAGENET, channels.filter(|channels| (1..=MOST_CHANNELS).contains(channels)).unwrap_or(3)]
    }

    /// All that is missing, unexpected, misshapen or of another type.
    #[must_use]
    pub fn misfits(&self, parameters: &Parameters) -> Vec<Misfit> {
        let mut found: BTreeMap<&str, &TensorInfo> =
            self.inner.tensors.iter().map(|(name, info)| (&name[..], info)).collect();
        let mut misfits = Vec::new();
        for parameter in parameters.iter() {
            let counterpart = self.counterpart(parameter);
            found.remove(&counterpart.name[..]);
            misfits.extend(self.found(&counterpart).err());
        }
        let read = |name: &str| match self.names {
            // Not velocities and what else a run goes on with.
            Names::Ours if self.averaged => home(name) == AVERAGES,
            Names::Ours => [PARAMETERS, STATISTICS].contains(&home(name)),
            Names::PyTorch => name.rsplit('.').next() != Some(COUNTER),
        };
        let rest = found.into_iter().filter(|(name, _)| read(name));
        misfits
            .extend(rest.map(|(name, info)| Misfit::Unexpected { name: name.to_owned(), shape: info.shape.clone() }));
        misfits
    }

    /// That the tensors are those of a model.
    ///
    /// # Errors
    /// When they are not; the error lists how.
    pub fn check(&self, model: &str, parameters: &Parameters) -> Result<(), WeightsError> {
        let misfits = self.misfits(parameters);
        match misfits.is_empty() {
            true => Ok(()),
            false => Err(WeightsError::Misfits { file: self.inner.file.clone(), model: model.to_owned(), misfits }),
        }
    }

    /// A parameter's numbers, in our layout.
    ///
    /// # Errors
    /// When the file lacks it or has it in another shape or type, a number is not finite, or the file cannot be read.
    pub fn numbers(&self, parameter: &Parameter) -> Result<Vec<f32>, WeightsError> {
        let counterpart = self.counterpart(parameter);
        let (info, floats) = self.found(&counterpart).map_err(|misfit| WeightsError::Misfits {
            file: self.inner.file.clone(),
            model: "the model".to_owned(),
            misfits: vec![misfit],
        })?;
        let numbers = floats(&self.inner.bytes(info)?);
        let Counterpart { name, shape, .. } = &counterpart;
        if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
            let count = numbers.iter().filter(|number| !number.is_finite()).count();
            let (file, tensor, number) = (self.inner.file.clone(), name.clone(), numbers[at]);
            return Err(WeightsError::NotFinite { file, tensor, at: place(shape, at), number, count });
        }
        Ok(counterpart.to_ours(&numbers))
    }

    /// Writes the weights into homes, compared with the model first as by [`check`](Self::check).
    ///
    /// # Errors
    /// When they do not fit or are not finite, or the machine or the file fails; only in the first case is nothing written.
    pub fn load(&self, homes: &Homes, model: &str, parameters: &Parameters) -> Result<(), WeightsError> {
        self.check(model, parameters)?;
        for parameter in parameters.iter() {
            homes.write_f32(parameter.home, &parameter.name, &self.numbers(parameter)?)?;
        }
        Ok(())
    }

    /// The tensor of a parameter, and what makes numbers of its bytes; or how it does not fit.
    fn found(&self, Counterpart { name, shape, .. }: &Counterpart) -> Result<(&TensorInfo, Floats), Misfit> {
        let (name, wanted) = (name.clone(), shape.clone());
        let Some(info) = self.inner.tensors.get(&name) else { return Err(Misfit::Missing { name, shape: wanted }) };
        if info.shape != wanted {
            return Err(Misfit::Misshapen { name, shape: info.shape.clone(), wanted });
        }
        match floats(info.dtype) {
            Some(floats) => Ok((info, floats)),
            None => Err(Misfit::Mistyped { name, kind: format!("{:?}", info.dtype) }),
        }
    }

    /// What a parameter of ours is in this file.
    fn counterpart(&self, parameter: &Parameter) -> Counterpart {
        match self.names {
            Names::Ours => {
                let home = if self.averaged { AVERAGES } else { parameter.home };
                Counterpart::ours(key(home, &parameter.name), parameter)
            }
            Names::PyTorch => Counterpart::of(parameter),
        }
    }
}

/// The home of a tensor in a file of ours.
fn home(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// The parameters of a model for images of this height, width and channels.
///
/// # Errors
/// When the images do not fit the model.
pub fn declared(model: &dyn Model, [height, width, channels]: [usize; 3]) -> Result<Parameters, WeightsError> {
    let mut parameters = Parameters::new();
    evaluation_in(Elem::F32, model, &mut parameters, [1, height, width, channels])?;
    Ok(parameters)
}

/// Writes weights under PyTorch's names: `numbers` gives each parameter's, in our layout. What is noted of a run goes with
/// them, so that the file says of which model it is. The file is whole or what it was.
///
/// # Errors
/// When `numbers` fails, or the file system.
pub fn export(
    path: &Path,
    parameters: &Parameters,
    about: Option<&About>,
    mut numbers: impl FnMut(&Parameter) -> Result<Vec<f32>, WeightsError>,
) -> Result<(), WeightsError> {
    let steps = about.map_or(0, |about| i64::try_from(about.step).unwrap_or(i64::MAX));
    let mut tensors = Vec::new();
    for parameter in parameters.iter() {
        let counterpart = Counterpart::of(parameter);
        let bytes = bytemuck::allocation::pod_collect_to_vec(&counterpart.to_theirs(&numbers(parameter)?));
        // PyTorch wants its counters, though only norms without a momentum read them.
        let counter = counterpart.counter.map(|name| (name, Dtype::I64, vec![], steps.to_le_bytes().to_vec()));
        tensors.push((counterpart.name, Dtype::F32, counterpart.shape, bytes));
        tensors.extend(counter);
    }
    let format = |error: safetensors::SafeTensorError| CheckpointError::Format {
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let mut views = Vec::with_capacity(tensors.len());
    for (name, kind, shape, bytes) in &tensors {
        views.push((&name[..], TensorView::new(*kind, shape.clone(), bytes).map_err(format)?));
    }
    let noted = about.map(|about| HashMap::from([(ENTRY.to_owned(), about.text())]));
    let bytes = safetensors::serialize(views, noted).map_err(format)?;
    files::replace(path, &bytes).map_err(|source| {
        let file = path.display().to_string();
        CheckpointError::File { file, doing: "write", source }.into()
    })
}

/// Makes numbers of little-endian bytes.
pub(super) type Floats = fn(&[u8]) -> Vec<f32>;

/// How a type is read; `None` of one that weights are not read from.
pub(super) fn floats(kind: Dtype) -> Option<Floats> {
    fn each<const N: usize>(bytes: &[u8], number: fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }
    match kind {
        Dtype::F32 => Some(|bytes| each(bytes, f32::from_le_bytes)),
        Dtype::F16 => Some(|bytes| each(bytes, |pair| f16::from_le_bytes(pair).to_f32())),
        Dtype::BF16 => Some(|bytes| each(bytes, |pair| bf16::from_le_bytes(pair).to_f32())),
        _ => None,
    }
}

/// The indices of a tensor's number.
pub(super) fn place(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for (index, &size) in indices.iter_mut().zip(shape).rev() {
        *index = at % size;
        at /= size;
    }
    indices
}
