//! How weights are updated: the rule and its numbers, what decays, and whether gradients are clipped.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::step::{Learned, MOMENTUM, initialize};
use crate::gpu::{Error, Homes};
use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::models::Parameters;
use crate::ops::{AdamW, AdamWCorrection, AdamWMixed, ClipNorm, Fill, RmsProp, RmsPropMixed, Sgd, SgdMixed};

/// The home of RMSProp's means of squares.
pub const SQUARES: &str = "squares";
/// The home of AdamW's means of gradients.
pub const FIRST_MOMENT: &str = "first_moment";
/// The home of AdamW's means of their squares.
pub const SECOND_MOMENT: &str = "second_moment";
/// The home of what corrects the moments for their start at zero: `betas`, f32 `[2]`.
pub const CORRECTION: &str = "correction";

/// The rule of an update. The state of [`Sgd`] is in the home `momentum`, that of [`RmsProp`] in `squares` and `momentum`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// RMSProp, as PyTorch or as TensorFlow has it.
    RmsProp(RmsProp),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// How a training step updates weights. An [`Sgd`] is one, with nothing else asked for.
///
/// Its `Debug` text is noted in weight files: that of the rule alone where nothing else is asked for.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// The rule.
    pub rule: Rule,
    /// Whether gains and biases decay as weights do.
    pub decay_all: bool,
    /// How long all gradients together may be ([`ClipNorm`]); longer ones are shortened.
    pub clip: Option<f64>,
}

/// Numbers by their names, as far as they are noted; 1 for what is true.
type Numbers<'a> = &'a dyn Fn(&str) -> Option<f64>;

impl From<Rule> for Optimizer {
    fn from(rule: Rule) -> Self {
        Self { rule, decay_all: false, clip: None }
    }
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Rule::Sgd(sgd).into()
    }
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Sgd(rule) => write!(f, "{rule:?}")?,
            Rule::RmsProp(rule) => write!(f, "{rule:?}")?,
            Rule::AdamW(rule) => write!(f, "{rule:?}")?,
        }
        if self.decay_all {
            write!(f, " all decay")?;
        }
        self.clip.map_or(Ok(()), |limit| write!(f, " clipped to {limit:?}"))
    }
}

impl Optimizer {
    /// The optimizer that a run had, from what its weight file notes of its recipe; `None` where that says none.
    #[must_use]
    pub fn noted(recipe: &str) -> Option<Self> {
        let within = |name: &str| {
            let (_, behind) = recipe.split_once(&format!("{name} {{ "))?;
            behind.split_once(" }")
        };
        let read = |(words, behind): (&str, &str), make: fn(Numbers<'_>) -> Option<Rule>| {
            let value = |name: &str| {
                let word = words.split(", ").find_map(|word| word.strip_prefix(name)?.strip_prefix(": "))?;
                word.parse().ok().or_else(|| word.parse().ok().map(|yes: bool| f64::from(u8::from(yes))))
            };
            let behind = behind.strip_prefix(" all decay").map_or((false, behind), |behind| (true, behind));
            let clip = behind.1.strip_prefix(" clipped to ").and_then(|limit| limit.split(' ').next()?.parse().ok());
            Some(Self { rule: make(&value)?, decay_all: behind.0, clip })
        };
        let sgd = within("Sgd").and_then(|words| {
            read(words, |value| {
                let (momentum, weight_decay) = (value("momentum")?, value("weight_decay")?);
                Some(Rule::Sgd(Sgd { momentum, weight_decay, nesterov: value("nesterov")? != 0.0 }))
            })
        });
        let rms_prop = || {
            read(within("RmsProp")?, |value| {
                let (decay, momentum, weight_decay) = (value("decay")?, value("momentum")?, value("weight_decay")?);
                let (epsilon, tensorflow) = (value("epsilon")?, value("tensorflow")? != 0.0);
                Some(Rule::RmsProp(RmsProp { decay, momentum, weight_decay, epsilon, tensorflow }))
            })
        };
        let adamw = || {
            read(within("AdamW")?, |value| {
                let (beta_1, beta_2) = (value("beta_1")?, value("beta_2")?);
                Some(Rule::AdamW(AdamW {
                    beta_1,
                    beta_2,
                    weight_decay: value("weight_decay")?,
                    epsilon: value("epsilon")?,
                }))
            })
        };
        sgd.or_else(rms_prop).or_else(adamw)
    }

    /// Writes what a run starts with, as [`initialize`] does, and state that does not start at 0: TensorFlow's means of
    /// squares are 1.
    ///
    /// # Errors
    /// When the homes lack a parameter, or the device is lost.
    pub fn initialize(&self, homes: &Homes, parameters: &Parameters, seed: u64) -> Result<(), Error> {
        initialize(homes, parameters, seed)?;
        if matches!(self.rule, Rule::RmsProp(RmsProp { tensorflow: true, .. })) {
            for parameter in parameters.learned() {
                homes.write_f32(SQUARES, &parameter.name, &vec![1.0; parameter.tensor.shape.count()])?;
            }
        }
        Ok(())
    }

