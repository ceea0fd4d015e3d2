//! Which cases are tried on a machine, in which element types and ways, and why some cannot be.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Way;
use crate::gpu::Bare;
use crate::graph::{Case, GraphError, Tensor};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Capabilities, Dispatch, Elem, Grid, Recording};
use crate::ops;
use crate::verify::expected::Expected;
use crate::verify::record::{holds_f16, record, uses_fragments, with_gradients};

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A few cases of every kernel and choice of pieces; every way of cutting a GEMM a few times for each kernel.
    Quick,
    /// Every small case.
    Small,
    /// Every small case, in every way of cutting a GEMM, and the shapes of real models.
    Full,
}

/// A case in an element type. Its truth is the same for all its trials.
pub struct Question {
    /// The case.
    pub case: Case,
    /// What its tensors hold.
    pub elem: Elem,
    /// The ways in which it is answered.
    pub trials: Vec<Trial>,
    /// What each node must give, for those who try one at a time.
    pub(super) known: OnceLock<Result<Vec<Expected>, String>>,
}

/// One way of answering a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Engine and runtime checks.
    pub way: Way,
    /// The tiles that every GEMM must take; `None` leaves it to tuning.
    pub tiles: Option<Tiles>,
    /// The kernels that it runs.
    pub kernels: Vec<&'static str>,
    /// Why it cannot be run on this machine, or nothing.
    pub obstacle: Option<String>,
}

impl Trial {
    /// What is special about it: `scalar checked in tiles of 64x64x16`.
    #[must_use]
    pub fn label(&self) -> String {
        let tiles = self.tiles.map(|tiles| format!(" in tiles of {tiles}"));
        format!("{}{}", self.way.label(), tiles.unwrap_or_default())
    }
}

impl Question {
    /// The name of one of its trials: `conv2d::f16::scalar Conv2d { … } 2x5x7x3 3x3x3x5`.
    #[must_use]
    pub fn name(&self, trial: &Trial) -> String {
        format!("{}::{}::{} {}", self.case.op.name(), self.elem, trial.label(), self.case.name())
    }

    /// Whether every word of a filter is in the trial's name, or among its kernels, or its engine's.
    fn matches(&self, trial: &Trial, filter: &str) -> bool {
        let text = format!("{} {} {}", self.name(trial), trial.kernels.join(" "), trial.way.engine());
        let real = self.case.real.unwrap_or_default();
        filter.split_whitespace().all(|word| text.contains(word) || real.contains(word))
    }
}

/// A kernel made of the same pieces is reached by this many cases of [`Scope::Quick`], in each element type and way.
const FEW: usize = 2;
/// Numbers of a case that [`Scope::Quick`] takes first: large enough for several tiles, small enough for the CPU.
const QUICK: usize = 20_000;

/// A trial that may be chosen, and what it would reach.
struct Candidate {
    trial: Trial,
    reaches: Vec<Reach>,
}

/// A kernel and the pieces that it is made of; or, of a GEMM whose tiles are given, whether they stick out, and whether
/// there are several along both sides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reach {
    Pieces(&'static str, Vec<&'static str>),
    Cut(&'static str, [bool; 2]),
}

/// The questions of this scope for a machine; of their trials those that the filter lets through, those that cannot be
/// run there among them.
///
/// # Errors
/// When a case's shapes do not fit, or an op on the way has no gradient: a fault of the case.
pub fn questions(machine: &Capabilities, scope: Scope, filter: Option<&str>) -> Result<Vec<Question>, GraphError> {
    let mut all = Vec::new();
    for case in ops::cases().into_iter().filter(|case| scope == Scope::Full || case.real.is_none()) {
        for elem in [Elem::F32, Elem::F16] {
            let question = Question { case: case.clone(), elem, trials: Vec::new(), known: OnceLock::new() };
            let mut candidates = candidates(machine, &question)?;
            candidates.retain(|one| filter.is_none_or(|filter| question.matches(&one.trial, filter)));
            all.push((question, candidates));
        }
    }
    choose(scope, &mut all);
    for (question, candidates) in &mut all {
        question.trials.extend(candidates.drain(..).map(|one| one.trial));
    }
    let mut questions: Vec<Question> = all.into_iter().map(|(question, _)| question).collect();
    questions.retain(|question| !question.trials.is_empty());
    Ok(questions)
}

