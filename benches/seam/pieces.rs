//! The crate's own ops, built of pieces, with several tiles each.

use std::sync::Arc;

use vistok::graph::{Io, Op};
use vistok::kernel::tuning::gemm::{Engine, Tiles};
use vistok::kernel::{Capabilities, Elem, Fragment, Recording};
use vistok::ops::{Conv2d, MatMul};

use crate::problem::Problem;

/// Tile and share of a lane.
const SCALAR: &[([usize; 3], [usize; 2])] = &[
    ([128, 128, 16], [8, 8]),
    ([128, 64, 16], [8, 4]),
    ([64, 64, 16], [8, 4]),
    ([64, 64, 16], [8, 8]),
    ([64, 64, 16], [4, 4]),
];

/// Tile, and subgroups along rows and columns.
const SIXTEEN: &[([usize; 3], [usize; 2])] = &[
    ([128, 128, 32], [2, 2]),
    ([128, 128, 32], [2, 4]),
    ([128, 256, 32], [2, 4]),
    ([256, 128, 32], [4, 2]),
    ([128, 64, 32], [2, 1]),
    ([128, 64, 64], [2, 2]),
    ([128, 64, 32], [4, 2]),
    ([64, 128, 32], [2, 2]),
    ([128, 128, 64], [2, 4]),
    ([128, 64, 32], [2, 2]),
    ([64, 64, 64], [2, 2]),
    ([64, 64, 32], [2, 2]),
];

const EIGHT: &[([usize; 3], [usize; 2])] = &[([32, 32, 16], [2, 2])];

/// What the op records for a problem, for each way of cutting it up; names say which.
///
/// # Errors
/// The op's own words when the inputs do not fit it.
pub(crate) fn recordings(
    problem: Problem,
    elem: Elem,
    machine: &Capabilities,
) -> Result<Vec<(String, Recording)>, String> {
    let op: Arc<dyn Op> = match problem {
        Problem::Gemm { .. } => Arc::new(MatMul::new()),
        Problem::Conv { .. } => Arc::new(Conv2d::new(1, 1)),
    };
    let inputs = problem.inputs(elem);
    let outputs = op.outputs(&inputs)?;
    let record = |machine: &Capabilities| {
        let mut recording = Recording::default();
        op.record(&Io { inputs: &inputs, outputs: &outputs, machine }, &mut recording);
        recording
    };
    let mut recordings = vec![(format!("pieces/{} (chosen)", op.name()), record(machine))];
    for tiles in tiles(elem, machine) {
        let [m, n, k] = tiles.tile;
        let [share_m, share_n] = tiles.share;

        let ahead = if tiles.ahead { " ahead" } else { "" };
        let name = format!("pieces/{} {m}x{n}x{k} {share_m}x{share_n}{ahead}", op.name());
        recordings.push((name, record(&Capabilities { tiles: Some(tiles), ..machine.clone() })));
    }
    Ok(recordings)
}

fn tiles(elem: Elem, machine: &Capabilities) -> Vec<Tiles> {
    if machine.software {
        return Vec::new();
    }
    let (engine, table) = match (elem, machine.fragment, machine.subgroup) {
        (Elem::F16, Some(fragment), Some(lanes)) => {
            (Engine::Cooperative(fragment, lanes), if fragment == Fragment::Sixteen { SIXTEEN } else { EIGHT })
        }
        _ => (Engine::Scalar, SCALAR),
    };
    let each = table.iter().flat_map(|&(tile, share)| {
        [false, true].map(|ahead| Tiles { tile, share, ahead, slices: 0, turns: 0, engine })
    });
    each.filter(|tiles| tiles.workgroup_bytes() <= machine.max_workgroup_bytes).collect()
}
