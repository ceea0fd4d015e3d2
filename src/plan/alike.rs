//! Updates that are alike and lie side by side: they run as one call, instead of one a tensor.
//!
//! A network has hundreds of weights, most of them small, and a kernel call costs what it costs however little it does. Layouts put
//! side by side what updates of one kind go through, and here the gradients are put side by side in the same order.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Layout;
use super::memory::{Holder, Memory};
use crate::graph::{Graph, Node, Source, Tensor, Value};
use crate::kernel::Capabilities;

/// Updates that run as one call.
#[derive(Debug)]
pub(super) struct Row {
    /// Their places among the nodes that run, in the order of their tensors in memory.
    pub(super) members: Range<usize>,
    /// Elements of all their tensors together, with the gaps that alignment leaves.
    pub(super) elements: usize,
}

/// The rows of a plan.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// The rows, which run one after the other behind all other nodes.
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
    /// Its number in the graph.
    node: usize,
    /// What those have in common that share a call: the op, its element types, the values that all elements have in common.
    kind: (String, Vec<Value>),
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

    /// The rows of these nodes, and the order in which those then run.
    pub(super) fn of(given: &Given<'_>) -> (Self, Vec<usize>) {
        let runs = given.ordered(given.runs()).unwrap_or_default();
        let taken: HashSet<usize> = runs.iter().flatten().map(|candidate| candidate.node).collect();
        let mut order: Vec<usize> = given.live.iter().copied().filter(|node| !taken.contains(node)).collect();
        let mut alike = Self::default();
        for run in &runs {
            alike.push(run, order.len(), given.layout);
            order.extend(run.iter().map(|candidate| candidate.node));
        }
        (alike, order)
    }

    fn push(&mut self, run: &[Candidate], at: usize, layout: &Layout) {
        let ([first, ..], [.., last]) = (run, run) else { return };
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
        self.rows.push(Row { members: at..at + run.len(), elements });
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
    /// Updates that may share a call with others, by what they must have in common.
    fn candidates(&self) -> Vec<Candidate> {
        let mixed = self.made_of_others();
        let mut taken = HashSet::new();
        let mut candidates = Vec::new();
        for &node in self.live {
            let Some(candidate) = self.candidate(node) else { continue };
            let made = candidate.along.iter().filter_map(|(_, along)| match along {
                Along::Made { owner, .. } => Some(*owner),
                Along::Stored { .. } => None,
            });
            // A gradient has one place, beside the gradients of one row.
            let owners: Vec<Value> = made.collect();
            if !owners.iter().any(|owner| mixed.contains(owner) || taken.contains(owner)) {
                taken.extend(owners);
                candidates.push(candidate);
            }
        }
        // Rows run last: what a node makes of new numbers would be made of old ones, unless it is of a row, too.
        loop {
            let kept: HashSet<usize> = candidates.iter().map(|candidate| candidate.node).collect();
            let others = self.live.iter().filter(|node| !kept.contains(node));
            let read: HashSet<Value> = others.flat_map(|&at| self.graph.nodes()[at].inputs.iter().copied()).collect();
            let before = candidates.len();
            candidates
                .retain(|candidate| !self.graph.nodes()[candidate.node].outputs.iter().any(|out| read.contains(out)));
            if candidates.len() == before {
                return candidates;
            }
        }
    }

    fn candidate(&self, number: usize) -> Option<Candidate> {
        let node = &self.graph.nodes()[number];
        let along = by_element(self.graph, node);
        let count = self.graph.tensor(node.inputs[*along.first()?]).shape.count();
        let shared = node.inputs.iter().enumerate().filter(|(at, _)| !along.contains(at));
        let kind = (kind(self.graph, node), shared.map(|(_, value)| *value).collect());
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
        Some(Candidate { node: number, kind, count, along })
    }

    /// Candidates side by side. One alone is a row where it reads what another has made: it must run behind that.
    fn runs(&self) -> Vec<Vec<Candidate>> {
        let mut candidates = self.candidates();
        let made: HashSet<Value> = candidates
            .iter()
            .flat_map(|candidate| self.graph.nodes()[candidate.node].outputs.iter().copied())
            .collect();
        candidates.sort_by(|one, other| (&one.kind, one.start()).cmp(&(&other.kind, other.start())));
        let mut runs: Vec<Vec<Candidate>> = Vec::new();
        for candidate in candidates {
            match runs.last_mut() {
                Some(run) if self.follows(&run[0], &run[run.len() - 1], &candidate) => run.push(candidate),
                _ => runs.push(vec![candidate]),
            }
        }
        let reads = |run: &[Candidate]| self.graph.nodes()[run[0].node].inputs.iter().any(|value| made.contains(value));
        runs.retain(|run| run.len() > 1 || reads(run));
        runs
    }

    /// Runs in an order in which each finds what it reads; `None` where they wait for each other.
    fn ordered(&self, mut runs: Vec<Vec<Candidate>>) -> Option<Vec<Vec<Candidate>>> {
        let values = |run: &[Candidate], of: fn(&Node) -> &[Value]| -> HashSet<Value> {
            run.iter().flat_map(|candidate| of(&self.graph.nodes()[candidate.node]).iter().copied()).collect()
        };
        let mut ordered = Vec::with_capacity(runs.len());
        while !runs.is_empty() {
            let free = runs.iter().position(|run| {
                let reads = values(run, |node| &node.inputs);
                runs.iter()
                    .all(|other| std::ptr::eq(run, other) || reads.is_disjoint(&values(other, |node| &node.outputs)))
            });
            ordered.push(runs.remove(free?));
        }
        Some(ordered)
    }

    /// What is made by a node that reads what an update goes through: both in one buffer would be read and written in one call.
    fn made_of_others(&self) -> HashSet<Value> {
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
        let alike = first.kind == next.kind && last.along.len() == next.along.len();
        alike
            && last.along.iter().zip(&next.along).all(|(&(_, last), &(_, next))| {
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
