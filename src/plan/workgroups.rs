//! Whether every kernel of a plan fits a workgroup of the machine, read in the kernels' own texts.

use std::collections::HashSet;

use super::{Plan, PlanError};
use crate::kernel::{Capabilities, Reflection, compose};

impl Plan {
    /// Composes and reads every kernel of the plan and compares its workgroup with what the machine offers.
    ///
    /// Planning leaves this out, since reading texts takes longer than all the rest of it; building pipelines looks again,
    /// because wgpu does not. It is for those who ask about a machine that they do not have.
    ///
    /// # Errors
    /// The first kernel with too many lanes or too much memory, or whose text is not WGSL.
    pub fn check_workgroups(&self, machine: &Capabilities) -> Result<(), PlanError> {
        let mut seen = HashSet::new();
        for (at, step) in self.steps().iter().enumerate() {
            if !seen.insert((step.kernel.name, &step.variant)) {
                continue;
            }
            let (what, kernel, variant) = (self.node_of(at).label.clone(), step.kernel.name, step.variant.to_string());
            let text = compose(step.kernel, &step.variant).map_err(|error| error.to_string());
            let reflection = match text.and_then(|text| Reflection::of(&text)) {
                Ok(reflection) => reflection,
                Err(reason) => return Err(PlanError::Text { what, kernel, variant, reason }),
            };
            let lanes = ("lanes a workgroup", reflection.workgroup_lanes() as usize, machine.max_workgroup as usize);
            let bytes = ("bytes of workgroup memory", reflection.workgroup_bytes(), machine.max_workgroup_bytes);
            if let Some((unit, found, limit)) = [lanes, bytes].into_iter().find(|(_, found, limit)| found > limit) {
                return Err(PlanError::Workgroup { what, kernel, variant, unit, found, limit });
            }
        }
        Ok(())
    }
}
