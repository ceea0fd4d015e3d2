//! A product as one node of a graph computes it, and the ways in which it can be cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;

use crate::graph::{Graph, Node, Op, Tensor, Value};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Capabilities, Elem, Recording};
use crate::reference::Array;
use crate::verify::encode;

/// Slices of sums that are tried; 0 is what the model of a GPU would take for such tiles.
const SLICES: [usize; 6] = [0, 1, 2, 4, 8, 16];
/// Workgroups from which on a GPU is busy, and slices of sums only cost.
const BUSY: u64 = 400;

/// An op on some inputs that a machine can cut in several ways.
#[derive(Debug)]
pub struct Product {
    pub(super) op: Arc<dyn Op>,
    pub(super) inputs: Vec<Tensor>,
    pub(super) outputs: Vec<Tensor>,
    /// As plans have it without tuning.
    pub(super) usual: Recording,
    /// By plain arithmetic: what every other way is compared with.
    pub(super) plain: Recording,
    /// The other ways.
    pub(super) ways: Vec<(Tiles, Recording)>,
}

impl Product {
    /// The products of a graph that this machine can cut in more than one way, each once. Those are left out that no binding
    /// holds: they are proven in one piece.
    #[must_use]
    pub fn all(graph: &Graph, machine: &Capabilities) -> Vec<Self> {
        let machine = Capabilities { tiles: None, choices: None, ..machine.clone() };
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        let fits = |&value: &Value| graph.tensor(value).bytes() <= machine.max_binding_bytes;
        let bound = |node: &&Node| node.inputs.iter().chain(&node.outputs).all(fits);
        let nodes = graph.nodes().iter().filter(|node| !node.op.is_view() && !node.inputs.is_empty());
        for node in nodes.filter(bound) {
            let product = Self::of(graph, node, &machine);
            if !product.ways.is_empty() && seen.insert(product.asked()) {
                all.push(product);
            }
        }
        all
    }

    /// The products of several graphs, each once.
    #[must_use]
    pub fn of_graphs(graphs: &[&Graph], machine: &Capabilities) -> Vec<Self> {
        let mut seen = BTreeSet::new();
        let all = graphs.iter().flat_map(|graph| Self::all(graph, machine));
        all.filter(|product| seen.insert(product.asked())).collect()
    }

    fn of(graph: &Graph, node: &Node, machine: &Capabilities) -> Self {
        let tensors = |values: &[Value]| values.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<_>>();
        let (mut op, mut inputs, mut outputs) = (node.op.clone(), tensors(&node.inputs), tensors(&node.outputs));
        if let Some(stages) = op.stages() {
            op = stages.first.into();
            inputs.truncate(stages.inputs);
            outputs = op.outputs(&inputs).unwrap_or_default();
        }
        let recorded = |machine: &Capabilities| op.recorded(&inputs, &outputs, machine);
        let usual = recorded(machine);
        let mut ways: Vec<(Tiles, Recording)> = Vec::new();
        let cut = |tiles: Tiles| recorded(&Capabilities { tiles: Some(tiles), ..machine.clone() });
        for tiles in Tiles::all(machine, inputs[0].elem) {
            let whole = Tiles { slices: 0, ..tiles };
            let products = cut(whole).dispatches;
            let products = products.iter().filter(|call| call.variant.constants().contains_key("TILE_M"));
            let busy = products.map(|call| call.grid.0.map(u64::from).iter().product()).max();
            // More slices than make the GPU busy are worth as little as any where it is busy without.
            let worth = |slices: &usize| busy.unwrap_or(0) * (*slices as u64 / 2) < BUSY;
            let slices: &[usize] = if busy >= Some(BUSY) { &[0] } else { &SLICES };
            for tiles in slices.iter().filter(|slices| worth(slices)).map(|&slices| Tiles { slices, ..whole }) {
                let way = cut(tiles);
                if way != usual && ways.iter().all(|(_, known)| *known != way) {
                    ways.push((tiles, way));
                }
            }
        }
        let plain = recorded(&machine.scalar());
        Self { op, plain, inputs, outputs, usual, ways }
    }

    /// What is asked for, as [`Choices`](crate::kernel::tuning::Choices) have it.
    #[must_use]
    pub fn asked(&self) -> String {
        self.op.asked(&self.inputs)
    }

    /// The op's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.op.name()
    }

    /// Inputs of whole numbers: their sums are exact in whatever order they are taken, so that every right way of cutting
    /// gives the same bits. Vectors (gains, variances) are above 0.
    pub(super) fn numbers(&self) -> Vec<Vec<u8>> {
        let bytes = |(input, tensor): (usize, &Tensor)| {
            let mut bytes = vec![0; tensor.bytes()];
            if tensor.elem == Elem::U32 {
                return bytes;
            }
            let vector = tensor.shape.len() == 1;
            let values: &[f64] = if vector { &[1.0, 2.0, 3.0] } else { &[-2.0, -1.0, 0.0, 1.0, 2.0] };
            let each = tensor.elem.bytes();
            // Tensors have millions of numbers, of a handful of values.
            let words = encode(&Array { shape: vec![values.len()], data: values.to_vec() }, tensor.elem);
            bytes.par_chunks_mut(each).with_min_len(1 << 14).enumerate().for_each(|(at, place)| {
                let drawn = mixed(at as u32 ^ (input as u32) << 29) as usize % values.len();
                place.copy_from_slice(&words[each * drawn..][..each]);
            });
            bytes
        };
        self.inputs.iter().enumerate().map(bytes).collect()
    }

    /// Every recording, what all are compared with first.
    pub(super) fn recordings(&self) -> impl Iterator<Item = &Recording> {
        [&self.plain, &self.usual].into_iter().chain(self.ways.iter().map(|(_, way)| way))
    }
}

/// Scatters numbers so that sums over any stride stay small: MurmurHash3's finalizer.
const fn mixed(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let number = (number ^ number >> 13).wrapping_mul(0xc2b2_ae35);
    number ^ number >> 16
}