/// Leaves of all candidates those that the scope wants.
fn choose(scope: Scope, all: &mut [(Question, Vec<Candidate>)]) {
    let size = |question: &Question| question.case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
    let sizes: Vec<usize> = all.iter().map(|(question, _)| size(question)).collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    for tiled in [false, true] {
        let few = match (scope, tiled) {
            (Scope::Full, _) | (Scope::Small, false) => continue,
            (Scope::Quick, false) => FEW,
            (_, true) => 1,
        };
        match tiled {
            false => order.sort_by_key(|&at| (sizes[at] > QUICK, sizes[at].abs_diff(QUICK))),
            // A small product fits into one tile of any size, so tiles are tried on the largest.
            true => order.sort_by_key(|&at| std::cmp::Reverse(sizes[at])),
        }
        let mut reached: HashMap<_, usize> = HashMap::new();
        for &at in &order {
            let (question, candidates) = &mut all[at];
            candidates.retain(|Candidate { trial, reaches }| {
                if trial.tiles.is_some() != tiled {
                    return true;
                }
                let keys = || reaches.iter().map(|one| (question.elem, trial.way, trial.tiles, one.clone()));
                let wanted = keys().any(|key| reached.get(&key).is_none_or(|&count| count < few));
                if wanted {
                    keys().for_each(|key| *reached.entry(key).or_default() += 1);
                }
                wanted
            });
        }
    }
}

/// Every way in which a question can be answered: not those that would run the very kernels of another.
fn candidates(machine: &Capabilities, question: &Question) -> Result<Vec<Candidate>, GraphError> {
    let (graph, _) = with_gradients(&question.case, question.elem)?;
    let halves = holds_f16(&graph);
    let mut candidates = Vec::new();
    for way in Way::ALL {
        let recorded = |tiles, seen: &Capabilities| -> Vec<_> {
            let seen = Capabilities { tiles, ..seen.clone() };
            let nodes = graph.nodes().iter().filter(|node| !node.op.is_view());
            let nodes = nodes.map(|node| record(&graph, node, &seen));
            nodes.filter(|(recording, ..)| !way.cooperative || uses_fragments(recording)).collect()
        };
        let seen = way.of(machine).unwrap_or_else(Way::imagined);
        let tiles = match question.case.real {
            None => Tiles::all(&seen, question.elem),
            Some(_) => Vec::new(),
        };
        for tiles in std::iter::once(None).chain(tiles.into_iter().map(Some)) {
            let nodes = recorded(tiles, &seen);
            // Where nothing is cut into slices, that is the way without.
            let whole = tiles.filter(|tiles| tiles.slices > 1).map(|tiles| Tiles { slices: 1, ..tiles });
            if whole.is_some_and(|whole| recorded(Some(whole), &seen) == nodes) {
                continue;
            }
            let dispatches = || nodes.iter().flat_map(|(recording, ..)| &recording.dispatches);
            let reach = |one: &Dispatch| match (tiles, cut(one)) {
                (Some(tiles), Some(cut)) if takes(one, &tiles) => Reach::Cut(one.kernel.name, cut),
                _ => Reach::Pieces(one.kernel.name, one.variant.pieces().collect()),
            };
            let mut reaches: Vec<_> = dispatches().map(reach).collect();
            reaches.sort_unstable();
            reaches.dedup();
            let cuts = reaches.iter().any(|reach| matches!(reach, Reach::Cut(..)));
            if reaches.is_empty() || (tiles.is_some() && !cuts) {
                continue;
            }
            let mut kernels: Vec<&str> = dispatches().map(|dispatch| dispatch.kernel.name).collect();
            kernels.sort_unstable();
            kernels.dedup();
            let obstacle = obstacle(machine, question, way, halves, nodes.iter().map(bytes).max().unwrap_or(0));
            candidates.push(Candidate { trial: Trial { way, tiles, kernels, obstacle }, reaches });
        }
    }
    Ok(candidates)
}

/// Whether the tiles of a GEMM stick out, and whether there are several along both sides; nothing for other kernels.
fn cut(dispatch: &Dispatch) -> Option<[bool; 2]> {
    let edges = dispatch.variant.constants().get("EDGES")?;
    let Grid([x, y, _]) = dispatch.grid;
    Some([*edges != 0, x > 1 && y > 1])
}

/// Whether a GEMM is cut so: sums that are too long for turns are cut otherwise.
fn takes(dispatch: &Dispatch, tiles: &Tiles) -> bool {
    let side = |name| dispatch.variant.constants().get(name).copied();
    ["TILE_M", "TILE_N", "TILE_K"].map(side) == tiles.tile.map(|side| u32::try_from(side).ok())
        && dispatch.variant.has("stream") == (tiles.turns > 0)
}

