//! Who changed a value: what each node wrote is remembered as a digest, and where a read disagrees, or a whole run,
//! the run is cut in half until one step is left.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use super::CompareError;
use super::compare::{Worst, decode};
use super::whole::{Cause, Divergence, Leaf, upload, writer};
use crate::gpu::Executor;
use crate::graph::{Graph, Source, Value};
use crate::reference::Array;

/// A run node by node, and what every node left.
pub(super) struct Walk<'a> {
    pub(super) executor: &'a Executor,
    pub(super) graph: &'a Graph,
    leaf: Leaf<'a>,
    /// By the value that owns the memory: after how many nodes what was written there, in order.
    written: HashMap<Value, Vec<(usize, u64)>>,
    /// By the value that owns the memory: up to how many nodes may have run and something still reads it.
    needed: HashMap<Value, usize>,
}

/// A value that is not what it should be: the bytes found.
struct Changed {
    value: Value,
    bytes: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// Fills inputs and homes, and remembers what they hold.
    pub(super) fn start(executor: &'a Executor, graph: &'a Graph, leaf: Leaf<'a>) -> Result<Self, CompareError> {
        let (plan, mut needed) = (executor.plan(), HashMap::new());
        for (at, node) in plan.nodes().iter().enumerate() {
            for &value in &node.inputs {
                needed.insert(plan.owner(value), at);
            }
        }
        // Outputs, and what is kept for the next run: until after the last node.
        let leaves = graph.values().filter(|&value| !matches!(graph.source(value), Source::Node(..)));
        let leaves: Vec<Value> = leaves.collect();
        for value in plan.outputs().iter().map(|output| output.value).chain(leaves.iter().copied()) {
            needed.insert(plan.owner(value), plan.nodes().len());
        }
        let mut walk = Self { executor, graph, leaf, written: HashMap::new(), needed };
        walk.reset()?;
        for value in leaves {
            let bytes = executor.read_bytes(value)?;
            walk.written.insert(value, vec![(0, digest(&bytes))]);
        }
        Ok(walk)
    }

    /// Fills inputs and homes anew.
    pub(super) fn reset(&self) -> Result<(), CompareError> {
        Ok(upload(self.executor, self.graph, self.leaf)?)
    }

    /// Whether these bytes, just read, are what was last written there.
    pub(super) fn is_as_written(&self, value: Value, bytes: &[u8]) -> bool {
        let owner = self.executor.plan().owner(value);
        self.written.get(&owner).and_then(|all| all.last()).is_some_and(|(_, last)| *last == digest(bytes))
    }

    /// Remembers what node `at` wrote.
    pub(super) fn note_written(&mut self, value: Value, at: usize, bytes: &[u8]) {
        self.written.entry(self.executor.plan().owner(value)).or_default().push((at + 1, digest(bytes)));
    }

    /// What `value` should hold after `nodes` nodes.
    fn expected(&self, value: Value, nodes: usize) -> Option<u64> {
        self.written.get(&value)?.iter().rev().find(|(after, _)| *after <= nodes).map(|(_, digest)| *digest)
    }

    /// The end of the walk: whatever outlives it must be as it was written, and the whole plan in one submission must
    /// leave the same bits.
    pub(super) fn finish(&self) -> Result<Option<Divergence>, CompareError> {
        let nodes = self.executor.plan().nodes().len();
        if let Some(changed) = self.changed(nodes)? {
            return self.who_changed(changed.value, nodes);
        }
        self.reset()?;
        self.executor.run()?;
        match self.changed(nodes)? {
            Some(changed) => self.who_differs(changed).map(Some),
            None => Ok(None),
        }
    }

    /// A value that is needed after `nodes` nodes, was made by then, and is not what it should be.
    fn changed(&self, nodes: usize) -> Result<Option<Changed>, CompareError> {
        let mut living: Vec<Value> =
            self.needed.iter().filter(|(_, last)| **last >= nodes).map(|(value, _)| *value).collect();
        living.sort_unstable();
        for value in living {
            let Some(expected) = self.expected(value, nodes) else { continue };
            let bytes = self.executor.read_bytes(value)?;
            if digest(&bytes) != expected {
                return Ok(Some(Changed { value, bytes }));
            }
        }
        Ok(None)
    }

