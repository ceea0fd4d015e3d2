//! How well a model tells the classes of images, or of their pixels.

use super::batches::{Augmentation, Batches, Normalization};
use super::data::{IGNORED, Target};
use super::error::TrainError;
use super::samples::{Samples, UNREAD, sizes};
use super::step::SCORES;
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::graph::Graph;
use crate::plan::{Options, Plan};

/// A model ready to be evaluated: a graph with input `images` `[N, H, W, C]` and output `logits` `[N, classes]`, or of pixels
/// `[N, H, W, classes]` and what [`scored_evaluation`](super::step::scored_evaluation) adds.
pub struct Evaluator {
    executor: Executor,
    images: [usize; 4],
    classes: usize,
    target: Target,
    tell: Box<dyn Fn(usize) + Send + Sync>,
}

/// How well a model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Score {
    /// The share of images whose class is the right one; skipped ones are in neither number.
    Images {
        /// From 0 to 1.
        right: f64,
    },
    /// Of models that segment.
    Pixels(Segmented),
}

/// How well pixels are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmented {
    /// The mean over the classes that any label is of: from 0 to 1.
    pub mean_iou: f64,
    /// The share of labeled pixels whose class is the right one.
    pub right: f64,
    /// Of each class: pixels of both label and prediction over pixels of either; `None` where no label is of it.
    pub iou: Vec<Option<f64>>,
    /// Of each class: pixels whose label is of it.
    pub labeled: Vec<u64>,
}

impl Segmented {
    /// Of counts `[label, prediction]`.
    fn of(counts: &[u64], classes: usize) -> Self {
        let count = |label: usize, class: usize| counts[label * classes + class];
        let iou = |class: usize| {
            let labeled: u64 = (0..classes).map(|other| count(class, other)).sum();
            let predicted: u64 = (0..classes).map(|other| count(other, class)).sum();
            let both = count(class, class);
            (labeled > 0).then(|| both as f64 / (labeled + predicted - both) as f64)
        };
        let iou: Vec<Option<f64>> = (0..classes).map(iou).collect();
        let present: Vec<f64> = iou.iter().copied().flatten().collect();
        let right: u64 = (0..classes).map(|class| count(class, class)).sum();
        Self {
            mean_iou: present.iter().sum::<f64>() / present.len().max(1) as f64,
            right: right as f64 / counts.iter().sum::<u64>().max(1) as f64,
            iou,
            labeled: (0..classes).map(|label| (0..classes).map(|class| count(label, class)).sum()).collect(),
        }
    }

    /// On the same images, of a model that takes every pixel for this class: what any other has to beat.
    #[must_use]
    pub fn constant(&self, class: usize) -> Self {
        let classes = self.labeled.len();
        let count = |at: usize| if at % classes == class { self.labeled[at / classes] } else { 0 };
        Self::of(&(0..classes * classes).map(count).collect::<Vec<u64>>(), classes)
    }
}

impl Evaluator {
    /// Plans `graph` on homes that may be those of a training run.
    ///
    /// # Errors
    /// When the graph lacks `images` or `logits`, or does not fit the machine or the homes.
    pub fn new(device: &Device, pipelines: &Pipelines, graph: &Graph, homes: &Homes) -> Result<Self, TrainError> {
        let shape = |value: Option<crate::graph::Value>| value.map(|value| graph.tensor(value).shape.clone());
        let images = shape(graph.find_input("images")).and_then(|shape| shape.rank());
        let logits = shape(graph.find_output("logits"));
        let (images, classes, target) = match (images, logits.as_deref()) {
            (Some(images), Some(&[_, classes])) => (images, classes, Target::Images),
            (Some(images), Some(&[_, _, _, classes])) if graph.find_input("labels").is_some() => {
                (images, classes, Target::Pixels)
            }
            _ => {
                let problem = "evaluation takes an input `images` [N, H, W, C] and an output `logits` [N, classes], or [N, H, W, \
                               classes] and what `scored_evaluation` adds";
                return Err(crate::graph::GraphError::Name(problem.to_owned()).into());
            }
        };
        let plan = Plan::new(graph, homes.layout(), device.capabilities(), Options::default())?;
        let executor = Executor::new(device, pipelines, plan, homes)?;
        Ok(Self { executor, images, classes, target, tell: Box::new(|_| ()) })
    }

    /// The same, which tells after every batch of how many images it has seen since it began with them.
    #[must_use]
    pub fn telling(self, tell: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self { tell: Box::new(tell), ..self }
    }

