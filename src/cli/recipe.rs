//! What is chosen before a model learns: a recipe, and what of it is to be otherwise.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use vistok::train::recipe::{Augment, Kind, Otherwise, Part, Recipe, Shape, Span};
use vistok::train::{Samples, Teacher};

use super::Error;
use super::table::{Align, Table};

/// The choices of a recipe.
#[derive(Debug, Args)]
pub(super) struct RecipeArgument {
    /// All that is chosen before training, which is printed at the start: what is the paper's of it, and what is ours because the paper does
    /// not say. Each option from here to --temperature overrides its part. A run that is resumed must be given the same.
    ///
    /// `demo` was tried on the embedded images: SGD, a cosine. `default` is the paper's for its comparisons: SGD, 90 epochs in batches of 256,
    /// rate 0.1, a tenth after every 30. `advanced` is the paper's for its best numbers: RMSProp, 400 epochs in batches of 2048, 5 of them
    /// warm-up from 0.01 to 0.16, then x 0.9875 an epoch, and what --without names.
    #[arg(long, value_name = "RECIPE", default_value = "demo", value_parser = one_of(Kind::ALL, Kind::name))]
    recipe: Kind,
    /// Parts of the recipe that are left out, with commas between; SGD with momentum 0.9 takes the place of RMSProp.
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = one_of(Part::ALL, Part::name))]
    without: Vec<Part>,
    /// Passes over the training images [default: the recipe's; of demo 5, of models that segment 6].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// Images in a batch [default: the recipe's; of demo 50, of models that segment 10].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Sum the gradients of so many batches for one step, of so many times --batch images: a larger batch than memory has room for. Norms of
    /// batches see each by itself [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    accumulate: Option<u32>,
    /// The learning rate at its highest [default: the recipe's; of demo 0.05, of models that segment 0.2; 0.001 with another --optimizer].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// How the rate goes on from there: `cosine` to 0, `constant`, `step` (a factor after every so many epochs, `step:0.1:30`) or
    /// `exponential` (`exponential:0.9875:1`); `500steps` are steps in place of epochs [default: the recipe's; of demo cosine].
    #[arg(long, value_name = "SHAPE")]
    schedule: Option<Shape>,
    /// How long the rate rises to its highest, in a straight line: epochs, or steps as `50steps` [default: the recipe's; of demo 50 steps, or
    /// a quarter of all where that is less].
    #[arg(long, value_name = "SPAN")]
    warm_up: Option<Span>,
    /// How much of each label is given to all classes alike, 0 to 1 [default: the recipe's; of demo 0].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    smoothing: Option<f64>,
    /// What happens to training images: mirror half of them, then AutoAugment's policy, as one or the other public code reads it; not for
    /// models that segment [default: the recipe's; of demo flip].
    #[arg(long, value_name = "WHAT", value_parser = one_of(Augment::ALL, Augment::name))]
    augment: Option<Augment>,
    /// Move each training image by up to so many pixels along both axes; not for pictures in files, of which a part is cut out anyway
    /// [default: 0].
    #[arg(long, value_name = "N")]
    pub(super) shift: Option<u8>,
    /// Keep moving averages of the weights, of which so much is kept from step to step, 0 to below 1, and score them in place of the
    /// weights [default: the recipe's; of demo none].
    #[arg(long, value_name = "SHARE", value_parser = kept_share)]
    ema: Option<f64>,
    /// Dropout: the share of features that are dropped before the last layer, from 0 and below 1 [default: the recipe's].
    #[arg(long, value_name = "SHARE", value_parser = dropped)]
    dropout: Option<f64>,
    /// Stochastic depth: the share of images for which the last residual block is computed, those before it more often; above 0, at most 1
    /// [default: the recipe's].
    #[arg(long, value_name = "P", value_parser = survival)]
    depth: Option<f64>,
    /// The share of the loss that a teacher has, 0 to 1; labels have the rest [default: the recipe's].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    distillation: Option<f64>,
    /// What logits are divided by before they are compared with the teacher's, above 0 [default: 1].
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,
    /// The teacher: a weight file, of this program or of PyTorch, of a network that tells the same classes of the same images; or what one
    /// has said of each of them, neither mirrored nor moved: safetensors with one tensor, `logits` [images, classes] in F32, F16 or BF16, rows
    /// in the order of the data, as `vistok teach` writes it. A run that is resumed must be given the same.
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
}

/// A parser of the names of these.
fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let find = move |text: String| all.into_iter().find(|&each| name(each) == text).ok_or("there is none of this name");
    PossibleValuesParser::new(all.map(name)).try_map(find)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "a learning rate is a number above 0, such as 0.05".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1, such as 0.1".to_owned())
}

fn kept_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "what is kept of an average is a number from 0 to below 1, such as 0.9999".to_owned())
}

fn dropped(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "a share to be dropped is a number from 0 and below 1, such as 0.2".to_owned())
}

fn temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    temperature.ok_or_else(|| "a temperature is a number above 0, such as 1".to_owned())
}

fn survival(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "a share of images is a number above 0 and at most 1, such as 0.9".to_owned())
}

impl RecipeArgument {
    /// The recipe for these images.
    pub(super) fn get(&self, images: &dyn Samples) -> Recipe {
        let otherwise = Otherwise {
            epochs: self.epochs,
            batch: self.batch.map(|batch| batch as usize),
            accumulate: self.accumulate,
            peak: self.rate,
            warm_up: self.warm_up,
            shape: self.schedule,
            smoothing: self.smoothing,
            augment: self.augment,
            shift: self.shift,
            ema: self.ema,
            dropout: self.dropout,
            depth: self.depth,
            distillation: self.distillation,
            temperature: self.temperature,
            without: self.without.clone(),
        };
        Recipe::of(self.recipe, images, &otherwise)
    }
}

impl RecipeArgument {
    /// The teacher, if there is to be one.
    pub(super) fn teacher(&self) -> Result<Option<Arc<Teacher>>, Error> {
        Ok(self.teacher.as_deref().map(Teacher::open).transpose()?.map(Arc::new))
    }
}

/// All that a recipe chooses, and whose choice it is, as a table.
pub(super) fn told(recipe: &Recipe) -> String {
    let mut table = Table::new(&[("recipe", Align::Left), (recipe.kind.name(), Align::Left), ("", Align::Left)]);
    for choice in recipe.choices() {
        let whose = match choice.published {
            Some(published) if published == choice.value => "the paper's".to_owned(),
            Some(published) => format!("the paper has {published}"),
            None if choice.value == "none" => continue,
            None if recipe.kind == Kind::Demo => "ours".to_owned(),
            None => "ours: the paper does not say".to_owned(),
        };
        table.row(vec![choice.name.to_owned(), choice.value, whose]);
    }
    table.text()
}
