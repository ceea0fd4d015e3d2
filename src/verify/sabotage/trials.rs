//! Which runs can notice a change of a file: nodes of cases, by the files that their kernels are built of.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::mutants::{Mutant, mutants};
use crate::graph::{Case, GraphError};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Capabilities, ComposeError, Elem, Interface, Piece, Recording, Variant, gather};
use crate::verify::interface::{InterfaceFault, builds};
use crate::verify::record::{record, with_gradients};

/// A file of WGSL and the kernels that are built of it.
#[derive(Clone, Debug)]
pub struct Files(BTreeMap<&'static str, (&'static str, Vec<&'static Interface>)>);

/// The files of all kernels that these cases run on any machine.
///
/// # Errors
/// When a case's shapes do not fit, or a piece is missing.
pub fn files(cases: &[Case]) -> Result<Files, InterfaceFault> {
    let mut all: BTreeMap<&'static str, (&'static str, Vec<&'static Interface>)> = BTreeMap::new();
    for build in builds(cases)? {
        for (name, text) in gather(build.kernel, &build.variant)? {
            let (_, kernels) = all.entry(name).or_insert((text, Vec::new()));
            if !kernels.contains(&build.kernel) {
                kernels.push(build.kernel);
            }
        }
    }
    Ok(Files(all))
}

impl Files {
    /// Every mutant of every file, in the same order everywhere.
    #[must_use]
    pub fn mutants(&self) -> Vec<Mutant> {
        let each = |(name, (text, kernels)): (&&'static str, &(&'static str, Vec<&'static Interface>))| {
            let mut fields = kernels.first().map(|kernel| kernel.params.to_vec()).unwrap_or_default();
            fields.retain(|field| kernels.iter().all(|kernel| kernel.params.contains(field)));
            mutants(name, text, &fields)
        };
        self.0.iter().flat_map(each).collect()
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, file: &str) -> Option<&'static str> {
        self.0.get(file).map(|(text, _)| *text)
    }
}

