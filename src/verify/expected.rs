//! What each node of a case's graph must give, on every machine alike: its inputs, the true outputs, the honest error.

use rayon::prelude::*;

use super::compare::{encode, largest};
use super::record::with_gradients;
use crate::graph::{Case, Draw, Graph, GraphError, Node, Source, Tensor, Value, computed, honest, numbers, round};
use crate::kernel::{Capabilities, Elem, Recording};
use crate::reference::{Array, PIECE, Random, Real};

/// Draws of the inputs over which the yardstick's largest error is taken when tensors are small.
pub(super) const DRAWS: u64 = 8;
/// Where a tensor has more numbers than this, one draw must do: the CPU's time is worth more than luck evened out.
pub(super) const SMALL: usize = 4096;

/// A node of a case and what it must give: worked out once, then compared with any number of recordings of it.
pub(super) struct Expected {
    pub(super) node: Node,
    /// The types of its inputs and outputs.
    pub(super) inputs: Vec<Tensor>,
    pub(super) outputs: Vec<Tensor>,
    /// What its inputs hold.
    pub(super) bytes: Vec<Vec<u8>>,
    /// What its outputs must hold.
    pub(super) truths: Vec<Truth>,
}

/// What one output must be.
pub(super) struct Truth {
    /// In f64, from the very inputs that the GPU gets.
    pub(super) numbers: Array<f64>,
    /// The largest error of the same maths in f32.
    pub(super) yardstick: f64,
    /// The largest size of a number in it.
    pub(super) largest: f64,
    /// The size of its numbers, as the root of their mean square.
    pub(super) typical: f64,
}

/// The nodes of a case's graph, one after another; what no later node needs is forgotten, since real shapes are large.
pub(super) struct Truths {
    graph: Graph,
    /// The values that are still needed, as tensors of their element types hold them: one set a draw.
    draws: Vec<Vec<Option<Array<f64>>>>,
    /// The node that reads a value last.
    last: Vec<usize>,
    next: usize,
}

impl Truths {
    pub(super) fn new(case: &Case, elem: Elem) -> Result<Self, GraphError> {
        let (graph, _) = with_gradients(case, elem)?;
        let small = graph.values().map(|value| graph.tensor(value).shape.count()).max().unwrap_or(0) <= SMALL;
        let draws = (0..if small { DRAWS } else { 1 }).map(|seed| leaves(case, &graph, seed)).collect();
        let mut last = vec![0; graph.values().count()];
        for (at, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|value| last[value.index()] = at);
        }
        Ok(Self { graph, draws, last, next: 0 })
    }

    /// What node `at` must give, unless it is a view.
    pub(super) fn node(mut self, at: usize) -> Option<Expected> {
        (0..=at).map(|at| self.compute(at)).last().flatten()
    }

    /// The node computed, if it runs any kernel; its outputs are kept for the nodes that read them.
    fn compute(&mut self, at: usize) -> Option<Expected> {
        let node = self.graph.nodes()[at].clone();
        let mut expected: Option<Expected> = None;
        for arrays in &mut self.draws {
            let inputs: Vec<&Array<f64>> =
                node.inputs.iter().map(|value| arrays[value.index()].as_ref().expect("nodes stand in order")).collect();
            let outputs = computed(&self.graph, &node, &inputs);
            if !node.op.is_view() {
                let errors = yardstick(&node, &inputs, &outputs, &tensors(&self.graph, &node.outputs));
                let known = expected.get_or_insert_with(|| Expected::of(&self.graph, &node, &inputs, &outputs));
                for (truth, error) in known.truths.iter_mut().zip(errors) {
                    truth.yardstick = truth.yardstick.max(error);
                }
            }
            for (&value, array) in node.outputs.iter().zip(outputs) {
                let needed = self.last[value.index()] > at;
                arrays[value.index()] = needed.then(|| round(&array, self.graph.tensor(value).elem));
            }
            for value in node.inputs.iter().filter(|value| self.last[value.index()] == at) {
                arrays[value.index()] = None;
            }
        }
        expected
    }
}

impl Iterator for Truths {
    type Item = Expected;

    fn next(&mut self) -> Option<Expected> {
        while self.next < self.graph.nodes().len() {
            self.next += 1;
            if let Some(expected) = self.compute(self.next - 1) {
                return Some(expected);
            }
        }
        None
    }
}

impl Expected {
    fn of(graph: &Graph, node: &Node, inputs: &[&Array<f64>], outputs: &[Array<f64>]) -> Self {
        let types = tensors(graph, &node.inputs);
        let bytes = inputs.iter().zip(&types).map(|(array, tensor)| encode(array, tensor.elem)).collect();
        let truths = outputs.iter().map(Truth::of).collect();
        Self { node: node.clone(), inputs: types, outputs: tensors(graph, &node.outputs), bytes, truths }
    }

    /// The node's kernel calls on such a machine.
    pub(super) fn recording(&self, machine: &Capabilities) -> Recording {
        self.node.op.recorded(&self.inputs, &self.outputs, machine)
    }
}

fn tensors(graph: &Graph, values: &[Value]) -> Vec<Tensor> {
    values.iter().map(|&value| graph.tensor(value).clone()).collect()
}

impl Truth {
    fn of(numbers: &Array<f64>) -> Self {
        let finite = || numbers.data.iter().filter(|value| value.is_finite());
        let squares: f64 = finite().map(|value| value * value).sum();
        Self {
            yardstick: 0.0,
            largest: largest(numbers),
            typical: (squares / finite().count().max(1) as f64).sqrt(),
            numbers: numbers.clone(),
        }
    }
}

/// The largest error of the honest maths over each output. Outputs are not rounded to f16: a rounding is as large as the number that
/// is rounded, so the tolerance has it for each element, and not that of the largest for all.
pub(super) fn yardstick(node: &Node, given: &[&Array<f64>], truth: &[Array<f64>], outputs: &[Tensor]) -> Vec<f64> {
    let single: Vec<Array<f32>> = given.iter().map(|array| array.cast()).collect();
    let honest = honest(&*node.op, &single.iter().collect::<Vec<_>>(), outputs);
    let largest = |(honest, truth): (&Array<f32>, &Array<f64>)| {
        let pairs = honest.data.par_iter().zip(&truth.data).with_min_len(PIECE);
        // What overflows is judged element by element, not taken as a yardstick.
        let errors = pairs.map(|(a, b)| (a.to_f64() - b).abs()).filter(|error| error.is_finite());
        errors.reduce(|| 0.0, f64::max)
    };
    honest.iter().zip(truth).map(largest).collect()
}

/// The inputs and stored values of the graph, rounded to what their element types hold.
fn leaves(case: &Case, graph: &Graph, seed: u64) -> Vec<Option<Array<f64>>> {
    let leaf = |value: Value| {
        let (Source::Input(name) | Source::Stored { name, .. }) = graph.source(value) else { return None };
        let tensor = graph.tensor(value);
        let drawn = match name.strip_prefix("input").and_then(|at| at.parse().ok()) {
            Some(at) => case.numbers(at, seed),
            None => numbers(&tensor.shape, Draw::Normal, &mut Random::named(seed, name)),
        };
        Some(round(&drawn, tensor.elem))
    };
    graph.values().map(leaf).collect()
}
