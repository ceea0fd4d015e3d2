//! Case files: what another framework computed, to be replayed here. One op with its gradients, or a whole model that
//! learns a few steps. The format stands in `tests/oracle/README.md`.
//!
//! Reading is strict: whatever a file says is compared with what it holds and with what the op would make of it, and
//! bounded, before anything is computed.

mod model;
mod op;
mod replay;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::compare::{decode, largest};
use super::outside::check_size;
use super::tolerance::Told;
use crate::graph::{Graph, GraphError, Shape, SignatureError, Tensor, Value};
use crate::kernel::Elem;
use crate::reference::Array;

pub use replay::{CaseRow, ReplayError, Witness};

/// The most bytes of a file.
const MOST_BYTES: usize = 256 << 20;
/// The most bytes of its header, which names the tensors.
const MOST_HEADER: u64 = 1 << 20;

/// Why a file is no case file, or one that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaseFileError {
    /// The file system refused.
    #[error("{0}; is the file there, and may you read it?")]
    File(#[from] std::io::Error),
    /// Not safetensors, or cut off.
    #[error("no whole safetensors file: {0}")]
    Format(String),
    /// The metadata lacks an entry, or one says nothing that can be understood.
    #[error("metadata `{entry}`: {problem}")]
    Metadata {
        /// The entry.
        entry: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A tensor is missing, is not what the op makes of the others, or has no meaning.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// No such op, or not its attributes.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The op refuses the inputs, or has no such gradient.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// More than is computed for a file from outside.
    #[error("too large: {0}")]
    Large(String),
}

/// A tensor of a file.
#[derive(Clone, Debug)]
struct Given {
    tensor: Tensor,
    numbers: Array<f64>,
}

/// What a file says that a value of the graph should be.
#[derive(Clone, Debug)]
struct Claimed {
    name: String,
    value: Value,
    given: Given,
}

/// A case file, read and found to be whole: a graph, the numbers that go in, and those that should come out.
#[derive(Clone, Debug)]
pub struct CaseFile {
    subject: String,
    graph: Graph,
    leaves: Vec<(Value, Given)>,
    expected: Vec<Claimed>,
    /// Of a model: the loss of each step.
    losses: Option<(Value, Given)>,
    tolerance: Told,
    /// Whether the numbers were computed in f64, so that our maths in f64 must give them to the last digit.
    exact: bool,
}

/// What is in a file before it is understood.
struct Raw {
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, Given>,
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, and as [`CaseFile::parse`].
    pub fn open(path: &Path) -> Result<Self, CaseFileError> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// When they are no case file, contradict themselves or the op, or ask for more than a minute's work.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaseFileError> {
        let mut raw = Raw::read(bytes)?;
        let name = raw.entry("op")?.to_owned();
        let tolerance = Told::parse(raw.entry("tolerance")?)
            .map_err(|problem| CaseFileError::Metadata { entry: "tolerance", problem })?;
        let exact = match raw.metadata.get("computed_in").map(String::as_str) {
            None | Some("f32") => false,
            Some("f64") => true,
            Some(other) => {
                let problem = format!("is `{other}`, and must be `f32` or `f64`, or left out, which means `f32`");
                return Err(CaseFileError::Metadata { entry: "computed_in", problem });
            }
        };
        let attributes = raw.entry("attributes")?.to_owned();
        let mut file = match name.as_str() {
            "model" => model::understand(&attributes, &mut raw)?,
            _ => op::understand(&name, &attributes, &mut raw)?,
        };
        if let Some(name) = raw.tensors.keys().next() {
            let problem = format!("has no meaning for {}", file.subject);
            return Err(CaseFileError::Tensor { name: name.clone(), problem });
        }
        (file.tolerance, file.exact) = (tolerance, exact);
        check_size(&file.graph, file.steps() as u64).map_err(CaseFileError::Large)?;
        file.check_tolerance()?;
        for expected in &file.expected {
            file.graph.output(expected.name.clone(), expected.value);
        }
        if let Some((loss, _)) = file.losses {
            file.graph.output("losses", loss);
        }
        Ok(file)
    }

    /// The op's name, or `model` and the model's.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Every tensor that something is compared with, and its name.
    fn compared(&self) -> impl Iterator<Item = (&str, &Given)> {
        let expected = self.expected.iter().map(|expected| (expected.name.as_str(), &expected.given));
        expected.chain(self.losses.iter().map(|losses| ("losses", &losses.1)))
    }

    /// Runs of the graph.
    fn steps(&self) -> usize {
        self.losses.as_ref().map_or(1, |losses| losses.1.numbers.data.len())
    }

    /// A comparison that zeros would pass is none.
    fn check_tolerance(&self) -> Result<(), CaseFileError> {
        let passes = |(_, given): &(&str, &Given)| {
            let largest = largest(&given.numbers);
            let mut numbers = given.numbers.data.iter().filter(|number| number.is_finite());
            let compared = given.tensor.elem != Elem::U32 && largest > 0.0;
            compared && numbers.all(|number| number.abs() <= self.tolerance.allowed(*number, largest))
        };
        match self.compared().find(passes) {
            Some((name, _)) => Err(CaseFileError::Metadata {
                entry: "tolerance",
                problem: format!("is so wide that zeros would pass for `{name}`"),
            }),
            None => Ok(()),
        }
    }
}

