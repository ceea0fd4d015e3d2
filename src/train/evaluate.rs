//! How many images a model puts into the right class.

use super::batches::{Augmentation, Batches, Normalization};
use super::data::Images;
use super::error::TrainError;
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::graph::Graph;
use crate::plan::{Options, Plan};

/// A model ready to be evaluated: a graph with input `images` `[N, H, W, C]` and output `logits` `[N, classes]`.
pub struct Evaluator {
    executor: Executor,
    images: [usize; 4],
    classes: usize,
}

impl Evaluator {
    /// Plans `graph` on homes that may be those of a training run.
    ///
    /// # Errors
    /// When the graph lacks `images` or `logits`, or does not fit the machine or the homes.
    pub fn new(device: &Device, pipelines: &Pipelines, graph: &Graph, homes: &Homes) -> Result<Self, TrainError> {
        let rank = |value: Option<crate::graph::Value>| value.map(|value| graph.tensor(value).shape.clone());
        let images = rank(graph.find_input("images")).and_then(|shape| shape.rank());
        let logits = rank(graph.find_output("logits")).and_then(|shape| shape.rank());
        let (Some(images), Some([_, classes])) = (images, logits) else {
            let problem = "evaluation takes an input `images` [N, H, W, C] and an output `logits` [N, classes]";
            return Err(crate::graph::GraphError::Name(problem.to_owned()).into());
        };
        let plan = Plan::new(graph, homes.layout(), device.capabilities(), Options::default())?;
        Ok(Self { executor: Executor::new(device, pipelines, plan, homes)?, images, classes })
    }

    /// The executor, for other outputs of the graph.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The class that each image scores highest in; of equal scores the first.
    ///
    /// # Errors
    /// When the images are of another shape or number of classes, or the machine fails.
    pub fn predictions(&self, images: &Images, normalization: Normalization) -> Result<Vec<usize>, TrainError> {
        let [size, height, width, channels] = self.images;
        fits(images, [height, width, channels], self.classes)?;
        // A batch larger than all images is one padded batch of them.
        let size_of_data = size.min(images.count());
        let batches = Batches::new(images, normalization, size_of_data, 0, Augmentation::default())?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let mut predictions = Vec::with_capacity(images.count());
        for at in 0..batches.evaluation_count() {
            let real = batches.evaluation_batch(at, &mut pixels, &mut labels)?;
            pixels.resize(size * images.elems_per_image(), 0.0);
            self.executor.write_f32("images", &pixels)?;
            self.executor.run()?;
            let logits = self.executor.read_named("logits")?;
            predictions.extend(logits.chunks_exact(self.classes).take(real).map(best));
        }
        Ok(predictions)
    }

    /// The share of images whose prediction is their label.
    ///
    /// # Errors
    /// As [`predictions`](Self::predictions).
    pub fn accuracy(&self, images: &Images, normalization: Normalization) -> Result<f64, TrainError> {
        let predictions = self.predictions(images, normalization)?;
        let right = predictions.iter().zip(&images.labels).filter(|(found, label)| **found == usize::from(**label));
        Ok(right.count() as f64 / predictions.len().max(1) as f64)
    }
}

/// Where a row is highest; the first of equals, and never where it is no number.
fn best(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, score) in row.iter().enumerate() {
        if *score > row[best] || row[best].is_nan() {
            best = at;
        }
    }
    best
}

/// That images are of this shape `[H, W, C]` and have this many classes.
pub(super) fn fits(images: &Images, shape: [usize; 3], classes: usize) -> Result<(), TrainError> {
    let found = [images.height, images.width, images.channels];
    if found != shape {
        let (found, expected) = (format!("{found:?}"), format!("{shape:?}"));
        return Err(TrainError::Mismatch { what: "height, width and channels of the images", found, expected });
    }
    if images.classes != classes {
        let (found, expected) = (images.classes.to_string(), classes.to_string());
        return Err(TrainError::Mismatch { what: "classes of the images", found, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn the_first_of_equals_wins_and_nan_never() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(best(&[f32::NAN, -1.0, f32::NAN]), 1);
    }
}