/// What tells one trial from another: case, element type, node, and the kernels and variants that it records.
type Known = (usize, Elem, usize, Vec<(&'static str, Variant)>);

/// Builds of kernels.
type Builds = Vec<(&'static Interface, Variant)>;

/// One node of a case's graph on one way of running it.
pub(super) struct Trial {
    /// The case, by its number.
    pub(super) case: usize,
    pub(super) elem: Elem,
    /// The node of the case's graph.
    pub(super) node: usize,
    /// What the machine is taken to offer.
    pub(super) machine: Capabilities,
    size: usize,
    recording: Recording,
}

/// Trials by the files that they are built of.
pub(super) struct Index {
    pub(super) trials: Vec<Trial>,
    /// For each file its trials, those that are tried first in front.
    of_file: HashMap<&'static str, Vec<usize>>,
}

/// Numbers of the trial that is run first: large enough for tails and several rows, small enough for the CPU.
const FIRST: f64 = 2000.0;

impl Index {
    /// The trials of these cases on these machines (one of them per engine), in every element type that they have.
    pub(super) fn of(cases: &[Case], machines: &[Capabilities]) -> Result<Self, GraphError> {
        let mut index = Self { trials: Vec::new(), of_file: HashMap::new() };
        let mut known = HashSet::new();
        for machine in machines {
            let elems = [Elem::F32, Elem::F16].into_iter().filter(|elem| machine.f16 || *elem != Elem::F16);
            for elem in elems {
                for case in 0..cases.len() {
                    let forced = Tiles::all(machine, elem).into_iter().map(Some);
                    for tiles in [None].into_iter().chain(forced) {
                        let machine = Capabilities { tiles, ..machine.clone() };
                        index.add(cases, case, elem, &machine, &mut known)?;
                    }
                }
            }
        }
        Ok(index)
    }

    fn add(
        &mut self,
        cases: &[Case],
        case: usize,
        elem: Elem,
        machine: &Capabilities,
        known: &mut HashSet<Known>,
    ) -> Result<(), GraphError> {
        let (graph, _) = with_gradients(&cases[case], elem)?;
        for (node, applied) in graph.nodes().iter().enumerate().filter(|(_, node)| !node.op.is_view()) {
            let (recording, inputs, outputs) = record(&graph, applied, machine);
            let builds = recording.dispatches.iter().map(|one| (one.kernel.name, one.variant.clone())).collect();
            if known.insert((case, elem, node, builds)) {
                let size = inputs.iter().chain(&outputs).map(|tensor| tensor.shape.count()).sum();
                self.trials.push(Trial { case, elem, node, machine: machine.clone(), size, recording });
            }
        }
        Ok(())
    }

    /// The trials that can notice a change of `file`: of every build one, then of every build another.
    pub(super) fn trials_of(&mut self, file: &'static str) -> Result<Vec<usize>, ComposeError> {
        if let Some(known) = self.of_file.get(file) {
            return Ok(known.clone());
        }
        let mut by_build: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, trial) in self.trials.iter().enumerate() {
            for dispatch in &trial.recording.dispatches {
                if gather(dispatch.kernel, &dispatch.variant)?.iter().any(|(name, _)| *name == file) {
                    let trials = by_build.entry(kind(dispatch.kernel, &dispatch.variant)).or_default();
                    if trials.last() != Some(&at) {
                        trials.push(at);
                    }
                }
            }
        }
        let far = |at: usize| ((self.trials[at].size as f64 / FIRST).ln().abs() * 1e6) as u64;
        let mut queues: Vec<Vec<usize>> = by_build.into_values().collect();
        queues.iter_mut().for_each(|queue| queue.sort_by_key(|&at| (far(at), at)));
        queues.sort_by_key(|queue| (self.trials[queue[0]].size, queue[0]));
        let longest = queues.iter().map(Vec::len).max().unwrap_or(0);
        let mut order: Vec<usize> = Vec::new();
        for turn in 0..longest {
            for at in queues.iter().filter_map(|queue| queue.get(turn)) {
                if !order.contains(at) {
                    order.push(*at);
                }
            }
        }
        self.of_file.insert(file, order.clone());
        Ok(order)
    }
}

/// What builds of a kernel have in common that run the same lines: its pieces and flags. Not its larger numbers: shapes
/// and tiles may be numbers of a build, and every trial one of its own.
fn kind(kernel: &Interface, variant: &Variant) -> String {
    let pieces = variant.pieces().map(str::to_owned);
    let flags =
        variant.constants().iter().filter(|(_, value)| **value <= 1).map(|(name, value)| format!("{name}={value}"));
    pieces.chain(flags).fold(kernel.name.to_owned(), |all, one| format!("{all} {one}"))
}

/// The recording with `changed` in place of a file's text, and the builds that have changed; kernels that are not
/// built of the file stay as they are.
pub(super) fn sabotaged(
    recording: &Recording,
    changed: Piece,
    leaked: &mut HashMap<&'static str, &'static Interface>,
) -> Result<(Recording, Builds), ComposeError> {
    let mut recording = recording.clone();
    let mut builds = Vec::new();
    for dispatch in &mut recording.dispatches {
        let kernel = dispatch.kernel;
        if !gather(kernel, &dispatch.variant)?.iter().any(|(name, _)| *name == changed.0) {
            continue;
        }
        // Interfaces are static by design: a process that makes mutants keeps some kilobytes of each.
        dispatch.kernel = leaked.entry(kernel.name).or_insert_with(|| {
            let source = if kernel.name == changed.0 { changed.1 } else { kernel.source };
            let mut pieces = vec![changed];
            pieces.extend(kernel.pieces.iter().filter(|piece| piece.0 != changed.0));
            let Interface { name, params, bindings, .. } = *kernel;
            Box::leak(Box::new(Interface { name, source, pieces: pieces.leak(), params, bindings }))
        });
        builds.push((dispatch.kernel, dispatch.variant.clone()));
    }
    Ok((recording, builds))
}
