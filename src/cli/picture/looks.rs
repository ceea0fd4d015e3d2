//! What the tokens of a trained network look at, for some test images: the real attention weights.

use vistok::gpu::Executor;
use vistok::graph::{Graph, Tensor};
use vistok::models::{Parameters, Probe, VtResNet};
use vistok::plan::{Options, Plan};
use vistok::train::Trainer;
use vistok::train::batches::{Augmentation, Batches};
use vistok::train::data::{FASHION_MNIST_CLASSES, Images};

use crate::cli::Error;
use crate::cli::machine::Machine;

/// One image, and where each token of each block looks in it.
pub(crate) struct Look {
    /// What the image shows, and what the network takes it for.
    pub(super) names: [String; 2],
    /// The image, row by row, 0 to 1.
    pub(super) image: Vec<f32>,
    /// For each block and token a map, row by row: the shares that its pixels have in the token. They sum to 1.
    pub(super) blocks: Vec<Vec<Vec<f32>>>,
}

/// Images of different classes.
pub(crate) struct Looks {
    pub(super) all: Vec<Look>,
    /// Height and width of an image.
    pub(super) image: [usize; 2],
    /// Height and width of a map.
    pub(super) map: [usize; 2],
}

/// How many images.
const IMAGES: usize = 8;

impl Looks {
    /// Looks into the network as it is now, at the first test image of each of eight classes.
    pub(crate) fn of(machine: &Machine, trainer: &Trainer, model: &VtResNet, test: &Images) -> Result<Self, Error> {
        let chosen = chosen(test);
        let mut graph = Graph::new();
        let shape = [chosen.len(), test.height, test.width, test.channels];
        let images = graph.input("images", Tensor::f32(shape));
        let probe = Probe { attention: true, ..Probe::default() };
        let probed = model.probed(&mut graph, &mut Parameters::new(), images, probe)?;
        graph.output("logits", probed.logits);
        for (at, &attention) in probed.attention.iter().enumerate() {
            graph.output(format!("attention{at}"), attention);
        }
        let homes = trainer.homes();
        let plan = Plan::new(&graph, homes.layout(), machine.device.capabilities(), Options::default())?;
        let executor = Executor::new(&machine.device, &machine.pipelines, plan, homes)?;
        let normalization = trainer.about().normalization;
        let batches = Batches::new(test, normalization, chosen.len(), 0, Augmentation::default())?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        batches.batch(&chosen, &mut pixels, &mut labels)?;
        executor.write_f32("images", &pixels)?;
        executor.run()?;

        let logits = executor.read_named("logits")?;
        let mut blocks = Vec::new();
        for (at, &attention) in probed.attention.iter().enumerate() {
            let [_, heads, tokens, rows] = graph.tensor(attention).shape.dims();
            let weights = executor.read_named(&format!("attention{at}"))?;
            blocks.push(weights.chunks_exact(heads * tokens * rows).map(|all| maps(all, heads, rows)).collect());
        }
        let mut blocks: Vec<std::vec::IntoIter<Vec<Vec<f32>>>> = blocks.into_iter().map(Vec::into_iter).collect();
        let scores = logits.chunks_exact(test.classes);
        let all = chosen.iter().zip(scores).map(|(&index, scores)| {
            let best = (0..scores.len()).max_by(|&one, &other| scores[one].total_cmp(&scores[other])).unwrap_or(0);
            let elems = test.elems_per_image();
            let image = &test.pixels[index * elems..(index + 1) * elems];
            Look {
                names: [usize::from(test.labels[index]), best].map(class),
                image: image.chunks_exact(test.channels).map(|pixel| f32::from(pixel[0]) / 255.0).collect(),
                blocks: blocks.iter_mut().filter_map(Iterator::next).collect(),
            }
        });
        Ok(Self { all: all.collect(), image: [test.height, test.width], map: probed.size })
    }
}

/// The first image of each of some classes, spread over all of them.
fn chosen(images: &Images) -> Vec<usize> {
    let first = |class: usize| images.labels.iter().position(|&label| usize::from(label) == class);
    let count = IMAGES.min(images.classes);
    (0..count).filter_map(|at| first(at * images.classes / count)).collect()
}

fn class(label: usize) -> String {
    FASHION_MNIST_CLASSES.get(label).map_or_else(|| label.to_string(), |name| (*name).to_owned())
}

/// [heads, tokens, rows] → for each token its rows, the mean over heads.
fn maps(weights: &[f32], heads: usize, rows: usize) -> Vec<Vec<f32>> {
    let tokens = weights.len() / (heads * rows);
    let at = |head: usize, token: usize, row: usize| weights[(head * tokens + token) * rows + row];
    let mean = |token, row| (0..heads).map(|head| at(head, token, row)).sum::<f32>() / heads as f32;
    (0..tokens).map(|token| (0..rows).map(|row| mean(token, row)).collect()).collect()
}
