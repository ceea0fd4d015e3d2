//! Every choice of a recipe, and which of them are the paper's.

use super::{Augment, Kind, Recipe, Rule};
use crate::train::data::Target;

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
        let (rule, [momentum, alpha, eps], nesterov) = match self.rule {
            Rule::Sgd { momentum, nesterov } => ("SGD", [Some(momentum), None, None], nesterov),
            Rule::RmsProp { alpha, eps, momentum } => ("RMSProp", [Some(momentum), Some(alpha), Some(eps)], false),
        };
        vec![
            ("epochs", self.epochs.to_string()),
            ("batch", self.batch.to_string()),
            ("optimizer", rule.to_owned()),
            ("momentum", part(momentum)),
            ("nesterov", if nesterov { "yes" } else { "no" }.to_owned()),
            ("alpha", part(alpha)),
            ("eps", part(eps)),
            ("weight decay", number(self.weight_decay)),
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
        ]
    }
}
