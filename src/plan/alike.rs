//! Updates that are alike and lie side by side: they run as one call, instead of one a tensor.
//!
//! A network has hundreds of weights, most of them small, and a kernel call costs what it costs however little it does. Layouts put
//! side by side what updates of one kind go through, and here the gradients are put side by side in the same order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Layout;
use super::memory::{Holder, Memory};
use crate::graph::{Graph, Node, Source, Tensor, Value};
use crate::kernel::Capabilities;

/// Updates that run as one call.
#[derive(Debug)]
pub(super) struct Row {
    /// Their places among the nodes that run, in the order of their tensors in memory.
    pub(super) members: Vec<usize>,
    /// Elements of all their tensors together, with the gaps that alignment leaves.
    pub(super) elements: usize,
}

impl Row {
    /// The place among the nodes that run at which all of them can run.
    pub(super) fn at(&self) -> usize {
        self.members.iter().copied().max().unwrap_or_default()
    }
}

/// The rows of a plan.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// The rows.
    pub(super) rows: Vec<Row>,
    /// What stands in memory that a row has for it: which row and which of its ops' inputs, and bytes in front of it.
    pub(super) parts: HashMap<Value, ((usize, usize), usize)>,
}

/// What a plan is made of, as far as it is known.
pub(super) struct Given<'a> {
    pub(super) graph: &'a Graph,
    pub(super) live: &'a [usize],
    pub(super) memory: &'a Memory,
    pub(super) layout: &'a Layout,
    pub(super) machine: &'a Capabilities,
}

/// An update that may share a call with others.
struct Candidate {
    at: usize,
    /// Elements of each of the tensors that it goes through.
    count: usize,
    /// Where each of them is, by the op's inputs.
    along: Vec<(usize, Along)>,
}

/// Where a tensor is.
#[derive(Clone, Copy)]
enum Along {
    Stored { home: usize, offset: usize, bytes: usize },
    Made { owner: Value, bytes: usize },
}

/// The inputs that a node goes through element by element, where it updates some of them and makes nothing else.
pub(super) fn by_element(graph: &Graph, node: &Node) -> Vec<usize> {
    let pairs = node.op.updates();
    if pairs.is_empty() || pairs.len() != node.outputs.len() {
        return Vec::new();
    }
    let tensors: Vec<Tensor> = node.inputs.iter().map(|&value| graph.tensor(value).clone()).collect();
    let along = node.op.by_element(&tensors);
    let updates = pairs.iter().all(|(input, _)| along.contains(input));
    let alike = along.iter().all(|&at| tensors.get(at).is_some_and(|tensor| tensor.shape == tensors[along[0]].shape));
    if updates && alike { along } else { Vec::new() }
}

/// What updates have in common that may share a call, but for the values that they all read.
pub(super) fn kind(graph: &Graph, node: &Node) -> String {
    node.inputs.iter().fold(format!("{:?}", node.op), |kind, &value| format!("{kind} {:?}", graph.tensor(value).elem))
}

impl Alike {
    /// The row that the node at this place among those that run is of.
    pub(super) fn row_of(&self, at: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.members.contains(&at))
    }

    /// What a node is given: of those inputs that it gathers, one for all that a row goes through.
    pub(super) fn gathered(&self, graph: &Graph, node: &Node, memory: &Memory) -> Vec<(Value, Tensor)> {
        let own = |value: Value| (value, graph.tensor(value).clone());
        let Some(from) = node.op.gathers() else { return node.inputs.iter().map(|&value| own(value)).collect() };
        let part = |value: Value| self.parts.get(&memory.owners[value.index()]).map(|&(part, _)| part);
        let (state, gathered) = node.inputs.split_at(from.min(node.inputs.len()));
        // A row of which some is not asked for stays apart.
        let whole = |part: (usize, usize)| {
            let owners: HashSet<Value> = gathered.iter().map(|value| memory.owners[value.index()]).collect();
            self.parts.iter().all(|(owner, (other, _))| *other != part || owners.contains(owner))
        };
        let mut given: Vec<(Value, Tensor)> = state.iter().map(|&value| own(value)).collect();
        let mut seen = HashSet::new();
        for &value in gathered {
            match part(value).filter(|&part| whole(part)) {
                None => given.push(own(value)),
                Some(part) if seen.insert(part) => {
                    let first = self.parts.iter().find(|(_, (other, in_front))| (*other, *in_front) == (part, 0));
                    let elements = self.rows[part.0].elements;
                    given.extend(first.map(|(&owner, _)| (owner, graph.tensor(owner).shaped([elements]))));
                }
                Some(_) => {}
            }
        }
        given
    }

    /// The rows of these nodes.
    pub(super) fn of(given: &Given<'_>) -> Self {
        let mut kinds: BTreeMap<(String, Vec<Value>), Vec<Candidate>> = BTreeMap::new();
        let mixed = given.read_beside_their_makers();
        let mut taken = HashSet::new();
        for (at, number) in given.live.iter().enumerate() {
            let node = &given.graph.nodes()[*number];
            let Some(candidate) = given.candidate(at, node) else { continue };
            let made = |(_, along): &(usize, Along)| match along {
                Along::Made { owner, .. } => Some(*owner),
                Along::Stored { .. } => None,
            };
            let owners: Vec<Value> = candidate.along.iter().filter_map(made).collect();
            // A gradient has one place, beside the gradients of one row.
            if owners.iter().any(|owner| mixed.contains(owner) || taken.contains(owner)) {
                continue;
            }
            taken.extend(owners);
            let along: Vec<usize> = candidate.along.iter().map(|&(at, _)| at).collect();
            let shared = node.inputs.iter().enumerate().filter(|(at, _)| !along.contains(at));
            let shared = shared.map(|(_, value)| *value).collect();
            kinds.entry((kind(given.graph, node), shared)).or_default().push(candidate);
        }
        let mut alike = Self::default();
        for (_, mut candidates) in kinds {
            candidates.sort_by_key(Candidate::start);
            let mut run: Vec<Candidate> = Vec::new();
            for candidate in candidates {
                if run.last().is_some_and(|last| !given.follows(&run[0], last, &candidate)) {
                    alike.push(&run, given.layout);
                    run.clear();
                }
                run.push(candidate);
            }
            alike.push(&run, given.layout);
        }
        alike
    }

    fn push(&mut self, run: &[Candidate], layout: &Layout) {
        let [first, .., last] = run else { return };
        let row = self.rows.len();
        for candidate in run {
            let in_front = candidate.start().1 - first.start().1;
            for &(input, along) in &candidate.along {
                if let Along::Made { owner, bytes } = along {
                    self.parts.insert(owner, ((row, input), in_front * bytes));
                }
            }
        }
        let elements = last.start().1 - first.start().1 + layout.padded(last.count);
        self.rows.push(Row { members: run.iter().map(|candidate| candidate.at).collect(), elements });
    }
}

