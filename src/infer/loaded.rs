//! A network planned and loaded, and what it is shown: what classifier and segmenter share.

use super::classifier::InferError;
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::graph::{Graph, Tensor, Value};
use crate::models::Model;
use crate::plan::{Layout, Options, Plan};
use crate::train::weights::{Weights, declared};

/// The input of every graph here.
const IMAGES: &str = "images";

fn output(map: usize) -> String {
    format!("attention{map}")
}

/// The graph of a network that is shown images, under construction.
pub(super) struct Shown {
    pub(super) graph: Graph,
    pub(super) images: Value,
    batch: usize,
    image: [usize; 3],
    /// Heads, tokens and pixels of each attention that is to be read.
    maps: Vec<[usize; 3]>,
}

impl Shown {
    /// So many images of this height, width and channels.
    pub(super) fn new(batch: usize, image: [usize; 3]) -> Self {
        let mut graph = Graph::new();
        let [height, width, channels] = image;
        let images = graph.input(IMAGES, Tensor::f32([batch, height, width, channels]));
        Self { graph, images, batch, image, maps: Vec::new() }
    }

    /// Weights of attention `[N, heads, tokens, pixels]` that are to be read.
    pub(super) fn look_at(&mut self, attention: Value) {
        let [_, heads, tokens, pixels] = self.graph.tensor(attention).shape.dims();
        self.graph.output(output(self.maps.len()), attention);
        self.maps.push([heads, tokens, pixels]);
    }

    /// Planned on homes of its own, with these weights.
    pub(super) fn load(
        self,
        (device, pipelines): (&Device, &Pipelines),
        (model, weights): (&dyn Model, &Weights),
    ) -> Result<Loaded, InferError> {
        // Before there is any memory: a wrong file is found out at once.
        let parameters = declared(model, self.image)?;
        weights.check(model.name(), &parameters)?;
        let fused = self.graph.fused()?.graph;
        let homes = Homes::new(device, &Layout::of(&[&fused], device.capabilities().offset_alignment)?)?;
        weights.load(&homes, model.name(), &parameters)?;
        self.on((device, pipelines), (&fused, &homes))
    }

    /// Planned on homes that hold the weights already.
    pub(super) fn share(self, on: (&Device, &Pipelines), homes: &Homes) -> Result<Loaded, InferError> {
        let fused = self.graph.fused()?.graph;
        self.on(on, (&fused, homes))
    }

    fn on(
        self,
        (device, pipelines): (&Device, &Pipelines),
        (graph, homes): (&Graph, &Homes),
    ) -> Result<Loaded, InferError> {
        let plan = Plan::new(graph, homes.layout(), device.capabilities(), Options::default())?;
        let executor = Executor::new(device, pipelines, plan, homes)?;
        Ok(Loaded { executor, batch: self.batch, image: self.image, maps: self.maps })
    }
}

/// A network ready to be shown images.
pub(super) struct Loaded {
    pub(super) executor: Executor,
    pub(super) batch: usize,
    pub(super) image: [usize; 3],
    maps: Vec<[usize; 3]>,
}

/// Where the tokens of one image look: of each attention a map a token.
pub(super) type Maps = Vec<Vec<Vec<f32>>>;

impl Loaded {
    /// Runs the network on images, one after the other in `numbers` `[N, H, W, C]`: how many there are.
    pub(super) fn show(&self, numbers: &[f32]) -> Result<usize, InferError> {
        let each: usize = self.image.iter().product();
        let count = numbers.len() / each;
        if count > self.batch || count * each != numbers.len() {
            return Err(InferError::Batch { numbers: numbers.len(), batch: self.batch, image: self.image });
        }
        let mut padded = numbers.to_vec();
        padded.resize(self.batch * each, 0.0);
        self.executor.write_f32(IMAGES, &padded)?;
        self.executor.run()?;
        Ok(count)
    }

    /// What the tokens of the first `count` images that were shown look at.
    pub(super) fn looks(&self, count: usize) -> Result<Vec<Maps>, InferError> {
        let mut looks = vec![Maps::new(); count];
        for (at, &shape) in self.maps.iter().enumerate() {
            let weights = self.executor.read_named(&output(at))?;
            for (look, weights) in looks.iter_mut().zip(weights.chunks_exact(shape.iter().product())) {
                look.push(maps(weights, shape));
            }
        }
        Ok(looks)
    }
}

/// `[heads, tokens, pixels]` → for each token its pixels, the mean over heads.
fn maps(weights: &[f32], [heads, tokens, pixels]: [usize; 3]) -> Vec<Vec<f32>> {
    let at = |head: usize, token: usize, pixel: usize| weights[(head * tokens + token) * pixels + pixel];
    let mean = |token, pixel| (0..heads).map(|head| at(head, token, pixel)).sum::<f32>() / heads as f32;
    (0..tokens).map(|token| (0..pixels).map(|pixel| mean(token, pixel)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::maps;

    #[test]
    fn maps_are_means_over_heads() {
        let weights: Vec<f32> = (0..12).map(|at| at as f32).collect();
        assert_eq!(maps(&weights, [2, 3, 2]), [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]);
    }
}
