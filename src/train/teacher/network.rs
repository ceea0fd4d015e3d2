//! A teacher that is a network: it evaluates, in the training step itself, the images that the other is given.

use crate::gpu::Homes;
use crate::graph::{Graph, GraphError, Value};
use crate::models::parameters::TEACHER;
use crate::models::{Mode, Network, Parameter, Parameters};
use crate::train::batches::Normalization;
use crate::train::data::digest;
use crate::train::error::TrainError;
use crate::train::weights::{Weights, WeightsError, declared};

/// A network with its weights.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) network: Network,
    /// Height, width and channels of its images.
    image: [usize; 3],
    /// How pixels became numbers where it learned; files of other programs do not say.
    normalization: Option<Normalization>,
    /// Its parameters by name, in their order.
    numbers: Vec<(String, Vec<f32>)>,
    pub(super) digest: u64,
}

impl Evaluated {
    /// That of a weight file.
    pub(super) fn open(weights: &Weights) -> Result<Self, WeightsError> {
        let (network, image) = (weights.network()?, weights.image());
        weights.check(network.model().name(), &declared(network.model(), image)?)?;
        let normalization = weights.about().map(|about| about.normalization);
        Self::of(network, image, normalization, |parameter| weights.numbers(parameter))
    }

    pub(super) fn of(
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

    /// Adds what it says of images.
    pub(super) fn logits(&self, graph: &mut Graph, images: Value) -> Result<Value, GraphError> {
        let (own, shape) = (self.network.model(), &graph.tensor(images).shape);
        if shape[1..] != self.image {
            let given = &shape[1..];
            let problem = format!("was made for images of {:?}, and the model is given {given:?}", self.image);
            return Err(super::refusal(own.name(), &problem));
        }
        let parameters = &mut Parameters::kept_in(TEACHER);
        // A scope of its own: blocks that are made again for a backward pass go by their scopes.
        graph.scoped(TEACHER, |graph| own.logits(graph, parameters, images, Mode::Evaluate))
    }

    /// Writes its weights into their home.
    pub(super) fn load(&self, normalization: Normalization, homes: &Homes) -> Result<(), TrainError> {
        if let Some(own) = self.normalization.filter(|own| *own != normalization) {
            let what =
                "how the images of the teacher became numbers, which must have learned the same images (--teacher)";
            let (found, expected) = (format!("{own:?}"), format!("{normalization:?}"));
            return Err(TrainError::Mismatch { what, found, expected });
        }
        for (name, numbers) in &self.numbers {
            homes.write_f32(TEACHER, &format!("{TEACHER}/{name}"), numbers)?;
        }
        Ok(())
    }
}