impl Raw {
    fn read(bytes: &[u8]) -> Result<Self, CaseFileError> {
        let format = |problem: String| CaseFileError::Format(problem);
        if bytes.len() > MOST_BYTES {
            return Err(CaseFileError::Large(format!("{} bytes; {MOST_BYTES} may be", bytes.len())));
        }
        let header = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        if header > MOST_HEADER {
            return Err(format(format!("its header would have {header} bytes; {MOST_HEADER} may be")));
        }
        let (_, header): (_, Metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| format(error.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| format(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let refuse = |problem: String| CaseFileError::Tensor { name: name.to_owned(), problem };
            let elem = match view.dtype() {
                Dtype::F32 => Elem::F32,
                Dtype::F16 => Elem::F16,
                Dtype::U32 => Elem::U32,
                other => return Err(refuse(format!("is {other:?}, and must be F32, F16 or U32"))),
            };
            let tensor = Tensor::new(Shape::from(view.shape()), elem);
            if tensor.shape.contains(&0) {
                return Err(refuse(format!("is empty: {tensor}")));
            }
            let numbers = Array { shape: view.shape().to_vec(), data: decode(view.data(), elem) };
            // The format's reader has compared shape and bytes; all that follows trusts that they agree.
            if tensor.shape.count() != numbers.data.len() {
                return Err(refuse(format!("{tensor} does not hold {} numbers", numbers.data.len())));
            }
            tensors.insert(name.to_owned(), Given { tensor, numbers });
        }
        Ok(Self { metadata: header.metadata().clone().unwrap_or_default(), tensors })
    }

    fn entry(&self, entry: &'static str) -> Result<&str, CaseFileError> {
        let missing = || CaseFileError::Metadata { entry, problem: "is missing".to_owned() };
        self.metadata.get(entry).map(String::as_str).ok_or_else(missing)
    }

    /// Takes out a tensor that there must be.
    fn take(&mut self, name: &str) -> Result<Given, CaseFileError> {
        let missing = || CaseFileError::Tensor { name: name.to_owned(), problem: "is missing".to_owned() };
        self.tensors.remove(name).ok_or_else(missing)
    }

    /// Takes out a tensor that there must be, of this shape and element type.
    fn take_as(&mut self, name: &str, wanted: &Tensor) -> Result<Given, CaseFileError> {
        let given = self.take(name)?;
        match given.tensor == *wanted {
            true => Ok(given),
            false => {
                let problem = format!("is {} and must be {wanted}", given.tensor);
                Err(CaseFileError::Tensor { name: name.to_owned(), problem })
            }
        }
    }

    /// The names of the tensors that are called `prefix` and something.
    fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
    }
}
