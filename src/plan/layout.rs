//! Homes, and where each stored tensor stands in them: shared by every plan of one model.

use std::fmt;

use super::PlanError;
use super::memory::binding_bytes;
use crate::graph::{Graph, Source, Tensor};

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
}

impl Layout {
    /// The stored tensors of these graphs, in order of first appearance, at multiples of `alignment` (at least 256).
    ///
    /// # Errors
    /// When two graphs store one name with different types.
    pub fn of(graphs: &[&Graph], alignment: usize) -> Result<Self, PlanError> {
        let alignment = alignment.max(ALIGNMENT);
        let mut layout = Self::default();
        for graph in graphs {
            for value in graph.values() {
                if let Source::Stored { home, name } = graph.source(value) {
                    layout.add(home, name, graph.tensor(value), alignment)?;
                }
            }
        }
        Ok(layout)
    }

    fn add(&mut self, home: &'static str, name: &str, tensor: &Tensor, alignment: usize) -> Result<(), PlanError> {
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
        let home = &mut self.homes[at];
        home.tensors.push(Stored { name: name.to_owned(), tensor: tensor.clone(), offset: home.bytes });
        home.bytes = home.bytes.saturating_add(binding_bytes(tensor)).div_ceil(alignment).saturating_mul(alignment);
        Ok(())
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
