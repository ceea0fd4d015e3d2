//! How weights are updated, where it is not to be as the recipe has it.

use clap::{Args, ValueEnum};
use vistok::ops::{AdamW, RmsProp, Sgd};
use vistok::train::recipe::Recipe;
use vistok::train::{Optimizer, Rule};

/// The update, and the numbers of it that matter.
#[derive(Debug, Args)]
pub(super) struct OptimizerArgument {
    /// How weights are updated [default: the recipe's]. Where it is not the recipe's own, `rmsprop` and `adamw` have a --rate of 0.001
    /// unless another is given.
    #[arg(long, value_name = "NAME", value_enum)]
    optimizer: Option<Name>,
    /// How much of the velocity of `sgd` and `rmsprop` is kept from step to step; of `adamw` the first beta [default: 0.9].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    momentum: Option<f64>,
    /// How strongly weights are drawn to zero; gains and biases are not [default: that of the recipe for `sgd`, 0.00001 for
    /// `rmsprop`, 0.01 for `adamw`].
    #[arg(long, value_name = "DECAY", value_parser = decay)]
    weight_decay: Option<f64>,
    /// Shorten all gradients together to this length where they are longer [default: they stay as they are]. A step is left out where
    /// f32 does not hold their length, and only --f16 counts such steps.
    #[arg(long, value_name = "NORM", value_parser = norm)]
    clip: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Stochastic gradient descent with Nesterov's momentum.
    Sgd,
    /// RMSProp as TensorFlow has it: decay 0.9, epsilon 0.001.
    Rmsprop,
    /// Adam with decoupled weight decay, betas 0.9 and 0.999, epsilon 1e-8.
    Adamw,
}

fn number(text: &str, fits: impl Fn(f64) -> bool, otherwise: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && fits(*number)).ok_or_else(|| otherwise.to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..1.0).contains(&share), "momentum is a number from 0 to below 1, such as 0.9")
}

fn decay(text: &str) -> Result<f64, String> {
    number(text, |decay| decay >= 0.0, "a weight decay is a number not below 0, such as 0.0001")
}

fn norm(text: &str) -> Result<f64, String> {
    number(text, |norm| norm > 0.0, "a norm to clip at is a number above 0, such as 1")
}

/// The rate of rules that divide gradients by their size, where nobody states one; a recipe's own is of SGD, mostly.
const RATE: f64 = 1e-3;

impl OptimizerArgument {
    /// Puts what is asked for in the place of the recipe's update; with a rate that suits it, unless one was given.
    pub(super) fn apply(&self, recipe: &mut Recipe, rate_given: bool) {
        let before = std::mem::discriminant(&recipe.optimizer.rule);
        recipe.optimizer = self.applied(recipe.optimizer);
        let other = std::mem::discriminant(&recipe.optimizer.rule) != before;
        if other && !rate_given && !matches!(recipe.optimizer.rule, Rule::Sgd(_)) {
            // Where the recipe's rate would rise from is higher than that.
            (recipe.peak, recipe.from) = (RATE, None);
        }
    }

    fn applied(&self, recipe: Optimizer) -> Optimizer {
        let mut rule = match self.optimizer {
            None => recipe.rule,
            Some(Name::Sgd) => match recipe.rule {
                rule @ Rule::Sgd(_) => rule,
                _ => Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: true }),
            },
            Some(Name::Rmsprop) => {
                let weight_decay = 1e-5;
                Rule::RmsProp(RmsProp { decay: 0.9, momentum: 0.9, weight_decay, epsilon: 1e-3, tensorflow: true })
            }
            Some(Name::Adamw) => Rule::AdamW(AdamW { beta_1: 0.9, beta_2: 0.999, weight_decay: 0.01, epsilon: 1e-8 }),
        };
        let (momentum, weight_decay) = match &mut rule {
            Rule::Sgd(sgd) => (&mut sgd.momentum, &mut sgd.weight_decay),
            Rule::RmsProp(rms_prop) => (&mut rms_prop.momentum, &mut rms_prop.weight_decay),
            Rule::AdamW(adamw) => (&mut adamw.beta_1, &mut adamw.weight_decay),
        };
        *momentum = self.momentum.unwrap_or(*momentum);
        *weight_decay = self.weight_decay.unwrap_or(*weight_decay);
        Optimizer { rule, clip: self.clip.or(recipe.clip), ..recipe }
    }
}
