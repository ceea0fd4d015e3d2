//! Moving averages of a model's weights and running averages (EMA), as a part of the training step.

use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::models::Parameters;
use crate::models::parameters::AVERAGES;
use crate::ops::Average;

/// What every parameter, running averages among them, is once the step has updated it, and its name.
pub(super) fn moved(graph: &mut Graph, parameters: &Parameters) -> Result<Vec<(Value, String)>, GraphError> {
    let mut all: Vec<(Value, String)> = Vec::new();
    for parameter in parameters.iter() {
        if all.iter().any(|(_, name)| *name == parameter.name) {
            let problem =
                format!("`{}` is both a weight and a running average: one of them has no average", parameter.name);
            return Err(GraphError::Name(problem));
        }
        let stored = graph.stored(parameter.home, &parameter.name, parameter.tensor.clone())?;
        let updated = graph.nodes().iter().rev().find_map(|node| {
            let pair = node.op.updates().into_iter().find(|&(input, _)| node.inputs[input] == stored);
            pair.map(|(_, output)| node.outputs[output])
        });
        all.push((updated.unwrap_or(stored), parameter.name.clone()));
    }
    Ok(all)
}

/// Moves the averages of these values, which stand in [`AVERAGES`] under these names, where there is no factor or it is not 0.
pub(super) fn update(
    graph: &mut Graph,
    decay: f64,
    factor: Option<Value>,
    values: &[(Value, String)],
) -> Result<(), GraphError> {
    for (value, name) in values {
        let average = graph.stored(AVERAGES, name, Tensor::f32(graph.tensor(*value).shape.clone()))?;
        let inputs: Vec<Value> = [average, *value].into_iter().chain(factor).collect();
        graph.scoped(name.clone(), |graph| graph.apply(Average { decay }, &inputs))?;
    }
    Ok(())
}
