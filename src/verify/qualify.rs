//! Is the cooperative engine to be trusted here? Asked of a device that is thrown away, since a failure may lose it.

use std::collections::HashSet;

use super::compare;
use super::record::recordings;
use crate::gpu::{Device, Error, OpenOptions, Pipelines};
use crate::graph::Case;
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Capabilities, Dispatch, Elem};
use crate::ops;

/// A device whose engines were tried.
pub struct Qualified {
    /// The device; its cooperative matrices are hidden where they failed.
    pub device: Device,
    /// Why they are hidden, or nothing.
    pub hidden: Option<String>,
}

/// Opens a device. Where it has cooperative matrices, a small case of each kernel that would use them is computed on
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
    let mut device = match Device::open(options) {
        Ok(device) => device,
        Err(error) => return Some(error.to_string()),
    };
    let pipelines = Pipelines::new(&device, None);
    probes(device.capabilities()).iter().find_map(|(case, tiles)| {
        tiles.iter().for_each(|&tiles| device.force_tiles(tiles));
        match compare(&device, &pipelines, case, Elem::F16) {
            Err(error) => Some(error.to_string()),
            // What is wrong without them as well, hiding them would not mend.
            Ok(rows) => rows.into_iter().filter(|row| row.cooperative).find_map(|row| {
                let fault = row.fault?;
                Some(format!("{} {} is wrong: {}", row.op, row.shapes, fault.lines().next().unwrap_or_default()))
            }),
        }
    })
}

/// The smallest cases that together run every kernel that multiplies cooperative matrices, of `gradients_by_rows` each of its
/// forms; then, told to take such tiles, every kernel that rows can stream past.
fn probes(machine: &Capabilities) -> Vec<(Case, Option<Tiles>)> {
    let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
    let mut cases: Vec<Case> = ops::cases().into_iter().filter(|case| case.real.is_none()).collect();
    cases.sort_by_key(size);
    let streams = Tiles::all(machine, Elem::F16).into_iter().find(|tiles| tiles.turns > 0);
    let mut seen = HashSet::new();
    let mut probes = Vec::new();
    for tiles in [None].into_iter().chain(streams.map(Some)) {
        let machine = Capabilities { tiles, ..machine.clone() };
        for case in &cases {
            let before = seen.len();
            seen.extend(cooperative_kernels(case, &machine));
            if seen.len() > before {
                probes.push((case.clone(), tiles));
            }
        }
    }
    probes
}

/// The kernels of a case that multiply cooperative matrices, each with which side asks and how many sides' tokens stay in
/// registers at once, where it has a say in that, and whether rows stream past.
fn cooperative_kernels(case: &Case, machine: &Capabilities) -> HashSet<(&'static str, Option<[u32; 2]>, bool)> {
    let recordings = recordings(case, Elem::F16, machine).unwrap_or_default();
    let dispatches = recordings.iter().flat_map(|recording| &recording.dispatches);
    let cooperative = dispatches.filter(|dispatch| dispatch.variant.is_cooperative());
    let key = |dispatch: &Dispatch| {
        let constants = dispatch.variant.constants();
        let form = constants.get("SIDES").map(|&sides| [constants["ASKING"], sides]);
        (dispatch.kernel.name, form, dispatch.variant.has("stream"))
    };
    cooperative.map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cooperative_kernel_is_probed_where_there_are_fragments() {
        let portable = Capabilities::portable();
        assert!(probes(&portable).is_empty());
        let newer = Capabilities { max_workgroup: 256, ..Capabilities::cooperative() };
        let of = |(case, tiles): &(Case, Option<Tiles>)| {
            cooperative_kernels(case, &Capabilities { tiles: *tiles, ..newer.clone() })
        };
        let every_way = [None].into_iter().chain(Tiles::all(&newer, Elem::F16).into_iter().map(Some));
        let small = || ops::cases().into_iter().filter(|case| case.real.is_none());
        let known: HashSet<_> =
            every_way.flat_map(|tiles| small().map(move |case| (case, tiles))).flat_map(|one| of(&one)).collect();
        let probed: HashSet<_> = probes(&newer).iter().flat_map(of).collect();
        // Sums in slices are the same loop over a range of k.
        let missing: Vec<_> = known.difference(&probed).filter(|(name, ..)| !name.ends_with("_slices")).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for kernel in ["matmul/multiply", "attend/softmax_pool_rows", "attend/cross_attention_rows"] {
            assert!(probed.iter().any(|(name, ..)| *name == kernel), "{kernel}: {probed:?}");
        }
        let streamed = |kernel| probed.contains(&(kernel, None, true)) && probed.contains(&(kernel, None, false));
        assert!(streamed("matmul/multiply") && streamed("conv_norm/forward"), "{probed:?}");
        let gradients = |asking, sides| probed.contains(&("attend/gradients_by_rows", Some([asking, sides]), false));
        assert!(gradients(0, 1) && gradients(0, 2) && gradients(1, 1) && gradients(1, 2), "{probed:?}");
    }
}
