//! Options of a network with other values, as an argument that several commands take.

use clap::Args;
use serde_json::Value;
use vistok::models::Network;

use super::Error;

/// What is changed of a network.
#[derive(Debug, Args)]
pub(super) struct OptionsArgument {
    /// An option of the model with another value, by its path in what `vistok model NAME --json` prints as `network`: `vt.tokens=32`,
    /// `vt.tokenizer.later="anew"`. May be given several times.
    #[arg(long = "with", value_name = "PATH=VALUE", value_parser = change)]
    changes: Vec<Change>,
}

/// An option's path and its value.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    path: String,
    value: Value,
}

/// `PATH=VALUE`; what is no JSON is a word.
fn change(text: &str) -> Result<Change, String> {
    let (path, value) = text.split_once('=').ok_or("an option and its value, such as vt.tokens=32")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok(Change { path: path.to_owned(), value })
}

impl OptionsArgument {
    /// The network with what is changed.
    pub(super) fn applied(&self, network: Network) -> Result<Network, Error> {
        if self.changes.is_empty() {
            return Ok(network);
        }
        let name = network.model().name().to_owned();
        let mut options = serde_json::to_value(&network).map_err(|error| Error::Refused(error.to_string()))?;
        for Change { path, value } in &self.changes {
            let pointer = format!("/{}", path.replace('.', "/"));
            let Some(option) = options.pointer_mut(&pointer) else {
                let all = "`vistok model NAME --json` prints all of them as `network`";
                return Err(Error::Refused(format!("{name} has no option `{path}`; {all}")));
            };
            *option = value.clone();
        }
        Ok(options.to_string().parse()?)
    }
}
