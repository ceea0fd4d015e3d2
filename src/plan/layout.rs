//! Homes, and where each stored tensor stands in them: shared by every plan of one model.

use std::collections::HashMap;
use std::fmt;

use super::PlanError;
use super::alike::{by_element, kind};
use crate::graph::{Graph, Source, Tensor, Value};
use crate::kernel::Elem;

/// The least alignment of a tensor in its home: WebGPU's own, so that one layout serves every machine.
const ALIGNMENT: usize = 256;

/// A tensor in a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its type.
    pub tensor: Tensor,
    /// Where it starts in the home's buffer, in bytes.
    pub offset: usize,
}

/// One buffer of tensors that are kept between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its name: `parameters`, `momentum`, `statistics` …
    pub name: &'static str,
    /// Its tensors, in order of offset.
    pub tensors: Vec<Stored>,
    /// Bytes of the buffer.
    pub bytes: usize,
}

/// Every home of a model. Plans made with one layout can run on the same buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    homes: Vec<Home>,
    /// Tensors start at multiples of so many elements, of whichever type: what stands side by side in one home does in all.
    unit: usize,
}

impl Layout {
    /// The stored tensors of these graphs, at multiples of `alignment` bytes (at least 256): first what updates of one kind go through, side
    /// by side, then the others in order of first appearance.
    ///
    /// # Errors
    /// When two graphs store one name with different types.
    pub fn of(graphs: &[&Graph], alignment: usize) -> Result<Self, PlanError> {
        let mut layout = Self { homes: Vec::new(), unit: alignment.max(ALIGNMENT) / Elem::F16.bytes() };
        for graph in graphs {
            layout.add_updated(graph)?;
            for value in graph.values() {
                layout.add_stored(graph, value)?;
            }
        }
        Ok(layout)
    }

    /// Adds what updates go through, kind by kind.
    fn add_updated(&mut self, graph: &Graph) -> Result<(), PlanError> {
        let mut kinds: Vec<(String, Vec<Vec<Value>>)> = Vec::new();
        // What is stored anew stands where it stood.
        let mut stands: HashMap<Value, Value> = HashMap::new();
        for node in graph.nodes() {
            let stored = |value: Value| stands.get(&value).copied().unwrap_or(value);
            let along: Vec<Value> = by_element(graph, node).into_iter().map(|at| stored(node.inputs[at])).collect();
            let updated = node.op.updates().into_iter();
            let updated: Vec<_> =
                updated.filter_map(|(at, of)| Some((*node.outputs.get(of)?, stored(*node.inputs.get(at)?)))).collect();
            stands.extend(updated);
            if along.is_empty() {
                continue;
            }
            let kind = kind(graph, node);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, updates)) => updates.push(along),
                None => kinds.push((kind, vec![along])),
            }
        }
        for (_, mut updates) in kinds {
            // What an earlier kind has put in order keeps it, and what goes along takes it over.
            updates.sort_by_key(|along| along.iter().find_map(|&value| self.known(graph, value)));
            for value in updates.into_iter().flatten() {
                self.add_stored(graph, value)?;
            }
        }
        Ok(())
    }

    /// Home and offset of a stored value that has a place.
    fn known(&self, graph: &Graph, value: Value) -> Option<(usize, usize)> {
        let Source::Stored { home, name } = graph.source(value) else { return None };
        self.find(home, name).map(|(at, stored)| (at, stored.offset))
    }

    fn add_stored(&mut self, graph: &Graph, value: Value) -> Result<(), PlanError> {
        match graph.source(value) {
            Source::Stored { home, name } => self.add(home, name, graph.tensor(value)),
            _ => Ok(()),
        }
    }

    fn add(&mut self, home: &'static str, name: &str, tensor: &Tensor) -> Result<(), PlanError> {
        if let Some((_, known)) = self.find(home, name) {
            if known.tensor == *tensor {
                return Ok(());
            }
            let problem = format!("{home} `{name}` is {} in one graph and {tensor} in another", known.tensor);
            return Err(PlanError::Name(problem));
        }
        let at = self.homes.iter().position(|known| known.name == home).unwrap_or_else(|| {
            self.homes.push(Home { name: home, tensors: Vec::new(), bytes: 0 });
            self.homes.len() - 1
        });
        let count = tensor.shape.iter().fold(1usize, |count, &size| count.saturating_mul(size));
        let bytes = self.padded(count).saturating_mul(tensor.elem.bytes());
        let home = &mut self.homes[at];
        home.tensors.push(Stored { name: name.to_owned(), tensor: tensor.clone(), offset: home.bytes });
        home.bytes = home.bytes.saturating_add(bytes);
        Ok(())
    }

    /// So many elements, and the gap behind them.
    pub(super) fn padded(&self, count: usize) -> usize {
        count.max(1).div_ceil(self.unit.max(1)).saturating_mul(self.unit.max(1))
    }

    /// The homes, in order of first appearance; a [`Buffer::Home`](super::Buffer::Home) counts them.
    #[must_use]
    pub fn homes(&self) -> &[Home] {
        &self.homes
    }

    /// The number of a home, and the tensor of this name in it.
    #[must_use]
    pub fn find(&self, home: &str, name: &str) -> Option<(usize, &Stored)> {
        let at = self.homes.iter().position(|known| known.name == home)?;
        self.homes[at].tensors.iter().find(|stored| stored.name == name).map(|stored| (at, stored))
    }

    /// Bytes of all homes together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.homes.iter().map(|home| home.bytes).fold(0, usize::saturating_add)
    }

    /// A number that tells two layouts apart: FNV-1a of the layout's text.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let text = self.to_string();
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for home in &self.homes {
            writeln!(f, "{} ({} bytes)", home.name, home.bytes)?;
            for stored in &home.tensors {
                writeln!(f, "  {:>10}  {}: {}", stored.offset, stored.name, stored.tensor)?;
            }
        }
        Ok(())
    }
}
