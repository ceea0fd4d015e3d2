//! Why weights were not read: all that is wrong with a file at once, and what to do about it.

use std::fmt;

use crate::gpu;
use crate::graph::GraphError;
use crate::models::NetworkError;
use crate::train::checkpoint::CheckpointError;

/// Why weights were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file system refused, or the file is no whole safetensors file.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The tensors are not those of the model.
    #[error(
        "{file} does not fit {model}: {}{}",
        listed(.misfits),
        remedy(.misfits)
    )]
    Misfits {
        /// The file.
        file: String,
        /// The model.
        model: String,
        /// All of them.
        misfits: Vec<Misfit>,
    },
    /// An infinite number, or none.
    #[error(
        "{file}: `{tensor}` holds {number} at {at:?}, one of {count} such numbers; was it saved by a run that diverged?"
    )]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Where, in the file's own layout.
        at: Vec<usize>,
        /// What.
        number: f32,
        /// How many numbers of the tensor are infinite or none.
        count: usize,
    },
    /// The weights do not say of which network they are.
    #[error("{file} does not say of which model it is, and {problem}: name it (--model NAME)")]
    Nameless {
        /// The file.
        file: String,
        /// What was tried.
        problem: String,
    },
    /// Nobody can learn of the file.
    #[error("{file} is no teacher: {problem}")]
    Teacher {
        /// The file.
        file: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// What the file says of its network is wrong.
    #[error("{file}: {source}")]
    Network {
        /// The file.
        file: String,
        /// What is wrong.
        source: NetworkError,
    },
    /// The network cannot be built for these images.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The machine.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// How a tensor of a file and one of a model differ. Shapes are in the file's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The model has it, the file does not.
    Missing {
        /// Its name in the file.
        name: String,
        /// The shape that it would have.
        shape: Vec<usize>,
    },
    /// The file has it, the model does not.
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Of another shape.
    Misshapen {
        /// Its name.
        name: String,
        /// In the file.
        shape: Vec<usize>,
        /// In the model.
        wanted: Vec<usize>,
    },
    /// Of a type that weights are not read from.
    Mistyped {
        /// Its name.
        name: String,
        /// The type, as the format calls it.
        kind: String,
    },
}

impl Misfit {
    /// What is said of all of a kind, and of this one.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Missing { name, shape } => ("missing", format!("`{name}` {shape:?}")),
            Self::Unexpected { name, shape } => ("unexpected", format!("`{name}` {shape:?}")),
            Self::Misshapen { name, shape, wanted } => {
                ("misshapen", format!("`{name}` {shape:?} where the model has {wanted:?}"))
            }
            Self::Mistyped { name, kind } => {
                ("neither F32, F16 nor BF16 (in PyTorch, `tensor.float()` makes F32)", format!("`{name}` {kind}"))
            }
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, which) = self.words();
        write!(f, "{kind}: {which}")
    }
}

/// All misfits, by kind.
fn listed(misfits: &[Misfit]) -> String {
    let mut kinds: Vec<(&str, Vec<String>)> = Vec::new();
    for (kind, which) in misfits.iter().map(Misfit::words) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, all)) => all.push(which),
            None => kinds.push((kind, vec![which])),
        }
    }
    let kinds = kinds.into_iter().map(|(kind, all)| format!("{} {kind}: {}", all.len(), all.join(", ")));
    kinds.collect::<Vec<_>>().join("; ")
}

/// What to do about shapes and names; a type says its own.
fn remedy(misfits: &[Misfit]) -> &'static str {
    match misfits.iter().all(|misfit| matches!(misfit, Misfit::Mistyped { .. })) {
        true => "",
        false => "; is it of another depth, preset or number of classes? `vistok model NAME` prints every layer",
    }
}
