//! Which blocks of a model a backward pass makes again instead of keeping them: memory bought with time.

use std::convert::Infallible;
use std::str::FromStr;

use crate::graph::GraphError;
use crate::models::Model;

/// Which blocks a backward pass makes again. Of such a block only what enters and leaves it is kept until then. Losses and
/// gradients are the same to the bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// None: everything that gradients read is kept.
    #[default]
    Nothing,
    /// Every block of the model, its stem among them.
    Everything,
    /// These, by their scopes: `stage3/block1`, or `stage3` for each of its blocks.
    Blocks(Vec<String>),
}

impl Recompute {
    /// The scopes of the blocks that are meant, in the model's order.
    ///
    /// # Errors
    /// When a name is that of no block; the error lists those that there are.
    pub fn scopes(&self, model: &dyn Model) -> Result<Vec<String>, GraphError> {
        let all = model.blocks();
        let names = match self {
            Self::Nothing => return Ok(Vec::new()),
            Self::Everything => return Ok(all),
            Self::Blocks(names) => names,
        };
        let means = |name: &str, block: &str| {
            block.strip_prefix(name).is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && !name.is_empty()))
        };
        if let Some(unknown) = names.iter().find(|name| !all.iter().any(|block| means(name, block))) {
            let (model, known) = (model.name(), all.join(", "));
            return Err(GraphError::Name(format!("no block of {model} is called `{unknown}`; there are: {known}")));
        }
        Ok(all.into_iter().filter(|block| names.iter().any(|name| means(name, block))).collect())
    }
}

impl FromStr for Recompute {
    type Err = Infallible;

    /// `all`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "all" => Self::Everything,
            names => Self::Blocks(names.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::by_name;

    fn scopes(model: &str, text: &str) -> Result<Vec<String>, String> {
        let model = by_name(model, 10).expect("a preset");
        let Ok(recompute) = text.parse::<Recompute>();
        recompute.scopes(&*model).map_err(|error| error.to_string())
    }

    #[test]
    fn blocks_go_by_their_scopes() {
        let found = scopes("resnet18", "stage3, stage2/block2").expect("these exist");
        assert_eq!(found, ["stage2/block2", "stage3/block1", "stage3/block2"]);
        let all = scopes("vt-resnet-demo", "all").expect("all exist");
        assert_eq!(all, ["stem", "stage2/block1", "stage3/vt1", "stage3/vt2"]);
        assert_eq!(Recompute::default().scopes(&*by_name("resnet18", 10).expect("a preset")), Ok(vec![]));
    }

    #[test]
    fn names_of_no_block_are_refused_with_those_that_there_are() {
        for unknown in ["", "stage", "stage2/", "stage2/block", "stage2/block3", "head", "stem/conv", "All"] {
            let said = scopes("resnet18", &format!("stem,{unknown}")).expect_err("no such block");
            assert!(said.contains(&format!("no block of resnet18 is called `{unknown}`")), "{said}");
            assert!(
                said.ends_with(
                    "there are: stem, stage2/block1, stage2/block2, stage3/block1, stage3/block2, \
                 stage4/block1, stage4/block2, stage5/block1, stage5/block2"
                ),
                "{said}"
            );
        }
    }
}
