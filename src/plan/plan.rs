//! A plan: steps over slots, homes and inputs.

use std::ops::Range;

use super::alike::{self, Alike};
use super::lifetimes::Lives;
use super::memory::{Holder, Memory, binding_bytes, label};
use super::steps::{self, Given};
use super::{Layout, PlanError, order, parts, slots};
use crate::graph::{Graph, Tensor, Value};
use crate::kernel::{Capabilities, Grid, Interface, Variant};

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Buffer {
    /// Memory that values take turns in.
    Slot(usize),
    /// Tensors that are kept between runs.
    Home(usize),
    /// What is given anew for each run.
    Input(usize),
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The buffer.
    pub buffer: Buffer,
    /// Where it starts, in bytes.
    pub offset: usize,
    /// How many bytes are bound: those of the tensor, or of some images of it, rounded up to 16.
    pub bytes: usize,
}

/// One dispatch, with a place for every binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node that it belongs to: a number into [`Plan::nodes`].
    pub node: usize,
    /// Which kernel.
    pub kernel: &'static Interface,
    /// Which build of it.
    pub variant: Variant,
    /// The words of `Params`.
    pub params: Vec<u32>,
    /// Where each storage binding is, in the order of the kernel's own list.
    pub bindings: Vec<Place>,
    /// The value in each binding; `None` for scratch memory.
    pub values: Vec<Option<Value>>,
    /// How many workgroups.
    pub grid: Grid,
}

/// A node of the graph that the plan runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its number in the graph; of updates that run as one call that of the first in memory, and inputs and outputs are of all.
    pub node: usize,
    /// The op's name.
    pub op: &'static str,
    /// Where in the model it stands.
    pub scope: String,
    /// The values that it reads.
    pub inputs: Vec<Value>,
    /// The values that it makes.
    pub outputs: Vec<Value>,
    /// The steps that compute it; none for a view.
    pub steps: Range<usize>,
    /// Its name for people: op and scope.
    pub label: String,
}

impl PlannedNode {
    /// A node, or a row of updates that run as one.
    fn new(graph: &Graph, members: &[usize], steps: Range<usize>) -> Self {
        let nodes = || members.iter().map(|&at| &graph.nodes()[at]);
        let node = &graph.nodes()[members[0]];
        let (scope, label) = match members.len() {
            1 => (node.scope.clone(), label(node)),
            count => (String::new(), format!("{} of {count} tensors", node.op.name())),
        };
        Self {
            node: members[0],
            op: node.op.name(),
            scope,
            inputs: nodes().flat_map(|node| node.inputs.clone()).collect(),
            outputs: nodes().flat_map(|node| node.outputs.clone()).collect(),
            steps,
            label,
        }
    }
}

/// A value that is wanted after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOutput {
    /// The output's name.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// How to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether values take turns in slots. Without, every value survives the run, for inspection.
    pub reuse: bool,
    /// Whether updates that are alike run as one call. Without, every node runs by itself, for inspection.
    pub rows: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { reuse: true, rows: true }
    }
}

/// What runs, in which order and in which memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    nodes: Vec<PlannedNode>,
    slots: Vec<usize>,
    apart: Vec<bool>,
    values: (usize, usize),
    inputs: Vec<(String, Value)>,
    outputs: Vec<PlannedOutput>,
    tensors: Vec<Tensor>,
    places: Vec<Option<Place>>,
    owners: Vec<Value>,
    layout: Layout,
    options: Options,
}

