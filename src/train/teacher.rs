//! A network that knows already, beside one that learns: what it says of the same images is a part of the loss.

use std::path::Path;
use std::sync::Arc;

use super::batches::Normalization;
use super::data::digest;
use super::error::TrainError;
use super::weights::{Weights, WeightsError, declared};
use crate::gpu::Homes;
use crate::graph::{Graph, GraphError, Value};
use crate::models::parameters::TEACHER;
use crate::models::{Mode, Model, Network, Parameter, Parameters};

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

/// A network with the weights of a file. It evaluates, in the training step itself, the images that the other is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Teacher {
    network: Network,
    /// Height, width and channels of its images.
    image: [usize; 3],
    /// How pixels became numbers where it learned; files of other programs do not say.
    normalization: Option<Normalization>,
    /// Its parameters by name, in their order.
    numbers: Vec<(String, Vec<f32>)>,
    digest: u64,
}

impl Teacher {
    /// Reads a weight file, ours or PyTorch's.
    ///
    /// # Errors
    /// When it is not there, cut off, of another format, or of no network of ours.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let weights = Weights::open(path)?;
        let (network, image) = (weights.network()?, weights.image());
        weights.check(network.model().name(), &declared(network.model(), image)?)?;
        let normalization = weights.about().map(|about| about.normalization);
        Self::of(network, image, normalization, |parameter| weights.numbers(parameter))
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
        mut numbers: impl FnMut(&Parameter) -> Result<Vec<f32>, WeightsError>,
    ) -> Result<Self, WeightsError> {
        let parameters = declared(network.model(), image)?;
        let numbers = parameters.iter().map(|known| Ok((known.name.clone(), numbers(known)?)));
        let numbers: Vec<(String, Vec<f32>)> = numbers.collect::<Result<_, WeightsError>>()?;
        let bytes = numbers.iter().flat_map(|(_, numbers)| numbers).flat_map(|number| number.to_le_bytes());
        let digest = digest(network.to_string().into_bytes().into_iter().chain(bytes));
        Ok(Self { network, image, normalization, numbers, digest })
    }

    /// Its network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A number that tells it from other teachers.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// That it can teach this model of images `[N, H, W, C]`.
    fn check(&self, model: &dyn Model, images: &[usize]) -> Result<(), GraphError> {
        let own = self.network.model();
        let said = |model: &dyn Model| format!("{} classes of {:?}", model.classes(), model.target()).to_lowercase();
        let problem = match (own.classes(), own.target()) == (model.classes(), model.target()) {
            false => format!("tells {}, and the model {}", said(own), said(model)),
            true if images[1..] != self.image => {
                format!("was made for images of {:?}, and the model is given {:?}", self.image, &images[1..])
            }
            true => return Ok(()),
        };
        Err(GraphError::Name(format!("the teacher, {}, {problem}: give another --teacher", own.name())))
    }

    /// Adds what it says of the images that a model is given.
    pub(super) fn logits(&self, graph: &mut Graph, model: &dyn Model, images: Value) -> Result<Value, GraphError> {
        self.check(model, &graph.tensor(images).shape)?;
        let parameters = &mut Parameters::kept_in(TEACHER);
        // A scope of its own: blocks that are made again for a backward pass go by their scopes.
        graph.scoped(TEACHER, |graph| self.network.model().logits(graph, parameters, images, Mode::Evaluate))
    }
}

/// Writes the weights of the teacher, if there is one, into its home.
pub(super) fn load(
    distilled: Option<&Distilled>,
    normalization: Normalization,
    homes: &Homes,
) -> Result<(), TrainError> {
    let Some(Distilled { teacher, .. }) = distilled else { return Ok(()) };
    if let Some(own) = teacher.normalization.filter(|own| *own != normalization) {
        let what = "how the images of the teacher became numbers, which must have learned the same images (--teacher)";
        let (found, expected) = (format!("{own:?}"), format!("{normalization:?}"));
        return Err(TrainError::Mismatch { what, found, expected });
    }
    for (name, numbers) in &teacher.numbers {
        homes.write_f32(TEACHER, &format!("{TEACHER}/{name}"), numbers)?;
    }
    Ok(())
}
