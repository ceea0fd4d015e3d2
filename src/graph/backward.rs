//! Gradients, as more nodes: one walk from the last node to the first. The rules stand with their ops.

use std::collections::HashMap;

use super::again::Again;
use super::{Graph, GraphError, Value};

/// How two gradients of one value are added: an op, and ops are not known here.
pub type Sum<'a> = &'a dyn Fn(&mut Graph, Value, Value) -> Result<Value, GraphError>;

impl Graph {
    /// Adds what computes the gradients of `wrt`, given those of some values (`seeds`: value, gradient).
    ///
    /// A value that nothing in `seeds` depends on has no gradient: `None`.
    ///
    /// Rules read what the forward nodes made, which has to be kept until then. `parts` are made again instead, each when
    /// the first of its gradients is reached: sets of nodes by their numbers, such as those of a block. What others read
    /// of a part is kept, and so is what would not be the same again. Gradients are the same to the bit.
    ///
    /// # Errors
    /// When an op on the way has no gradient, or a rule is at odds with its op.
    pub fn backward(
        &mut self,
        seeds: &[(Value, Value)],
        wrt: &[Value],
        parts: &[Vec<usize>],
        sum: Sum<'_>,
    ) -> Result<Vec<Option<Value>>, GraphError> {
        let needed = self.downstream_of(wrt);
        let mut grads: HashMap<Value, Value> = HashMap::new();
        for &(value, grad) in seeds {
            self.accumulate(&mut grads, value, grad, sum)?;
        }
        let mut again = Again::of(self, parts);
        for at in (0..self.nodes().len()).rev() {
            let node = self.nodes()[at].clone();
            let outputs: Vec<Option<Value>> = node.outputs.iter().map(|value| grads.get(value).copied()).collect();
            if outputs.iter().all(Option::is_none) || !node.inputs.iter().any(|value| needed[value.index()]) {
                continue;
            }
            let seen = again.node(self, at)?;
            let scope = format!("{}'", node.scope);
            let inputs = self.scoped(scope, |graph| node.op.backward(&seen, &outputs, graph))?;
            if inputs.len() != node.inputs.len() {
                let problem = format!("the gradient rule answers {} inputs of {}", inputs.len(), node.inputs.len());
                return Err(GraphError::Shapes { op: node.op.name().to_owned(), problem, inputs: String::new() });
            }
            for (&value, grad) in node.inputs.iter().zip(inputs) {
                if let Some(grad) = grad {
                    self.accumulate(&mut grads, value, grad, sum)?;
                }
            }
        }
        Ok(wrt.iter().map(|value| grads.get(value).copied()).collect())
    }

    fn accumulate(
        &mut self,
        grads: &mut HashMap<Value, Value>,
        value: Value,
        grad: Value,
        sum: Sum<'_>,
    ) -> Result<(), GraphError> {
        if self.tensor(value) != self.tensor(grad) {
            let problem = format!("{} cannot be the gradient of {}", self.tensor(grad), self.tensor(value));
            return Err(GraphError::Shapes { op: "backward".to_owned(), problem, inputs: String::new() });
        }
        let total = match grads.get(&value) {
            Some(&known) => sum(self, known, grad)?,
            None => grad,
        };
        grads.insert(value, total);
        Ok(())
    }

    /// Which values depend on `roots`, by number: gradients of the others are never asked for.
    fn downstream_of(&self, roots: &[Value]) -> Vec<bool> {
        let mut depends = vec![false; self.values().count()];
        for root in roots {
            depends[root.index()] = true;
        }
        for node in self.nodes() {
            if node.inputs.iter().any(|value| depends[value.index()]) {
                for output in &node.outputs {
                    depends[output.index()] = true;
                }
            }
        }
        depends
    }
}
