//! A case file of one op: inputs, outputs, and perhaps gradients.

use super::{CaseFile, CaseFileError, Claimed, Raw};
use crate::graph::{Graph, Value};
use crate::ops;
use crate::verify::tolerance::Told;

/// The graph of one op and its gradients, and what the file says of it.
pub(super) fn understand(name: &str, attributes: &str, raw: &mut Raw) -> Result<CaseFile, CaseFileError> {
    let op = ops::signature(name)?.op(attributes)?;
    let updated: Vec<usize> = op.updates().iter().map(|pair| pair.0).collect();
    let (mut graph, mut inputs, mut leaves) = (Graph::new(), Vec::new(), Vec::new());
    while raw.tensors.contains_key(&format!("input.{}", inputs.len())) {
        let name = format!("input.{}", inputs.len());
        let given = raw.take(&name)?;
        let value = match updated.contains(&inputs.len()) {
            true => graph.stored("stored", &name, given.tensor.clone())?,
            false => graph.input(name, given.tensor.clone()),
        };
        inputs.push(value);
        leaves.push((value, given));
    }
    let outputs = graph.apply_shared(op, &inputs)?;
    let mut expected = numbered(raw, &graph, "output.", &outputs)?;
    if expected.is_empty() {
        let problem = "is missing: a case has at least one `output.N`".to_owned();
        return Err(CaseFileError::Tensor { name: "output.0".to_owned(), problem });
    }

    let cotangents = numbered(raw, &graph, "cotangent.", &outputs)?;
    let mut seeds = Vec::new();
    for cotangent in cotangents {
        let seed = graph.input(cotangent.name, cotangent.given.tensor.clone());
        seeds.push((cotangent.value, seed));
        leaves.push((seed, cotangent.given));
    }
    let gradients = numbered(raw, &graph, "gradient.", &inputs)?;
    if gradients.is_empty() != seeds.is_empty() {
        let name = if seeds.is_empty() { "cotangent.0" } else { "gradient.0" };
        let problem = "is missing: cotangents and gradients come together".to_owned();
        return Err(CaseFileError::Tensor { name: name.to_owned(), problem });
    }
    let wanted: Vec<Value> = gradients.iter().map(|gradient| gradient.value).collect();
    let made = ops::gradients(&mut graph, &seeds, &wanted)?;
    for (gradient, made) in gradients.into_iter().zip(made) {
        let Some(value) = made else {
            let problem = format!("{name} has no gradient for this input");
            return Err(CaseFileError::Tensor { name: gradient.name, problem });
        };
        expected.push(Claimed { value, ..gradient });
    }
    let (subject, tolerance) = (name.to_owned(), Told::EXACT);
    Ok(CaseFile { subject, graph, leaves, expected, losses: None, tolerance, exact: false })
}

/// The tensors `prefix` N, each of the type of value N.
fn numbered(
    raw: &mut Raw,
    graph: &Graph,
    prefix: &'static str,
    values: &[Value],
) -> Result<Vec<Claimed>, CaseFileError> {
    let mut found = Vec::new();
    for (at, &value) in values.iter().enumerate() {
        let name = format!("{prefix}{at}");
        if raw.tensors.contains_key(&name) {
            let given = raw.take_as(&name, graph.tensor(value))?;
            found.push(Claimed { name, value, given });
        }
    }
    Ok(found)
}