    /// The step that changed a value after it was written, and before node `reader`.
    pub(super) fn who_changed(&self, value: Value, reader: usize) -> Result<Option<Divergence>, CompareError> {
        let plan = self.executor.plan();
        let value = plan.owner(value);
        let (nodes, right) = self.written.get(&value).and_then(|all| all.last()).copied().unwrap_or((0, 0));
        let start = |nodes: usize| plan.nodes().get(nodes).map_or(plan.steps().len(), |node| node.steps.start);
        let (low, high) = (start(nodes), start(reader));
        let after = |steps: usize| -> Result<Vec<u8>, CompareError> {
            self.replay(steps)?;
            Ok(self.executor.read_bytes(value)?)
        };
        let culprit = first(low..high, |steps| Ok(digest(&after(steps)?) != right))?;
        let (before, changed) = (after(culprit.saturating_sub(1))?, after(culprit)?);
        let what = self.describe(value);
        Ok(Some(self.divergence(culprit.saturating_sub(1), Cause::Overwrites, what, (value, &before, &changed))))
    }

    /// The first node that, run together with those before it, leaves other bits than alone.
    fn who_differs(&self, at_the_end: Changed) -> Result<Divergence, CompareError> {
        let plan = self.executor.plan();
        let mut found = at_the_end;
        let ends = |nodes: usize| nodes.checked_sub(1).map_or(0, |last| plan.nodes()[last].steps.end);
        let culprit = first(0..plan.nodes().len(), |nodes| {
            self.reset()?;
            self.executor.run_to(ends(nodes))?;
            let changed = self.changed(nodes)?;
            Ok(changed.is_some_and(|changed| {
                found = changed;
                true
            }))
        })?;
        // A race need not show again: then all that is known is that it differed at the end.
        let again = culprit < plan.nodes().len() || {
            self.reset()?;
            self.executor.run()?;
            self.changed(culprit)?.is_some()
        };
        self.replay(ends(culprit))?;
        let right = self.executor.read_bytes(found.value)?;
        // A view runs nothing: what it shows was written by a node before it.
        let ran = plan.nodes()[..culprit].iter().rev().find(|node| !node.steps.is_empty());
        let step = ran.map_or(0, |node| writer(plan, node, found.value));
        let what = self.describe(found.value) + if again { "" } else { " (once, and not again)" };
        Ok(self.divergence(step, Cause::Together, what, (found.value, &right, &found.bytes)))
    }

    /// Runs the first steps as the walk does, whole nodes one by one.
    fn replay(&self, steps: usize) -> Result<(), CompareError> {
        self.reset()?;
        for (at, node) in self.executor.plan().nodes().iter().enumerate().filter(|(_, node)| !node.steps.is_empty()) {
            let Range { start, end } = node.steps;
            match end <= steps {
                true => self.executor.run_node(at)?,
                false if start < steps => self.executor.run_steps(start..steps)?,
                false => break,
            }
        }
        Ok(())
    }

    fn divergence(
        &self,
        step: usize,
        cause: Cause,
        what: String,
        (value, right, found): (Value, &[u8], &[u8]),
    ) -> Divergence {
        let tensor = self.graph.tensor(value).clone();
        let truth = Array { shape: tensor.shape.to_vec(), data: decode(right, tensor.elem) };
        let worst = Worst::of(&truth, &decode(found, tensor.elem), |_| 0.0);
        Divergence::new(self.executor.plan(), step, cause, (what, tensor), &worst)
    }

    /// A value in words.
    fn describe(&self, value: Value) -> String {
        match self.graph.source(value) {
            Source::Input(name) => format!("input `{name}`"),
            Source::Stored { home, name } => format!("{home} `{name}`"),
            Source::Node(node, output) => {
                let node = &self.graph.nodes()[*node];
                let scope = if node.scope.is_empty() { "the top" } else { &node.scope };
                format!("output {output} of {} at {scope}", node.op.name())
            }
        }
    }
}

/// The first cut that differs, where the lowest does not and the highest does: half of what is left a time.
fn first(
    cuts: Range<usize>,
    mut differs: impl FnMut(usize) -> Result<bool, CompareError>,
) -> Result<usize, CompareError> {
    let Range { start: mut low, end: mut high } = cuts;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if differs(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Tells contents apart; equal bytes have equal digests.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_the_first_cut_that_differs() {
        for (low, high) in [(0, 1), (0, 7), (3, 40)] {
            for culprit in low + 1..=high {
                let mut asked = 0;
                let found = first(low..high, |cut| {
                    assert!((low + 1..high).contains(&cut), "the ends are known");
                    asked += 1;
                    Ok(cut >= culprit)
                });
                assert_eq!(found.expect("nothing fails here"), culprit);
                assert!(asked <= 6, "{asked} runs for {} cuts", high - low);
            }
        }
    }
}