    /// Adds the updates of these parameters by these gradients, and says what factor they take, if one.
    pub(super) fn update(
        &self,
        graph: &mut Graph,
        learned: &[Learned],
        gradients: &[(String, Value)],
        (rate, mut factor): (Value, Option<Value>),
    ) -> Result<Option<Value>, GraphError> {
        let mut numbers = vec![rate];
        // Steps in f32 have no factor of their own.
        if factor.is_none() && (self.clip.is_some() || matches!(self.rule, Rule::AdamW(_))) {
            factor = Some(graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?);
        }
        if let (Some(limit), Some(before)) = (self.clip, factor) {
            let all = gradients.iter().map(|&(_, gradient)| gradient);
            let inputs: Vec<Value> = [before].into_iter().chain(all).collect();
            factor = Some(graph.apply_one(ClipNorm { limit }, &inputs)?);
        }
        if let (Rule::AdamW(AdamW { beta_1, beta_2, .. }), Some(factor)) = (self.rule, factor) {
            let correction = graph.stored(CORRECTION, "betas", Tensor::f32([2]))?;
            numbers.push(graph.apply_one(AdamWCorrection { beta_1, beta_2 }, &[correction, factor])?);
        }
        for (weight, &(_, gradient)) in learned.iter().zip(gradients) {
            let rule = if weight.decays || self.decay_all { self.rule } else { self.rule.without_decay() };
            let tensor = Tensor::f32(graph.tensor(weight.value).shape.clone());
            let mut inputs = vec![weight.value, gradient];
            for home in rule.homes() {
                inputs.push(graph.stored(home, &weight.name, tensor.clone())?);
            }
            inputs.extend(numbers.iter().copied().chain(factor).chain(weight.copy));
            graph.scoped(weight.name.clone(), |graph| rule.apply(graph, &inputs, weight.copy.is_some()))?;
        }
        Ok(factor)
    }
}

impl Rule {
    fn without_decay(self) -> Self {
        match self {
            Self::Sgd(rule) => Self::Sgd(Sgd { weight_decay: 0.0, ..rule }),
            Self::RmsProp(rule) => Self::RmsProp(RmsProp { weight_decay: 0.0, ..rule }),
            Self::AdamW(rule) => Self::AdamW(AdamW { weight_decay: 0.0, ..rule }),
        }
    }

    /// Where its state is, in the order of the op's inputs.
    fn homes(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(_) => &[MOMENTUM],
            Self::RmsProp(_) => &[SQUARES, MOMENTUM],
            Self::AdamW(_) => &[FIRST_MOMENT, SECOND_MOMENT],
        }
    }

    fn apply(self, graph: &mut Graph, inputs: &[Value], mixed: bool) -> Result<Vec<Value>, GraphError> {
        match (self, mixed) {
            (Self::Sgd(rule), false) => graph.apply(rule, inputs),
            (Self::Sgd(rule), true) => graph.apply(SgdMixed(rule), inputs),
            (Self::RmsProp(rule), false) => graph.apply(rule, inputs),
            (Self::RmsProp(rule), true) => graph.apply(RmsPropMixed(rule), inputs),
            (Self::AdamW(rule), false) => graph.apply(rule, inputs),
            (Self::AdamW(rule), true) => graph.apply(AdamWMixed(rule), inputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_note_of_sgd_is_what_they_always_did() {
        let sgd = Sgd { momentum: 0.9, weight_decay: 0.005, nesterov: true };
        let plain = Optimizer::from(sgd);
        assert_eq!(format!("{plain:?}"), "Sgd { momentum: 0.9, weight_decay: 0.005, nesterov: true }");
        let other = Optimizer { decay_all: true, clip: Some(1.0), ..plain };
        assert_eq!(format!("{other:?}"), format!("{plain:?} all decay clipped to 1.0"));
    }

    #[test]
    fn what_files_note_is_read_again() {
        let rms_prop = RmsProp { decay: 0.99, momentum: 0.9, weight_decay: 1e-5, epsilon: 1e-3, tensorflow: true };
        let adamw = AdamW { beta_1: 0.9, beta_2: 0.999, weight_decay: 0.01, epsilon: 1e-8 };
        let rules = [
            Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 0.005, nesterov: true }),
            Rule::Sgd(Sgd { momentum: 0.0, weight_decay: 4e-5, nesterov: false }),
            Rule::RmsProp(rms_prop),
            Rule::RmsProp(RmsProp { tensorflow: false, ..rms_prop }),
            Rule::AdamW(adamw),
        ];
        for rule in rules {
            for (decay_all, clip) in [(false, None), (true, None), (false, Some(0.5)), (true, Some(1e-3))] {
                let optimizer = Optimizer { rule, decay_all, clip };
                let noted = |behind: &str| {
                    format!("Cosine {{ peak: 0.05, warm_up: 50 }} {optimizer:?} Augmentation {{ flip: true }}{behind}")
                };
                for behind in ["", " mixed precision", " mixed precision smoothing 0.1 {\"rule\":{\"sgd\":1}}"] {
                    assert_eq!(Optimizer::noted(&noted(behind)), Some(optimizer), "{}", noted(behind));
                }
            }
        }
        for none in ["", "Sgd { momentum: 0.9 }", "Sgd { momentum: x, weight_decay: 1, nesterov: true }"] {
            assert_eq!(Optimizer::noted(none), None, "{none}");
        }
    }
}
