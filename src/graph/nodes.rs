//! The graph: types of values, and the nodes that make them.

use std::sync::Arc;

use super::{Cost, GraphError, Op, Tensor};

/// A tensor not yet computed: a number that only means something to the graph that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(usize);

impl Value {
    /// The value's number: values are counted in the order in which the graph made them.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Given anew for each run.
    Input(String),
    /// Kept between runs under this name, in this home (`parameters`, `momentum`, `statistics` …).
    Stored {
        /// The home.
        home: &'static str,
        /// The tensor's name.
        name: String,
    },
    /// Output `.1` of node `.0`.
    Node(usize, usize),
}

/// An op applied.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op.
    pub op: Arc<dyn Op>,
    /// What it is applied to.
    pub inputs: Vec<Value>,
    /// What it makes.
    pub outputs: Vec<Value>,
    /// Where in the model it stands: `stage3/block1/conv2`.
    pub scope: String,
}

/// What is to be computed.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    tensors: Vec<Tensor>,
    sources: Vec<Source>,
    nodes: Vec<Node>,
    outputs: Vec<(String, Value)>,
    scope: Vec<String>,
}

/// The most elements of a value: a thousand times the largest memory, and far from where sizes wrap.
const MOST: u64 = 1 << 48;

impl Graph {
    /// A graph without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A value that is given anew for each run.
    pub fn input(&mut self, name: impl Into<String>, tensor: Tensor) -> Value {
        self.add(tensor, Source::Input(name.into()))
    }

    /// A value that is kept between runs. Asked for again under the same name, it is the same value.
    ///
    /// # Errors
    /// When the home already holds a tensor of this name and another type.
    pub fn stored(&mut self, home: &'static str, name: &str, tensor: Tensor) -> Result<Value, GraphError> {
        let source = Source::Stored { home, name: name.to_owned() };
        match self.sources.iter().position(|known| *known == source) {
            None => Ok(self.add(tensor, source)),
            Some(at) if self.tensors[at] == tensor => Ok(Value(at)),
            Some(at) => {
                Err(GraphError::Name(format!("{home} `{name}` is {} and was asked for as {tensor}", self.tensors[at])))
            }
        }
    }

    /// Applies an op.
    ///
    /// # Errors
    /// When the op's shape rule refuses these inputs.
    pub fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>, GraphError> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// Applies an op that has one output.
    ///
    /// # Errors
    /// When the op's shape rule refuses these inputs.
    ///
    /// # Panics
    /// When the op has no output at all: a fault of the op.
    pub fn apply_one(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value, GraphError> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// Applies an op that others hold too.
    ///
    /// # Errors
    /// When the op's shape rule refuses these inputs.
    pub fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>, GraphError> {
        let tensors: Vec<Tensor> = inputs.iter().map(|&value| self.tensor(value).clone()).collect();
        let refuse = |problem: String| GraphError::Shapes {
            op: op.name().to_owned(),
            problem,
            inputs: tensors.iter().map(Tensor::to_string).collect::<Vec<_>>().join(", "),
        };
        // Before any rule multiplies sizes: what passes here can be counted, and a few times as much as well.
        let absurd = |tensor: &&Tensor| {
            tensor.shape.iter().fold(1, |most: u64, &size| most.saturating_mul(size.max(1) as u64)) > MOST
        };
        let refuse_absurd = |tensor: &Tensor| Err(refuse(format!("{tensor} has more elements than any machine holds")));
        if let Some(tensor) = tensors.iter().find(absurd) {
            return refuse_absurd(tensor);
        }
        let made = op.outputs(&tensors).map_err(refuse)?;
        if let Some(tensor) = made.iter().find(absurd) {
            return refuse_absurd(tensor);
        }
        if let Some(empty) = made.iter().find(|tensor| tensor.shape.count() == 0) {
            return Err(refuse(format!("the output would be empty: {empty}")));
        }
        let node = self.nodes.len();
        let outputs: Vec<Value> =
            made.into_iter().enumerate().map(|(at, tensor)| self.add(tensor, Source::Node(node, at))).collect();
        let scope = self.scope.join("/");
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), scope });
        Ok(outputs)
    }

    /// Builds a part of the model under a name; nodes remember the names around them.
    pub fn scoped<T>(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let built = build(self);
        self.scope.pop();
        built
    }

    /// The scope that new nodes and parameters stand in, with a name added: `stage3/block1/weight`.
    #[must_use]
    pub fn scoped_name(&self, name: &str) -> String {
        self.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
    }

    /// Marks a value as wanted after a run, under a name.
    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// What a value is.
    #[must_use]
    pub fn tensor(&self, value: Value) -> &Tensor {
        &self.tensors[value.0]
    }

    /// Where a value comes from.
    #[must_use]
    pub fn source(&self, value: Value) -> &Source {
        &self.sources[value.0]
    }

    /// Every value, in the order made.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Value> + use<> {
        (0..self.tensors.len()).map(Value)
    }

    /// Every node, in an order in which they can run.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What a node of this number costs at least.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn cost(&self, node: usize) -> Cost {
        let Node { op, inputs, outputs, .. } = &self.nodes[node];
        let tensors = |values: &[Value]| values.iter().map(|&value| self.tensor(value).clone()).collect::<Vec<_>>();
        op.cost(&tensors(inputs), &tensors(outputs))
    }

    /// The numbers of the nodes that stand in this scope, or in one within it.
    #[must_use]
    pub fn nodes_in(&self, scope: &str) -> Vec<usize> {
        let inside = |own: &str| own.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        (0..self.nodes.len()).filter(|&at| inside(&self.nodes[at].scope)).collect()
    }

    /// The values wanted after a run.
    #[must_use]
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// The input of this name.
    #[must_use]
    pub fn find_input(&self, name: &str) -> Option<Value> {
        self.values().find(|&value| matches!(self.source(value), Source::Input(known) if known == name))
    }

    /// The output of this name.
    #[must_use]
    pub fn find_output(&self, name: &str) -> Option<Value> {
        self.outputs.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    fn add(&mut self, tensor: Tensor, source: Source) -> Value {
        self.tensors.push(tensor);
        self.sources.push(source);
        Value(self.tensors.len() - 1)
    }
}
