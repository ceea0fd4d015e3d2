//! Every choice of a recipe, and which of them are the paper's.

use super::{Augment, Kind, Recipe};
use crate::ops::{AdamW, RmsProp, Sgd};
use crate::train::data::Target;
use crate::train::optimizer::{Optimizer, Rule};

/// A choice of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is chosen.
    pub name: &'static str,
    /// How.
    pub value: String,
    /// What the paper states; `None` where it does not say.
    pub published: Option<String>,
}

/// What the paper states of a recipe, by the names of its choices.
const fn stated(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Demo => &[],
        Kind::Default => &["epochs", "batch", "optimizer", "momentum", "weight decay", "rate", "schedule"],
        Kind::Advanced => &[
            "epochs",
            "batch",
            "optimizer",
            "rate",
            "schedule",
            "warm-up",
            "warm-up from",
            "augmentation",
            "ema",
            "dropout",
            "depth",
            "distillation",
        ],
    }
}

impl Recipe {
    /// Every choice beside what the paper states.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        let published = stated(self.kind);
        // Nothing is published of the demo's, whose choices alone follow from the target.
        let paper = Self::preset(self.kind, Target::Images).values();
        let choice = |(name, value)| {
            let stated = paper.iter().find(|(own, _)| *own == name && published.contains(&name));
            let published = stated.map(|(_, value): &(&str, String)| value.clone());
            Choice { name, value, published }
        };
        self.values().into_iter().map(choice).collect()
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        let number = |number: f64| format!("{number:?}");
        let part = |part: Option<f64>| part.map_or_else(|| "none".to_owned(), number);
        let mut values = vec![("epochs", self.epochs.to_string()), ("batch", self.batch.to_string())];
        let gathered = if self.accumulate > 1 { self.accumulate.to_string() } else { "none".to_owned() };
        values.push(("batches a step", gathered));
        values.extend(update(&self.optimizer));
        values.extend([
            ("rate", number(self.peak)),
            ("schedule", self.shape.to_string()),
            ("warm-up", self.warm_up.to_string()),
            ("warm-up from", part(self.from)),
            ("smoothing", number(self.smoothing)),
            ("augmentation", if self.policy().is_some() { "AutoAugment" } else { "none" }.to_owned()),
            ("read as", self.policy().map_or_else(|| "-".to_owned(), |reading| format!("{reading:?}"))),
            ("mirrored", if self.augment == Augment::None { "no" } else { "half" }.to_owned()),
            ("shift", self.shift.to_string()),
            ("ema", part(self.ema)),
            ("dropout", part(self.dropout)),
            ("depth", part(self.depth)),
            ("distillation", part(self.distillation)),
            ("temperature", part(self.distillation.map(|_| self.temperature))),
        ]);
        values
    }
}

/// What is chosen of an update.
fn update(&Optimizer { rule, decay_all, clip }: &Optimizer) -> Vec<(&'static str, String)> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let number = |number: f64| format!("{number:?}");
    let (mut values, weight_decay) = match rule {
        Rule::Sgd(Sgd { momentum, weight_decay, nesterov }) => {
            let own = [("optimizer", "SGD".to_owned()), ("momentum", number(momentum)), ("nesterov", yes(nesterov))];
            (own.to_vec(), weight_decay)
        }
        Rule::RmsProp(RmsProp { decay, momentum, weight_decay, epsilon, tensorflow }) => {
            let own = [("optimizer", "RMSProp".to_owned()), ("momentum", number(momentum)), ("alpha", number(decay))];
            let root = [("eps", number(epsilon)), ("eps in the root", yes(tensorflow))];
            ([&own[..], &root].concat(), weight_decay)
        }
        Rule::AdamW(AdamW { beta_1, beta_2, weight_decay, epsilon }) => {
            let own = [("optimizer", "AdamW".to_owned()), ("beta 1", number(beta_1)), ("beta 2", number(beta_2))];
            ([&own[..], &[("eps", number(epsilon))]].concat(), weight_decay)
        }
    };
    values.push(("weight decay", number(weight_decay)));
    values.push(("gains and biases decay", yes(decay_all)));
    values.push(("clip", clip.map_or_else(|| "none".to_owned(), number)));
    values
}
