//! First and last use of each value and of scratch memory, counted in nodes.

use std::collections::HashMap;

use super::alike::Alike;
use super::memory::{Holder, Memory, binding_bytes};
use super::parts::Recorded;
use crate::graph::{Graph, Value};

/// How long a memory is held, in nodes; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Bytes held.
    pub(super) bytes: usize,
    /// The node that writes it first.
    pub(super) first: usize,
    /// The last node that reads or writes it; the number of nodes for what is wanted after the run.
    pub(super) last: usize,
    /// Whether nothing else may ever be held there: gaps between its tensors stay 0, and so does what updates make of them.
    pub(super) alone: bool,
}

impl Life {
    /// Whether both are held at some node, or one shares with none.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.alone || other.alone || (self.first <= other.last && other.first <= self.last)
    }
}

/// Every life of a plan, and whose it is.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// The lives.
    pub(super) all: Vec<Life>,
    /// The life of a value that has memory of its own, by the value's number.
    pub(super) of_value: Vec<Option<usize>>,
    /// The lives of each node's scratch memory.
    pub(super) of_scratch: Vec<Vec<usize>>,
}

impl Lives {
    /// The lives of these nodes' values. A view holds what it looks at: every use counts for the holder.
    /// What rows of updates go through is one life.
    pub(super) fn of(
        graph: &Graph,
        live: &[usize],
        (memory, alike): (&Memory, &Alike),
        recordings: &[Recorded],
    ) -> Self {
        let mut lives = Self { of_value: vec![None; memory.holders.len()], ..Self::default() };
        let mut of_row: HashMap<(usize, usize), usize> = HashMap::new();
        for (at, (&node, recording)) in live.iter().zip(recordings).enumerate() {
            let node = &graph.nodes()[node];
            if !node.op.is_view() {
                for &value in &node.outputs {
                    if memory.holders[value.index()] != Holder::Own(value) {
                        continue;
                    }
                    let tensor = graph.tensor(value);
                    let next = lives.all.len();
                    let (life, bytes) = match alike.parts.get(&value) {
                        Some(&(part, _)) => {
                            let bytes = alike.rows[part.0].elements * tensor.elem.bytes();
                            (*of_row.entry(part).or_insert(next), bytes)
                        }
                        None => (next, binding_bytes(tensor)),
                    };
                    lives.of_value[value.index()] = Some(life);
                    if life == next {
                        lives.all.push(Life { bytes, first: at, last: at, alone: alike.parts.contains_key(&value) });
                    }
                    lives.hold(memory, value, at);
                }
                for &value in &node.inputs {
                    lives.hold(memory, value, at);
                }
            }
            let first = lives.all.len();
            lives.all.extend(recording.scratch_bytes().map(|bytes| Life { bytes, first: at, last: at, alone: false }));
            lives.of_scratch.push((first..lives.all.len()).collect());
        }
        for &(_, value) in graph.outputs() {
            lives.hold(memory, value, live.len());
        }
        lives
    }

    fn hold(&mut self, memory: &Memory, value: Value, at: usize) {
        if let Holder::Own(owner) = memory.holders[value.index()]
            && let Some(life) = self.of_value[owner.index()]
        {
            self.all[life].last = self.all[life].last.max(at);
        }
    }
}