    /// The executor, for other outputs of the graph.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The class that each image scores highest in; of equal scores the first.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn predictions(&self, images: &dyn Samples, normalization: Normalization) -> Result<Vec<usize>, TrainError> {
        let mut predictions = Vec::with_capacity(images.count());
        self.logits(images, normalization, |rows| {
            predictions.extend(rows.chunks_exact(self.classes).map(best));
            Ok(())
        })?;
        Ok(predictions)
    }

    /// What the model says of each image, in their order: `seen` is given `[images, classes]` of some at a time.
    ///
    /// # Errors
    /// When the images are of another shape or number of classes, the model tells classes of pixels, the machine fails, or `seen` does.
    pub fn logits(
        &self,
        images: &dyn Samples,
        normalization: Normalization,
        mut seen: impl FnMut(&[f32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        if self.target != Target::Images {
            let (found, expected) = ("a class an image".to_owned(), "a class a pixel".to_owned());
            return Err(TrainError::Mismatch { what: "what is asked for", found, expected });
        }
        self.batches(images, normalization, |_, labels| {
            seen(&self.executor.read_named("logits")?[..labels.len() * self.classes])
        })
    }

    /// How well the model does on these images.
    ///
    /// # Errors
    /// When the images are of another shape or number of classes, or the machine fails.
    pub fn score(&self, images: &dyn Samples, normalization: Normalization) -> Result<Score, TrainError> {
        if self.target == Target::Pixels {
            return Ok(Score::Pixels(self.segmented(images, normalization)?));
        }
        let (mut right, mut counted) = (0, 0);
        self.batches(images, normalization, |_, labels| {
            let logits = self.executor.read_named("logits")?;
            let found = logits.chunks_exact(self.classes).map(best);
            right += found.zip(labels).filter(|(found, label)| *found == **label as usize).count();
            counted += labels.iter().filter(|label| **label != UNREAD).count();
            Ok(())
        })?;
        Ok(Score::Images { right: right as f64 / counted.max(1) as f64 })
    }

    /// The share of images, or of labeled pixels, whose prediction is their label.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn accuracy(&self, images: &dyn Samples, normalization: Normalization) -> Result<f64, TrainError> {
        match self.score(images, normalization)? {
            Score::Images { right } | Score::Pixels(Segmented { right, .. }) => Ok(right),
        }
    }

    /// Counts on the GPU, read before a number could pass 2^32.
    fn segmented(&self, images: &dyn Samples, normalization: Normalization) -> Result<Segmented, TrainError> {
        let homes = self.executor.homes();
        let cells = self.classes * self.classes;
        let clear = || homes.write_bytes(SCORES, "confusion", &vec![0; 4 * cells]);
        let mut counts = vec![0u64; cells];
        let mut take = || {
            let bytes = homes.read_bytes(SCORES, "confusion")?;
            let words = bytes.as_chunks::<4>().0.iter();
            counts.iter_mut().zip(words).for_each(|(count, word)| *count += u64::from(u32::from_le_bytes(*word)));
            Ok::<_, TrainError>(clear()?)
        };
        let [size, height, width, _] = self.images;
        let most = (u32::MAX as usize / (size * height * width).max(1)).max(1);
        clear()?;
        self.batches(images, normalization, |at, _| if (at + 1) % most == 0 { take() } else { Ok(()) })?;
        take()?;
        Ok(Segmented::of(&counts, self.classes))
    }

    /// Runs every batch; `seen` is told its number and the labels of those of its images that are real.
    fn batches(
        &self,
        images: &dyn Samples,
        normalization: Normalization,
        mut seen: impl FnMut(usize, &[u32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let [size, height, width, channels] = self.images;
        fits(images, [height, width, channels], (self.classes, self.target))?;
        // A batch larger than all images is one padded batch of them.
        let size_of_data = size.min(images.count());
        let batches = Batches::new(images, normalization, size_of_data, 0, Augmentation::default())?;
        let [numbers, each] = sizes(images);
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for at in 0..batches.evaluation_count() {
            let real = batches.evaluation_batch(at, &mut pixels, &mut labels)?;
            pixels.resize(size * numbers, 0.0);
            self.executor.write_f32("images", &pixels)?;
            if self.target == Target::Pixels {
                labels.resize(size * each, IGNORED);
                self.executor.write_u32("labels", &labels)?;
            }
            self.executor.run()?;
            seen(at, &labels[..real * each])?;
            (self.tell)(at * batches.size() + real);
        }
        Ok(())
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

/// That images are of this shape `[H, W, C]`, and have so many classes of images or of pixels.
pub(super) fn fits(
    images: &dyn Samples,
    shape: [usize; 3],
    (classes, target): (usize, Target),
) -> Result<(), TrainError> {
    let found = images.image();
    if found != shape {
        let (found, expected) = (format!("{found:?}"), format!("{shape:?}"));
        return Err(TrainError::Mismatch { what: "height, width and channels of the images", found, expected });
    }
    if images.target() != target {
        let said = |target| match target {
            Target::Images => "each image".to_owned(),
            Target::Pixels => "each pixel".to_owned(),
        };
        let (found, expected) = (said(images.target()), said(target));
        return Err(TrainError::Mismatch { what: "what has a label", found, expected });
    }
    if images.classes() != classes {
        let (found, expected) = (images.classes().to_string(), classes.to_string());
        return Err(TrainError::Mismatch { what: "classes of the images", found, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_wins_and_nan_never() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(best(&[f32::NAN, -1.0, f32::NAN]), 1);
    }

    #[test]
    fn classes_without_labels_do_not_count() {
        // Three pixels of class 0, two of class 1, none of class 2.
        let found = Segmented::of(&[2, 0, 1, 1, 1, 0, 0, 0, 0], 3);
        assert_eq!((found.iou, found.right), (vec![Some(0.5), Some(0.5), None], 0.6));
        let least = Segmented::of(&[2, 0, 1, 1, 1, 0, 0, 0, 0], 3).constant(0);
        let expected = (0.3, 0.6, vec![Some(0.6), Some(0.0), None], vec![3, 2, 0]);
        assert_eq!((least.mean_iou, least.right, least.iou, least.labeled), expected);
    }
}
