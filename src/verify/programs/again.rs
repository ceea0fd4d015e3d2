//! A program whose backward pass makes values again against the same one that keeps them: the same bits.

use super::check::{Failure, Kind};
use super::{Built, Program};
use crate::graph::{Arrays, Graph, Source};
use crate::kernel::Capabilities;
use crate::plan::{Layout, Options, Plan};
use crate::reference::Random;

/// Parts that nodes are thrown into.
const PARTS: usize = 3;

/// What of a program's graph is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Nothing.
    None,
    /// All of it, as one part.
    Whole,
    /// Some of it, drawn from the program's seed.
    Drawn,
}

impl Parts {
    pub(super) fn of(self, graph: &Graph, seed: u64) -> Vec<Vec<usize>> {
        match self {
            Self::None => Vec::new(),
            Self::Whole => vec![(0..graph.nodes().len()).collect()],
            Self::Drawn => drawn(graph, seed),
        }
    }
}

/// Parts of a graph at random: neighbors more often than not in one, as those of a block are, and many in none.
fn drawn(graph: &Graph, seed: u64) -> Vec<Vec<usize>> {
    let mut random = Random::named(seed, "parts");
    let mut parts = vec![Vec::new(); PARTS];
    let mut part = random.below(PARTS + 1);
    for node in 0..graph.nodes().len() {
        if random.below(3) == 0 {
            part = random.below(PARTS + 1);
        }
        if let Some(part) = parts.get_mut(part) {
            part.push(node);
        }
    }
    parts
}

/// Builds the program so in two ways and compares every value, in f64. One of the two; nothing where no node had to be made
/// again.
pub(super) fn again(program: &Program, built: &Built, truth: &Arrays<f64>) -> Result<Option<Built>, Failure> {
    let whole = same(program, built, truth, Parts::Whole)?;
    Ok(same(program, built, truth, Parts::Drawn)?.or(whole))
}

fn same(program: &Program, built: &Built, truth: &Arrays<f64>, parts: Parts) -> Result<Option<Built>, Failure> {
    let refuse = |text: &dyn std::fmt::Display| Failure::new(Kind::Again, text);
    let again = program.build_again(parts).map_err(|error| refuse(&error))?;
    if again.graph.nodes().len() == built.graph.nodes().len() {
        return Ok(None);
    }
    let numbers = program.truth(&again, 0);
    for (at, (one, other)) in built.values.iter().zip(&again.values).enumerate() {
        let (Some(one), Some(other)) = (one, other) else { continue };
        let (a, b) = (&truth[one.index()], &numbers[other.index()]);
        if a.shape != b.shape || a.data.iter().zip(&b.data).any(|(a, b)| a.to_bits() != b.to_bits()) {
            let op = match again.graph.source(*other) {
                Source::Node(node, _) => Some(again.graph.nodes()[*node].op.name()),
                _ => None,
            };
            let text = format!("v{at} has other bits where values are made again for the backward pass");
            return Err(Failure { op, ..refuse(&text) });
        }
    }
    // What may not be read any more, because it was updated, planners see.
    let machine = Capabilities::portable();
    let plan = |graph: &Graph| {
        let layout = Layout::of(&[graph], machine.offset_alignment)?;
        Plan::new(graph, &layout, &machine, Options::default())
    };
    match (plan(&built.graph), plan(&again.graph)) {
        (Ok(_), Err(error)) => Err(refuse(&error)),
        _ => Ok(Some(again)),
    }
}