impl Plan {
    /// Plans a graph for a machine.
    ///
    /// # Errors
    /// When a value does not fit a buffer, or a binding and its op cannot compute a few images at a time, or holds f16 on a machine without, an update breaks the rules of updates, a dispatch breaks a limit of
    /// WebGPU, or the layout lacks a tensor that the graph stores.
    pub fn new(graph: &Graph, layout: &Layout, machine: &Capabilities, options: Options) -> Result<Self, PlanError> {
        let live = order::live(graph);
        let memory = Memory::of(graph, &live, layout)?;
        steps::check_values(graph, &live, machine)?;
        let (alike, live) = match options.rows {
            true => Alike::of(&alike::Given { graph, live: &live, memory: &memory, layout, machine }),
            false => (Alike::default(), live),
        };
        let recordings = parts::record(graph, &live, (&memory, &alike), machine)?;
        let lives = Lives::of(graph, &live, (&memory, &alike), &recordings);
        let slots = slots::assign(&lives.all, options.reuse);
        let place = |value: Value| {
            let (buffer, offset) = match memory.holders[value.index()] {
                Holder::Input(at) => (Buffer::Input(at), 0),
                Holder::Home(at, offset) => (Buffer::Home(at), offset),
                Holder::Own(owner) => {
                    let in_front = alike.parts.get(&owner).map_or(0, |&(_, in_front)| in_front);
                    (Buffer::Slot(slots.of[lives.of_value[owner.index()]?]), in_front)
                }
            };
            Some(Place { buffer, offset, bytes: binding_bytes(graph.tensor(value)) })
        };
        let places: Vec<Option<Place>> = graph.values().map(place).collect();
        let mut made = Vec::new();
        let mut nodes = Vec::new();
        for (at, recorded) in recordings.iter().enumerate() {
            let row = alike.row_of(at).map_or(at..at + 1, |row| row.members.clone());
            if row.start != at {
                continue;
            }
            let members = &live[row];
            let node = &graph.nodes()[members[0]];
            let scratch = |life: &usize| Place {
                buffer: Buffer::Slot(slots.of[*life]),
                offset: 0,
                bytes: lives.all[*life].bytes,
            };
            let scratch = lives.of_scratch[at].iter().map(scratch).collect();
            let first = made.len();
            made.extend(steps::place(&Given {
                number: nodes.len(),
                node,
                recorded,
                places: &places,
                scratch,
                layout,
            })?);
            nodes.push(PlannedNode::new(graph, members, first..made.len()));
        }
        Ok(Self {
            steps: made,
            nodes,
            slots: slots.bytes,
            apart: slots.alone,
            values: (lives.all.len(), lives.all.iter().map(|life| life.bytes).sum()),
            inputs: memory.inputs,
            outputs: outputs(graph)?,
            tensors: graph.values().map(|value| graph.tensor(value).clone()).collect(),
            places,
            owners: memory.owners,
            layout: layout.clone(),
            options,
        })
    }

    /// The dispatches, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The nodes that run, in order.
    #[must_use]
    pub fn nodes(&self) -> &[PlannedNode] {
        &self.nodes
    }

    /// The node that a step belongs to.
    ///
    /// # Panics
    /// When the plan has no such step.
    #[must_use]
    pub fn node_of(&self, step: usize) -> &PlannedNode {
        &self.nodes[self.steps[step].node]
    }

    /// Bytes of each slot.
    #[must_use]
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Whether a slot must never hold anything but what this plan puts there: there are gaps in it that have to stay 0.
    #[must_use]
    pub fn is_apart(&self, slot: usize) -> bool {
        self.apart.get(slot).copied().unwrap_or(false)
    }

    /// How many values and scratch memories have memory of their own, and their bytes without reuse.
    #[must_use]
    pub const fn values_without_reuse(&self) -> (usize, usize) {
        self.values
    }

    /// The inputs, each with its value; a [`Buffer::Input`] counts them.
    #[must_use]
    pub fn inputs(&self) -> &[(String, Value)] {
        &self.inputs
    }

    /// The values wanted after a run.
    #[must_use]
    pub fn outputs(&self) -> &[PlannedOutput] {
        &self.outputs
    }

    /// The value of an input or an output of this name; outputs come first.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Value> {
        let output = self.outputs.iter().find(|output| output.name == name).map(|output| output.value);
        output.or_else(|| self.inputs.iter().find(|(known, _)| known == name).map(|(_, value)| *value))
    }

    /// What a value of the graph is; `None` for a value of another, larger graph.
    #[must_use]
    pub fn tensor(&self, value: Value) -> Option<&Tensor> {
        self.tensors.get(value.index())
    }

    /// Where a value is; `None` when nothing that runs makes it.
    #[must_use]
    pub fn place(&self, value: Value) -> Option<Place> {
        self.places.get(value.index()).copied().flatten()
    }

    /// The value whose memory a value stands in: what a view looks at, the stored tensor that an update writes, or the
    /// value itself.
    #[must_use]
    pub fn owner(&self, value: Value) -> Value {
        self.owners.get(value.index()).copied().unwrap_or(value)
    }

    /// The homes.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How it was planned.
    #[must_use]
    pub const fn options(&self) -> Options {
        self.options
    }

    /// Bytes of the buffers of a run: slots, homes and inputs.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        let inputs = self.inputs.iter().filter_map(|(_, value)| self.place(*value)).map(|place| place.bytes);
        self.slots.iter().copied().chain(inputs).chain([self.layout.bytes()]).sum()
    }
}

fn outputs(graph: &Graph) -> Result<Vec<PlannedOutput>, PlanError> {
    let mut outputs: Vec<PlannedOutput> = Vec::new();
    for (name, value) in graph.outputs() {
        if outputs.iter().any(|known| known.name == *name) {
            return Err(PlanError::Name(format!("two outputs are called `{name}`")));
        }
        outputs.push(PlannedOutput { name: name.clone(), value: *value });
    }
    Ok(outputs)
}
