//! Is the cooperative engine to be trusted here? Asked of a device that is thrown away, since a failure may lose it.

use std::collections::HashSet;

use super::compare;
use super::record::{recordings, uses_fragments};
use crate::gpu::{Device, Error, OpenOptions, Pipelines};
use crate::graph::Case;
use crate::kernel::{Capabilities, Elem};
use crate::ops;

/// A device whose engines were tried.
pub struct Qualified {
    /// The device; its cooperative matrices are hidden where they failed.
    pub device: Device,
    /// Why they are hidden, or nothing.
    pub hidden: Option<String>,
}

/// Opens a device. Where it has cooperative matrices, the smallest case of each op that would use them is computed on
/// another device of the same adapter first, and compared with its maths.
///
/// # Errors
/// When no device can be opened. A cooperative engine that fails is no error: it is hidden, and the reason given.
pub fn open_qualified(options: &OpenOptions) -> Result<Qualified, Error> {
    let device = Device::open(options)?;
    if device.capabilities().fragment.is_none() {
        return Ok(Qualified { device, hidden: None });
    }
    let Some(reason) = failure(options) else { return Ok(Qualified { device, hidden: None }) };
    // Opened anew: a driver that lost one device of an adapter may have taken the others along.
    drop(device);
    let device = Device::open(&OpenOptions { scalar: true, ..options.clone() })?;
    Ok(Qualified { device, hidden: Some(reason) })
}

/// What goes wrong with cooperative matrices on this adapter, if anything does.
fn failure(options: &OpenOptions) -> Option<String> {
    let device = match Device::open(options) {
        Ok(device) => device,
        Err(error) => return Some(error.to_string()),
    };
    let pipelines = Pipelines::new(&device, None);
    probes(device.capabilities()).iter().find_map(|case| match compare(&device, &pipelines, case, Elem::F16) {
        Err(error) => Some(error.to_string()),
        // What is wrong without them as well, hiding them would not mend.
        Ok(rows) => rows.into_iter().filter(|row| row.cooperative).find_map(|row| {
            let fault = row.fault?;
            Some(format!("{} {} is wrong: {}", row.op, row.shapes, fault.lines().next().unwrap_or_default()))
        }),
    })
}

/// For each op the smallest case that runs on cooperative matrices.
fn probes(machine: &Capabilities) -> Vec<Case> {
    let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
    let mut cases: Vec<Case> = ops::cases().into_iter().filter(|case| case.real.is_none()).collect();
    cases.sort_by_key(size);
    let mut seen = HashSet::new();
    cases.retain(|case| {
        let cooperative = recordings(case, Elem::F16, machine).is_ok_and(|all| all.iter().any(uses_fragments));
        cooperative && seen.insert(case.op.name())
    });
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Fragment;

    #[test]
    fn every_product_is_probed_where_there_are_fragments() {
        let portable = Capabilities::portable();
        assert!(probes(&portable).is_empty());
        let newer = Capabilities {
            fragment: Some(Fragment::Eight),
            subgroup: Some(8),
            max_workgroup_bytes: 32 << 10,
            software: true,
            ..portable
        };
        let names: HashSet<&str> = probes(&newer).iter().map(|case| case.op.name()).collect();
        assert_eq!(
            names,
            HashSet::from(["attend", "matmul", "conv2d", "conv2d_backward_x", "conv_norm", "conv_batch_norm"])
        );
    }
}
