//! The named parameters of a model: shapes, homes, how they start, and which are drawn to zero.

use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::kernel::Elem;
use crate::reference::Random;

/// The home of what is learned by gradients.
pub const PARAMETERS: &str = "parameters";
/// The home of running averages.
pub const STATISTICS: &str = "statistics";
/// The home of f16 copies of weights, where the weights themselves are f32: networks compute with the copies.
pub const COPIES: &str = "copies";

/// The home of moving averages over steps (EMA) of what stands in [`PARAMETERS`] and [`STATISTICS`], f32, under the same names.
pub const AVERAGES: &str = "ema";
/// The home of a network that teaches another; or the input of what somebody has said.
pub const TEACHER: &str = "teacher";

/// The numbers that a parameter starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Normal with standard deviation sqrt(2 / fan): keeps the size of gradients through ReLUs (He et al. 2015).
    He {
        /// Outputs that one input reaches: kernel area × output channels of a group.
        fan_out: usize,
    },
    /// Normal with standard deviation sqrt(2 / (in + out)), for maps without ReLU (Glorot and Bengio 2010).
    Xavier {
        /// Inputs of one output.
        fan_in: usize,
        /// Outputs of one input.
        fan_out: usize,
    },
    /// How far each pixel of a square window is from its middle, (across, down), row by row: nothing is drawn.
    Offsets {
        /// Height and width of the window, odd.
        side: usize,
    },
}

impl Init {
    fn deviation(self) -> f64 {
        match self {
            Self::Zeros | Self::Ones | Self::Offsets { .. } => 0.0,
            Self::Normal(deviation) => deviation,
            Self::He { fan_out } => (2.0 / fan_out.max(1) as f64).sqrt(),
            Self::Xavier { fan_in, fan_out } => (2.0 / (fan_in + fan_out).max(1) as f64).sqrt(),
        }
    }
}

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its place in the model: `stage2/block1/conv1/weight`.
    pub name: String,
    /// Where it is kept: [`PARAMETERS`] or [`STATISTICS`].
    pub home: &'static str,
    /// Its shape and element type.
    pub tensor: Tensor,
    /// The numbers that it starts with.
    pub init: Init,
    /// Whether weight decay draws it to zero: weights, not gains and biases.
    pub decays: bool,
    /// Whether it belongs to a normalization; papers' counts leave those out.
    pub normalizes: bool,
}

impl Parameter {
    /// The numbers that it starts with: the same for the same seed and name, whatever else the model holds.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let count = self.tensor.shape.count();
        match self.init {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Offsets { side } => {
                let from_middle = |at: usize| at as f32 - (side / 2) as f32;
                (0..side * side).flat_map(|at| [from_middle(at % side), from_middle(at / side)]).collect()
            }
            init => {
                let mut random = Random::named(seed, &self.name);
                (0..count).map(|_| (init.deviation() * random.normal()) as f32).collect()
            }
        }
    }
}

/// The parameters of a model, in the order in which its layers asked for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    all: Vec<Parameter>,
    copied: bool,
    averaged: bool,
    home: Option<&'static str>,
}

impl Parameters {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet. Weights of f16 will be kept in f32, under their names, and the network is given a copy of each, which
    /// has the same name in [`COPIES`].
    #[must_use]
    pub fn copied() -> Self {
        Self { copied: true, ..Self::default() }
    }

    /// The same parameters: networks that are built with them compute with their moving averages in [`AVERAGES`].
    #[must_use]
    pub fn averaged(&self) -> Self {
        Self { all: self.all.clone(), copied: false, averaged: true, home: self.home }
    }

    /// None yet. All will be kept in this home, where nothing is learned, whatever home they would be in.
    #[must_use]
    pub fn kept_in(home: &'static str) -> Self {
        Self { home: Some(home), ..Self::default() }
    }

    /// A weight, under the graph's present scope: learned, drawn to zero.
    ///
    /// # Errors
    /// When the name is taken by a parameter of another kind.
    pub fn weight(&mut self, graph: &mut Graph, name: &str, tensor: Tensor, init: Init) -> Result<Value, GraphError> {
        let name = graph.scoped_name(name);
        let copy = if self.copied && tensor.elem == Elem::F16 { Some(tensor.clone()) } else { None };
        let tensor = if copy.is_some() { Tensor::f32(tensor.shape) } else { tensor };
        let parameter =
            Parameter { name: name.clone(), home: PARAMETERS, tensor, init, decays: true, normalizes: false };
        let weight = self.declare(graph, parameter)?;
        copy.map_or(Ok(weight), |copy| graph.stored(COPIES, &name, copy))
    }

    /// A bias, f32 `[length]`: learned, not drawn to zero.
    ///
    /// # Errors
    /// When the name is taken by a parameter of another kind.
    pub fn bias(&mut self, graph: &mut Graph, name: &str, length: usize) -> Result<Value, GraphError> {
        let (name, tensor) = (graph.scoped_name(name), Tensor::f32([length]));
        let (home, init) = (PARAMETERS, Init::Zeros);
        self.declare(graph, Parameter { name, home, tensor, init, decays: false, normalizes: false })
    }

