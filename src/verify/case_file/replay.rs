//! A case file replayed: by the interpreter in f64, and by the GPU.

use std::collections::HashMap;

use super::{CaseFile, Claimed, Given, largest};
use crate::gpu::{self, Device, Executor, Homes, Pipelines};
use crate::graph::{Graph, Source, Value, interpret};
use crate::kernel::Elem;
use crate::plan::{Layout, Options, Plan, PlanError};
use crate::reference::Array;
use crate::verify::compare::decode;
use crate::verify::tolerance::Told;
use crate::verify::whole::upload;

/// Who computed what is compared with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The op's maths in f64, on the CPU.
    Maths,
    /// The kernels.
    Gpu,
}

/// What came of one tensor of a file.
#[derive(Clone, Debug)]
pub struct CaseRow {
    /// The tensor's name in the file.
    pub tensor: String,
    /// Who computed it here.
    pub witness: Witness,
    /// The error where it is worst, as a share of what is allowed there: over 1 is a fault.
    pub share: f64,
    /// The error there.
    pub error: f64,
    /// What is allowed there.
    pub allowed: f64,
    /// What is wrong, or nothing.
    pub fault: Option<String>,
}

/// Why a file could not be replayed on a device.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It does not fit the machine: it has no f16, or too small buffers.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine refused.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

impl Witness {
    /// `maths` or `gpu`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maths => "maths",
            Self::Gpu => "gpu",
        }
    }
}

impl CaseFile {
    /// Compares the file with the maths of the ops in f64. Where the file was computed in f64 as well, only the
    /// rounding of its numbers is allowed.
    #[must_use]
    pub fn maths(&self) -> Vec<CaseRow> {
        let mut held = self.held();
        let (mut rows, mut losses) = (Vec::new(), Vec::new());
        for step in 0..self.steps() {
            let leaf = |value: Value, _: &Source| Ok::<_, std::convert::Infallible>(held[&value].clone());
            let Ok(arrays) = interpret(&self.graph, leaf);
            if step == 0 {
                let found =
                    |expected: &Claimed| self.row(expected, &arrays[expected.value.index()].data, Witness::Maths);
                rows = self.expected.iter().map(found).collect();
            }
            if let Some((loss, _)) = self.losses {
                losses.extend(&arrays[loss.index()].data);
            }
            for (from, to) in updates(&self.graph) {
                held.insert(from, arrays[to.index()].clone());
            }
        }
        rows.extend(self.losses_row(&losses, Witness::Maths));
        rows
    }

    /// Compares the file with what the GPU computes: the graph planned and executed as any other.
    ///
    /// # Errors
    /// When the machine cannot run it.
    pub fn replay(&self, device: &Device, pipelines: &Pipelines) -> Result<Vec<CaseRow>, ReplayError> {
        let layout = Layout::of(&[&self.graph], device.capabilities().offset_alignment)?;
        let plan = Plan::new(&self.graph, &layout, device.capabilities(), Options::default())?;
        let homes = Homes::new(device, &layout)?;
        let executor = Executor::new(device, pipelines, plan, &homes)?;
        let held = self.held();
        upload(&executor, &self.graph, &|value, _| held[&value].clone())?;
        let read = |value: Value| -> Result<Vec<f64>, gpu::Error> {
            Ok(decode(&executor.read_bytes(value)?, self.graph.tensor(value).elem))
        };
        let (mut rows, mut losses) = (Vec::new(), Vec::new());
        for step in 0..self.steps() {
            executor.run()?;
            if step == 0 {
                for expected in &self.expected {
                    rows.push(self.row(expected, &read(expected.value)?, Witness::Gpu));
                }
            }
            if let Some((loss, _)) = self.losses {
                losses.extend(read(loss)?);
            }
        }
        rows.extend(self.losses_row(&losses, Witness::Gpu));
        Ok(rows)
    }

    /// The numbers of every leaf of the graph: understanding a file takes care that each is given.
    fn held(&self) -> HashMap<Value, Array<f64>> {
        self.leaves.iter().map(|(value, given)| (*value, given.numbers.clone())).collect()
    }

    fn losses_row(&self, found: &[f64], witness: Witness) -> Option<CaseRow> {
        let (value, given) = self.losses.clone()?;
        Some(self.row(&Claimed { name: "losses".to_owned(), value, given }, found, witness))
    }

    /// The worst element of one tensor.
    fn row(&self, expected: &Claimed, found: &[f64], witness: Witness) -> CaseRow {
        let Given { tensor, numbers } = &expected.given;
        let told = match (tensor.elem, witness, self.exact) {
            (Elem::U32, ..) => Told::EXACT,
            (elem, Witness::Maths, true) => Told::rounded(elem),
            _ => self.tolerance,
        };
        let largest = largest(numbers);
        let mut row =
            CaseRow { tensor: expected.name.clone(), witness, share: -1.0, error: 0.0, allowed: 0.0, fault: None };
        for (at, (&found, &given)) in found.iter().zip(&numbers.data).enumerate() {
            let allowed = told.allowed(given, largest);
            let (error, share) = match found.is_finite() && given.is_finite() {
                true if found == given => (0.0, 0.0),
                true => ((found - given).abs(), (found - given).abs() / allowed.max(f64::MIN_POSITIVE)),
                // What is infinite or no number must be so on both sides.
                false if found == given || (found.is_nan() && given.is_nan()) => (0.0, 0.0),
                false => (f64::INFINITY, f64::INFINITY),
            };
            if share > row.share {
                (row.share, row.error, row.allowed) = (share, error, allowed);
                row.fault = (share > 1.0).then(|| {
                    format!(
                        "element {at} of {tensor} is {found:e} here and {given:e} in the file, allowed {allowed:.1e}"
                    )
                });
            }
        }
        if found.len() != numbers.data.len() {
            row.fault = Some(format!("{} numbers here and {} in the file", found.len(), numbers.data.len()));
        }
        row.share = row.share.max(0.0);
        row
    }
}

/// Pairs (stored value, what is stored from then on).
fn updates(graph: &Graph) -> impl Iterator<Item = (Value, Value)> {
    graph.nodes().iter().flat_map(|node| {
        node.op.updates().into_iter().map(|(input, output)| (node.inputs[input], node.outputs[output]))
    })
}