/// The most bytes that a binding of a node holds when it is run by itself.
fn bytes((recording, inputs, outputs): &(Recording, Vec<Tensor>, Vec<Tensor>)) -> usize {
    let tensors = inputs.iter().chain(outputs).map(Tensor::bytes);
    Bare::guarded(tensors.chain(recording.scratch.iter().copied()).max().unwrap_or(0))
}

/// Why a question cannot be answered in this way on this machine.
fn obstacle(machine: &Capabilities, question: &Question, way: Way, halves: bool, bytes: usize) -> Option<String> {
    if halves && !machine.f16 {
        return Some("the adapter has no f16".to_owned());
    }
    if way.of(machine).is_none() {
        return Some("the adapter has no cooperative matrices of f16 with sums in f32".to_owned());
    }
    if question.case.real.is_some() && machine.software {
        return Some("shapes of real models are for GPUs, and this adapter computes on the CPU".to_owned());
    }
    let most = machine.max_binding_bytes;
    (bytes > most).then(|| format!("a tensor takes {} MiB, the adapter binds {} MiB", bytes >> 20, most >> 20))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::verify::{builds, recordings};

    fn names(machine: &Capabilities, scope: Scope) -> Vec<String> {
        let questions = questions(machine, scope, None).expect("the cases' shapes fit");
        let each = |question: &Question| question.trials.iter().map(|trial| question.name(trial)).collect::<Vec<_>>();
        questions.iter().flat_map(each).collect()
    }

    /// Kernels that belong to no op: that of `bench/ceilings.rs` measures how fast memory is copied, those of
    /// `gpu/operands.rs` compare what ways of computing one op leave.
    const OF_NO_OP: [&str; 4] = ["copy/copy", "agree/poison", "agree/survey", "agree/compare"];

    /// The kernel files under `shaders/`, as kernels are named.
    fn files() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let entries = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path).expect("it is a folder").map(|one| one.expect("it is there").path()).collect()
        };
        let ops = entries(&folder).into_iter().filter(|op| op.is_dir() && !op.ends_with("lib"));
        let name = |file: PathBuf| {
            let name = file.strip_prefix(&folder).expect("it is inside").with_extension("");
            name.to_string_lossy().replace('\\', "/")
        };
        ops.flat_map(|op| entries(&op)).map(name).filter(|name| !OF_NO_OP.contains(&name.as_str())).collect()
    }

    /// The kernels that have these builds.
    fn kernels(of: impl Fn(&crate::verify::Build) -> bool) -> BTreeSet<String> {
        let builds = builds(&ops::cases()).expect("all pieces exist");
        builds.iter().filter(|build| of(build)).map(|build| build.kernel.name.to_owned()).collect()
    }

    /// The kernels on the one main loop of products.
    fn gemms() -> BTreeSet<String> {
        kernels(|build| build.variant.has("tile_coop"))
    }

    /// The kernels that a machine with cooperative matrices has in the place of others.
    fn of_fragments() -> BTreeSet<String> {
        let with_scalars = kernels(|build| build.variant.has("tile_scalar"));
        &kernels(|build| build.variant.is_cooperative()) - &with_scalars
    }

    /// The ways, each with the element types for which it has an engine of its own.
    fn ways() -> impl Iterator<Item = (Way, Elem)> {
        let elems = |way: Way| if way.cooperative { &[Elem::F16][..] } else { &[Elem::F32, Elem::F16] };
        Way::ALL.into_iter().flat_map(move |way| elems(way).iter().map(move |&elem| (way, elem)))
    }

    #[test]
    fn quick_trials_reach_every_kernel_file() {
        let questions = questions(&Way::imagined(), Scope::Quick, None).expect("the cases' shapes fit");
        for (way, elem) in ways() {
            let asked = questions.iter().filter(|question| question.elem == elem).flat_map(|one| &one.trials);
            // Some kernels are for sums in slices alone.
            let chosen = |trial: &&Trial| trial.tiles.is_none_or(|tiles| tiles.slices > 1);
            let trials = asked.filter(|trial| trial.way == way && trial.obstacle.is_none()).filter(chosen);
            let reached: BTreeSet<String> =
                trials.flat_map(|trial| &trial.kernels).map(|&name| name.to_owned()).collect();
            let cooperative = || kernels(|build| build.variant.is_cooperative());
            let wanted = if way.cooperative { cooperative() } else { &files() - &of_fragments() };
            let missing: Vec<_> = wanted.difference(&reached).collect();
            assert!(
                missing.is_empty() && !wanted.is_empty(),
                "{elem} {}: no quick trial runs {missing:?}",
                way.label()
            );
            assert!(reached.is_subset(&files()), "a kernel without a file: {reached:?}");
        }
    }

    #[test]
    fn every_way_of_cutting_meets_whole_tiles_and_tiles_that_stick_out() {
        for machine in [Capabilities::portable(), Way::imagined()] {
            let questions = questions(&machine, Scope::Quick, None).expect("the cases' shapes fit");
            let mut reached: HashMap<_, BTreeSet<[bool; 2]>> = HashMap::new();
            for question in &questions {
                let tiled = question.trials.iter().filter(|trial| trial.tiles.is_some() && trial.obstacle.is_none());
                for Trial { way, tiles, .. } in tiled {
                    let seen = Capabilities { tiles: *tiles, ..way.of(&machine).expect("there is no obstacle") };
                    let recordings = recordings(&question.case, question.elem, &seen).expect("it fits");
                    for one in recordings.iter().flat_map(|all| &all.dispatches) {
                        let Some(cut) = cut(one) else { continue };
                        if !tiles.is_some_and(|tiles| takes(one, &tiles)) {
                            assert!(tiles.is_some_and(|tiles| tiles.turns > 0), "tiles are not taken");
                            continue;
                        }
                        let key = (one.kernel.name.to_owned(), question.elem, *way, *tiles);
                        reached.entry(key).or_default().insert(cut);
                    }
                }
            }
            // Turns meet whole tiles in some kernel, all others in each: there they are sums of one length alone.
            let whole = |cuts: &BTreeSet<[bool; 2]>| cuts.iter().any(|cut| !cut[0]);
            let somewhere: HashSet<_> = reached
                .iter()
                .filter(|(_, cuts)| whole(cuts))
                .map(|((_, elem, way, tiles), _)| (*elem, *way, *tiles))
                .collect();
            let streams = kernels(|build| build.variant.has("stream"));
            for (way, elem) in ways() {
                let Some(seen) = way.of(&machine) else { continue };
                for kernel in gemms() {
                    let (slices, turns) = (kernel.ends_with("_slices"), streams.contains(&kernel));
                    let takes = |tiles: &Tiles| slices == (tiles.slices > 1) && (tiles.turns == 0 || turns);
                    for tiles in Tiles::all(&seen, elem).into_iter().filter(takes) {
                        let cuts = reached.remove(&(kernel.clone(), elem, way, Some(tiles))).unwrap_or_default();
                        let whole = whole(&cuts) || tiles.turns > 0 && somewhere.contains(&(elem, way, Some(tiles)));
                        let met = cuts.contains(&[true, true]) && whole;
                        assert!(met, "{kernel} {elem} {} {tiles:?}: only {cuts:?}", way.label());
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_machine_cannot_do_is_a_trial_with_the_reason() {
        let portable = Capabilities { f16: false, software: true, ..Capabilities::portable() };
        let questions = questions(&portable, Scope::Full, None).expect("the cases' shapes fit");
        let trials = || questions.iter().flat_map(|one| one.trials.iter().map(move |trial| (one, trial)));
        let said = |trial: &Trial, words: &str| trial.obstacle.as_ref().is_some_and(|said| said.contains(words));
        for (question, trial) in trials() {
            let (graph, _) = with_gradients(&question.case, question.elem).expect("it fits");
            let halves = holds_f16(&graph);
            assert_eq!(halves, said(trial, "no f16"), "{}", question.name(trial));
        }
        assert!(trials().any(|(_, trial)| trial.way.cooperative));
        assert!(trials().filter(|(one, _)| one.case.real.is_some()).all(|(_, trial)| trial.obstacle.is_some()));
        let small = Capabilities { max_binding_bytes: 128 << 20, ..Capabilities::portable() };
        let questions = super::questions(&small, Scope::Full, None).expect("the cases' shapes fit");
        assert!(questions.iter().flat_map(|one| &one.trials).any(|trial| said(trial, "the adapter binds 128 MiB")));
    }

    #[test]
    fn filters_are_words_and_names_are_unique() {
        let machine = Way::imagined();
        let names = names(&machine, Scope::Small);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let matching = |filter| questions(&machine, Scope::Full, Some(filter)).expect("the cases' shapes fit");
        let found = matching("conv2d::f16 cooperative checked backward_weight stem");
        assert_eq!(found.iter().map(|one| one.trials.len()).collect::<Vec<_>>(), [1]);
        assert!(matching("no such kernel").is_empty());
    }
}
