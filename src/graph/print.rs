//! A graph as text, a node a line.

use std::fmt;

use super::{Graph, Source};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for value in self.values() {
            match self.source(value) {
                Source::Input(name) => writeln!(f, "v{} = input {name}: {}", value.index(), self.tensor(value))?,
                Source::Stored { home, name } => {
                    writeln!(f, "v{} = {home} {name}: {}", value.index(), self.tensor(value))?;
                }
                Source::Node(..) => {}
            }
        }
        for node in self.nodes() {
            let outputs: Vec<_> =
                node.outputs.iter().map(|&value| format!("v{}: {}", value.index(), self.tensor(value))).collect();
            let inputs: Vec<_> = node.inputs.iter().map(|value| format!("v{}", value.index())).collect();
            writeln!(f, "{} = {:?}({})  {}", outputs.join(", "), node.op, inputs.join(", "), node.scope)?;
        }
        for (name, value) in self.outputs() {
            writeln!(f, "output {name} = v{}", value.index())?;
        }
        Ok(())
    }
}