impl Candidate {
    /// Home and element at which the first stored tensor starts.
    fn start(&self) -> (usize, usize) {
        let stored = self.along.iter().find_map(|(_, along)| match along {
            Along::Stored { home, offset, bytes } => Some((*home, offset / bytes)),
            Along::Made { .. } => None,
        });
        stored.unwrap_or_default()
    }
}

impl Given<'_> {
    fn candidate(&self, at: usize, node: &Node) -> Option<Candidate> {
        let along = by_element(self.graph, node);
        let count = self.graph.tensor(node.inputs[*along.first()?]).shape.count();
        let place = |&input: &usize| {
            let value = node.inputs[input];
            let bytes = self.graph.tensor(value).elem.bytes();
            Some(match self.memory.holders[value.index()] {
                Holder::Home(home, offset) => (input, Along::Stored { home, offset, bytes }),
                Holder::Own(owner) => (input, Along::Made { owner, bytes }),
                Holder::Input(_) => return None,
            })
        };
        let along = along.iter().map(place).collect::<Option<Vec<_>>>()?;
        let read_again = node.outputs.iter().any(|output| self.reads(*output));
        (!read_again).then_some(Candidate { at, count, along })
    }

    /// Whether a node reads what an update has made: it would run before a row does.
    fn reads(&self, output: Value) -> bool {
        self.live.iter().any(|&node| self.graph.nodes()[node].inputs.contains(&output))
    }

    /// What is made by a node that reads what an update goes through: both in one buffer would be read and written in one call.
    fn read_beside_their_makers(&self) -> HashSet<Value> {
        let nodes = || self.live.iter().map(|&at| &self.graph.nodes()[at]);
        let owners =
            |values: &[Value]| -> Vec<Value> { values.iter().map(|value| self.memory.owners[value.index()]).collect() };
        let gone_through: HashSet<Value> = nodes()
            .flat_map(|node| by_element(self.graph, node).into_iter().map(|at| node.inputs[at]))
            .map(|value| self.memory.owners[value.index()])
            .filter(|owner| matches!(self.graph.source(*owner), Source::Node(..)))
            .collect();
        let reading = nodes()
            .filter(|node| !node.op.is_view() && owners(&node.inputs).iter().any(|owner| gone_through.contains(owner)));
        reading.flat_map(|node| owners(&node.outputs)).filter(|owner| gone_through.contains(owner)).collect()
    }

    /// Whether all tensors of `next` stand right behind those of `last`, in a row that began with `first` and stays within a binding.
    fn follows(&self, first: &Candidate, last: &Candidate, next: &Candidate) -> bool {
        let (step, end) = (self.layout.padded(last.count), next.start().1 + self.layout.padded(next.count));
        let in_front = next.start().1 - first.start().1.min(next.start().1);
        last.along.iter().zip(&next.along).all(|(&(_, last), &(_, next))| {
            let (beside, bytes) = match (last, next) {
                (Along::Stored { home, offset, bytes }, Along::Stored { home: other, offset: behind, .. }) => {
                    (home == other && offset + step * bytes == behind, bytes)
                }
                // May be put where it is wanted, if bindings may start there.
                (Along::Made { bytes, .. }, Along::Made { .. }) => {
                    ((in_front * bytes).is_multiple_of(self.machine.offset_alignment.max(1)), bytes)
                }
                _ => (false, 1),
            };
            beside && (end - first.start().1) * bytes <= self.machine.max_binding_bytes
        })
    }
}