    /// A tensor that is read and never changed, under the graph's present scope: kept beside the running averages, which are not learned
    /// either. A table of a few numbers costs no kernel so, and weight files say what was computed with.
    ///
    /// # Errors
    /// When the name is taken by a parameter of another kind.
    pub fn constant(&mut self, graph: &mut Graph, name: &str, tensor: Tensor, init: Init) -> Result<Value, GraphError> {
        let (name, home) = (graph.scoped_name(name), STATISTICS);
        self.declare(graph, Parameter { name, home, tensor, init, decays: false, normalizes: false })
    }

    /// Gain, bias, running mean and running variance of a normalization of this many channels, f32 each.
    ///
    /// # Errors
    /// When a name is taken by a parameter of another kind.
    pub fn normalization(&mut self, graph: &mut Graph, channels: usize) -> Result<[Value; 4], GraphError> {
        let [gain, bias] = self.affine(graph, channels)?;
        let mean = self.of_norm(graph, "running_mean", (STATISTICS, Init::Zeros), channels)?;
        let variance = self.of_norm(graph, "running_variance", (STATISTICS, Init::Ones), channels)?;
        Ok([gain, bias, mean, variance])
    }

    /// Gain and bias of a normalization of this many channels, f32 each.
    ///
    /// # Errors
    /// When a name is taken by a parameter of another kind.
    pub fn affine(&mut self, graph: &mut Graph, channels: usize) -> Result<[Value; 2], GraphError> {
        let gain = self.of_norm(graph, "gain", (PARAMETERS, Init::Ones), channels)?;
        Ok([gain, self.of_norm(graph, "bias", (PARAMETERS, Init::Zeros), channels)?])
    }

    fn of_norm(
        &mut self,
        graph: &mut Graph,
        name: &str,
        (home, init): (&'static str, Init),
        channels: usize,
    ) -> Result<Value, GraphError> {
        let (name, tensor) = (graph.scoped_name(name), Tensor::f32([channels]));
        self.declare(graph, Parameter { name, home, tensor, init, decays: false, normalizes: true })
    }

    /// Adds a parameter to the graph, and to the list unless another graph of the model has already put it there.
    fn declare(&mut self, graph: &mut Graph, parameter: Parameter) -> Result<Value, GraphError> {
        let parameter = Parameter { home: self.home.unwrap_or(parameter.home), ..parameter };
        let known = self.all.iter().find(|known| (known.home, &known.name) == (parameter.home, &parameter.name));
        if let Some(known) = known
            && *known != parameter
        {
            let (home, name) = (known.home, &known.name);
            let problem = format!("{home} `{name}` is declared as {known:?} and as {parameter:?}");
            return Err(GraphError::Name(problem));
        }
        let home = if self.averaged { AVERAGES } else { parameter.home };
        let value = graph.stored(home, &parameter.name, parameter.tensor.clone())?;
        if known.is_none() {
            self.all.push(parameter);
        }
        Ok(value)
    }

    /// Every parameter, running averages among them.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.all.iter()
    }

    /// Those that are learned.
    pub fn learned(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|parameter| parameter.home == PARAMETERS)
    }

    /// How many numbers are learned, with normalizations or without.
    #[must_use]
    pub fn count(&self, with_normalizations: bool) -> usize {
        let counted = self.learned().filter(|parameter| with_normalizations || !parameter.normalizes);
        counted.map(|parameter| parameter.tensor.shape.count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(parameters: &mut Parameters, name: &str, init: Init) -> Result<Value, GraphError> {
        parameters.weight(&mut Graph::new(), name, Tensor::f32([40, 100]), init)
    }

    #[test]
    fn numbers_depend_on_seed_and_name_alone() {
        let (mut one, mut two) = (Parameters::new(), Parameters::new());
        weight(&mut one, "a", Init::He { fan_out: 50 }).expect("a first one");
        weight(&mut two, "b", Init::Ones).expect("a first one");
        weight(&mut two, "a", Init::He { fan_out: 50 }).expect("a second one");
        let (first, second) = (one.iter().next().expect("a"), two.iter().nth(1).expect("a"));
        assert_eq!(first.initial(3), second.initial(3));
        assert_ne!(first.initial(3), first.initial(4));
        let squares: f32 = first.initial(3).iter().map(|x| x * x).sum();
        assert!((squares / 4000.0 - 2.0 / 50.0).abs() < 0.004, "{squares}");
    }

    #[test]
    fn offsets_are_counted_from_the_middle() {
        let mut parameters = Parameters::new();
        let table = (Tensor::f32([9, 2]), Init::Offsets { side: 3 });
        parameters.constant(&mut Graph::new(), "offsets", table.0, table.1).expect("a first one");
        let numbers = parameters.iter().next().expect("offsets").initial(3);
        assert_eq!(numbers[..6], [-1.0, -1.0, 0.0, -1.0, 1.0, -1.0]);
        assert_eq!(numbers[16..], [1.0, 1.0]);
        assert_eq!((numbers.len(), parameters.count(true)), (18, 0));
    }

    #[test]
    fn a_second_graph_adds_nothing_and_contradictions_are_refused() {
        let mut parameters = Parameters::new();
        weight(&mut parameters, "a", Init::Ones).expect("a first one");
        weight(&mut parameters, "a", Init::Ones).expect("the same in another graph");
        assert_eq!(parameters.count(true), 4000);
        assert!(weight(&mut parameters, "a", Init::Zeros).is_err());
    }
}
