//! Who knows already, beside a network that learns: what it says of the same images is a part of the loss.

mod logits;
mod network;

use std::path::Path;
use std::sync::Arc;

use super::batches::Normalization;
use super::data::DataError;
use super::error::TrainError;
use super::samples::Samples;
use super::weights::{Headed, Weights, WeightsError};
use crate::gpu::Homes;
use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::models::parameters::TEACHER;
use crate::models::{Model, Network, Parameter, Target};
use logits::Logits;
pub use logits::LogitsFile;
use network::Evaluated;

/// What a run learns of a teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct Distilled {
    /// The teacher's share of the loss, from 0 to 1; labels have the rest.
    pub share: f64,
    /// What logits are divided by before they are compared, above 0.
    pub temperature: f64,
    /// The teacher.
    pub teacher: Arc<Teacher>,
}

/// A network with the weights of a file, which is shown every image as the one that learns is; or a file of what somebody has said of
/// every image as it lies in the data, neither mirrored nor moved.
#[derive(Debug)]
pub struct Teacher(Knows);

#[derive(Debug)]
enum Knows {
    Network(Evaluated),
    Logits(Logits),
}

/// By what they know.
impl PartialEq for Teacher {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Teacher {
    /// Reads a weight file, ours or PyTorch's; or logits, a safetensors file with one tensor, `logits` `[images, classes]` in F32, F16 or
    /// BF16, a row for every training image in the order of the data ([`LogitsFile`]).
    ///
    /// # Errors
    /// When it is not there, cut off, of another format, or of no network of ours; when a number is not finite.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::of_file(Headed::open(path)?)
    }

    /// The same of the bytes of a file that errors call `file`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(file: &str, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        Self::of_file(Headed::of_bytes(file, bytes)?)
    }

    fn of_file(file: Headed) -> Result<Self, WeightsError> {
        if Logits::are_in(&file) {
            return Ok(Self(Knows::Logits(Logits::of(file)?)));
        }
        match Weights::of(file).and_then(|weights| Evaluated::open(&weights)) {
            Ok(own) => Ok(Self(Knows::Network(own))),
            Err(WeightsError::Nameless { file, problem }) => {
                let remedy = "ask it by `vistok teach --model NAME` and give what that writes";
                let problem = format!("it does not say of which model it is, and {problem}; {remedy}");
                Err(WeightsError::Teacher { file, problem })
            }
            Err(error) => Err(error),
        }
    }

    /// A network for images of this height, width and channels, with the numbers that `numbers` gives each parameter; how pixels became
    /// numbers where it learned, if that is known.
    ///
    /// # Errors
    /// When the images do not fit the network, or `numbers` fails.
    pub fn of(
        network: Network,
        image: [usize; 3],
        normalization: Option<Normalization>,
        numbers: impl FnMut(&Parameter) -> Result<Vec<f32>, WeightsError>,
    ) -> Result<Self, WeightsError> {
        Ok(Self(Knows::Network(Evaluated::of(network, image, normalization, numbers)?)))
    }

    /// A number that tells it from other teachers.
    #[must_use]
    pub fn digest(&self) -> u64 {
        match &self.0 {
            Knows::Network(own) => own.digest,
            Knows::Logits(own) => own.digest,
        }
    }

    /// Adds what it says of the images that a model is given: with a network its layers, with a file an input of the name [`TEACHER`].
    pub(super) fn logits(&self, graph: &mut Graph, model: &dyn Model, images: Value) -> Result<Value, GraphError> {
        let (name, classes, target) = match &self.0 {
            Knows::Network(own) => {
                let own = own.network.model();
                (own.name(), own.classes(), own.target())
            }
            Knows::Logits(own) => ("a file of logits", own.classes, Target::Images),
        };
        if (classes, target) != (model.classes(), model.target()) {
            let said = |classes, target| format!("{classes} classes of {target:?}").to_lowercase();
            let (own, other) = (said(classes, target), said(model.classes(), model.target()));
            return Err(refusal(name, &format!("tells {own}, and the model {other}")));
        }
        match &self.0 {
            Knows::Network(own) => own.logits(graph, images),
            Knows::Logits(own) => {
                let images = graph.tensor(images);
                if let Some(problem) = own.misfit_of(images.elem) {
                    return Err(refusal(name, &problem));
                }
                let logits = Tensor::new([images.shape[0], classes], images.elem);
                Ok(graph.input(TEACHER, logits))
            }
        }
    }

    /// That what it has said is of these images.
    pub(super) fn check(&self, images: &dyn Samples) -> Result<(), DataError> {
        match &self.0 {
            Knows::Network(_) => Ok(()),
            Knows::Logits(own) => own.check(images),
        }
    }

    /// Writes what its file says of some of the images one behind the other; nothing of a network, which is asked on the GPU.
    pub(super) fn gather(&self, images: &dyn Samples, indices: &[usize], rows: &mut Vec<f32>) -> Result<(), DataError> {
        match &self.0 {
            Knows::Network(_) => Ok(()),
            Knows::Logits(own) => own.gather(images, indices, rows),
        }
    }
}

fn refusal(teacher: &str, problem: &str) -> GraphError {
    GraphError::Name(format!("the teacher, {teacher}, {problem}: give another --teacher"))
}

/// Makes the teacher, if there is one, ready to say something of these images: writes its weights into their home.
pub(super) fn load(
    distilled: Option<&Distilled>,
    (images, normalization): (&dyn Samples, Normalization),
    homes: &Homes,
) -> Result<(), TrainError> {
    match distilled.map(|distilled| &distilled.teacher.0) {
        None => Ok(()),
        Some(Knows::Network(own)) => own.load(normalization, homes),
        Some(Knows::Logits(own)) => Ok(own.check(images)?),
    }
}
