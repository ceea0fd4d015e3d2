//! Whole graphs against their maths: a clean step of training passes, and a planted fault is named where it stands.
//!
//! Without an adapter these tests are listed as ignored; with `REQUIRE_GPU=1` they fail.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::graph::{Draw, Graph, GraphError, Io, Maths, Op, Source, Tensor, Value, numbers};
use vistok::kernel::{Access, Elem, Grid, Interface, Recording, Variant, word};
use vistok::models::by_name;
use vistok::ops::{Add, Map, MatMul, Sgd};
use vistok::plan::Options;
use vistok::reference::{Array, Random, Real};
use vistok::train::step::training_step_in;
use vistok::verify::{Cause, Divergence, Whole, compare_whole};

type Outcome = Result<(), Failed>;
type Check = fn(&Bench) -> Outcome;

struct Bench {
    device: Device,
    pipelines: Pipelines,
}

const CHECKS: [(&str, Check); 9] = [
    ("a clean net passes, every number of it judged", clean),
    ("a kernel that computes something else is named, and nothing after it", wrong_number),
    ("a wrong number beside an infinity is named", beside_infinity),
    ("of two faults the first is named", two_faults),
    ("an element that is not written is named", unwritten),
    ("a step that writes over its input is named", overwrites),
    ("a step that reads memory before it is written is named", reads_early),
    ("errors that only add up are told from a wrong step", adds_up),
    ("a step of training a VT-ResNet passes in f32", |bench| trains(bench, Elem::F32)),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    let bench =
        Device::open(&options).map(|device| Arc::new(Bench { pipelines: Pipelines::new(&device, None), device }));
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let halves: (&str, Check) = ("a step of training a VT-ResNet passes in f16", |bench| trains(bench, Elem::F16));
    let mut trials = Vec::new();
    for (name, check) in CHECKS.into_iter().chain([halves]) {
        trials.push(match &bench {
            Ok(bench) if name == halves.0 && !bench.device.capabilities().f16 => {
                Trial::test(format!("{name} (no f16 on this adapter)"), || Ok(())).with_ignored_flag(true)
            }
            Ok(bench) => {
                let bench = bench.clone();
                Trial::test(name, move || check(&bench))
            }
            Err(error) if required => {
                let reason = error.to_string();
                Trial::test(name, move || Err(Failed::from(reason)))
            }
            Err(_) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(what())) }
}

/// What a kernel does in place of y = 2 x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing else.
    None,
    /// Element 7 comes out 0.5 too large.
    Number,
    /// Element 7 is not written.
    Unwritten,
    /// Element 3 of x becomes 9.
    Overwrites,
    /// Everything comes out larger by one part in 2^23, which any step may err by.
    Biased,
    /// Where scratch memory does not hold NaN, it triples.
    ReadsEarly,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::None, Self::Number, Self::Unwritten, Self::Overwrites, Self::Biased, Self::ReadsEarly];

    /// The kernel's name, its text, and the uses of its bindings; x, then scratch memory if it has any, then y.
    fn kernel(self) -> (&'static str, &'static str, &'static [(&'static str, Access)]) {
        const XY: &[(&str, Access)] = &[("x", Access::Read), ("y", Access::Write)];
        match self {
            Self::None => ("test/double", "y[at] = 2.0 * x[at];", XY),
            Self::Number => ("test/wrong", "y[at] = 2.0 * x[at] + select(0.0, 0.5, at == 7u);", XY),
            Self::Unwritten => ("test/unwritten", "if at != 7u { y[at] = 2.0 * x[at]; }", XY),
            Self::Overwrites => (
                "test/overwrites",
                "y[at] = 2.0 * x[at];\nif at == 3u { x[at] = 9.0; }",
                &[("x", Access::Write), ("y", Access::Write)],
            ),
            Self::Biased => ("test/biased", "y[at] = 1.00000012f * (2.0 * x[at]);", XY),
            Self::ReadsEarly => (
                "test/reads_early",
                "y[at] = select(3.0, 2.0, kept[at] == 0xffffffffu) * x[at];\nkept[at] = 0u;",
                &[("x", Access::Read), ("kept", Access::Write), ("y", Access::Write)],
            ),
        }
    }

    fn interface(self) -> &'static Interface {
        static ALL: LazyLock<Vec<Interface>> = LazyLock::new(|| Fault::ALL.into_iter().map(Fault::build).collect());
        &ALL[self as usize]
    }

    fn build(self) -> Interface {
        let (name, body, bindings) = self.kernel();
        let declare = |(at, (name, access)): (usize, &(&str, Access))| {
            let elem = if *name == "kept" { "u32" } else { "f32" };
            let access = if *access == Access::Read { "read" } else { "read_write" };
            format!("@group(0) @binding({}) var<storage, {access}> {name}: array<{elem}>;\n", at + 1)
        };
        let declared: String = bindings.iter().enumerate().map(declare).collect();
        let source = format!(
            "// constants WORKGROUP=64\nstruct Params {{ count: u32 }}\n\
             @group(0) @binding(0) var<uniform> params: Params;\n{declared}\
             @compute @workgroup_size(WORKGROUP)\nfn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             let at = id.x;\nif at < params.count {{\n{body}\n}}\n}}\n"
        );
        let source: &'static str = Box::leak(source.into_boxed_str());
        Interface { name, source, pieces: &[], params: &[("count", "u32")], bindings }
    }
}

/// y = 2 x, says the maths.
#[derive(Clone, Debug)]
struct Double(Fault);

impl Op for Double {
    fn name(&self) -> &'static str {
        "double"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(inputs.to_vec())
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.inputs[0].shape.count();
        let mut views = vec![io.input(0), io.output(0)];
        if self.0 == Fault::ReadsEarly {
            views.insert(1, out.scratch(count));
        }
        out.dispatches.push(vistok::kernel::Dispatch {
            kernel: self.0.interface(),
            variant: Variant::default(),
            params: vec![word(count)],
            views,
            grid: Grid::over(count, 64),
        });
    }
}

impl Maths for Double {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].map(|x| x + x)]
    }
}

/// x [5, 6] → product → two doublings, each followed by a ReLU → product, plus the first product; 8 nodes, of which
/// the fourth and the sixth may be faulty.
fn net(faults: [Fault; 2]) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([5, 6]));
    let weight = |graph: &mut Graph, name| graph.stored("parameters", name, Tensor::f32([6, 6]));
    let (one, two) = (weight(&mut graph, "one")?, weight(&mut graph, "two")?);
    let first = graph.scoped("block1", |graph| graph.apply_one(MatMul::new(), &[x, one]))?;
    let mut h = graph.scoped("block1", |graph| graph.apply_one(Map::Gelu, &[first]))?;
    let start = h;
    for (block, fault) in (2..).zip(faults) {
        h = graph.scoped(format!("block{block}"), |graph| {
            let h = graph.apply_one(Double(fault), &[h])?;
            graph.apply_one(Map::Relu, &[h])
        })?;
    }
    let y = graph.scoped("head", |graph| {
        let h = graph.apply_one(MatMul::new(), &[h, two])?;
        graph.apply_one(Add, &[h, start])
    })?;
    graph.output("y", y);
    Ok(graph)
}

fn leaf(graph: &Graph, value: Value, source: &Source) -> Array<f64> {
    numbers(&graph.tensor(value).shape, Draw::Normal, &mut Random::named(5, &format!("{source:?}")))
}

fn whole(bench: &Bench, graph: &Graph, reuse: bool) -> Result<Whole, Failed> {
    let leaf = |value: Value, source: &Source| leaf(graph, value, source);
    Ok(compare_whole(&bench.device, &bench.pipelines, graph, &leaf, Options { reuse, rows: reuse })?)
}

/// What is named for faults in the two doublings; the same with memory reused and without, and never passed.
fn named(bench: &Bench, faults: [Fault; 2]) -> Result<(Whole, Divergence), Failed> {
    let graph = net(faults)?;
    let (found, without) = (whole(bench, &graph, true)?, whole(bench, &graph, false)?);
    ensure(!found.passed() && !without.passed(), || format!("passed: {found:?}"))?;
    let first = found.first.clone().ok_or_else(|| Failed::from(format!("nothing is named: {found:?}")))?;
    let without = without.first.map(|first| first.to_string());
    // As text: NaN equals nothing.
    ensure(without.as_ref() == Some(&first.to_string()), || format!("{first}\nwithout reuse: {without:?}"))?;
    let words = found.fault().unwrap_or_default();
    let told = format!("step {}, {} of double at {} (f32 [5, 6]): ", first.step, first.kernel, first.scope);
    ensure(words.starts_with(&told), || format!("{words}\nshould start with {told}"))?;
    Ok((found, first))
}

fn is_at(first: &Divergence, step: usize, kernel: &str, cause: Cause) -> Outcome {
    let found = (first.step, first.kernel, first.op, first.scope.as_str(), first.cause);
    let scope = if step == 2 { "block2" } else { "block3" };
    ensure(found == (step, kernel, "double", scope, cause), || first.to_string())
}

fn clean(bench: &Bench) -> Outcome {
    let graph = net([Fault::None; 2])?;
    for reuse in [true, false] {
        let found = whole(bench, &graph, reuse)?;
        ensure(found.passed() && found.fault().is_none(), || format!("{found:?}"))?;
        ensure((found.nodes, found.of, found.values, found.outputs.len()) == (8, 8, 8, 1), || format!("{found:?}"))?;
        ensure(found.worst > 0.0 && found.outputs[0].name == "y", || format!("{found:?}"))?;
    }
    Ok(())
}

fn wrong_number(bench: &Bench) -> Outcome {
    for (faults, step) in [([Fault::Number, Fault::None], 2), ([Fault::None, Fault::Number], 4)] {
        let (found, first) = named(bench, faults)?;
        is_at(&first, step, "test/wrong", Cause::Maths)?;
        ensure(found.nodes == step + 1, || format!("{} nodes ran", found.nodes))?;
        let [place] = &first.places[..] else { return Err(format!("{} places", first.places.len()).into()) };
        let off = place.found - place.truth;
        ensure(place.index == [1, 1] && (off - 0.5).abs() < 1e-6, || first.to_string())?;
        ensure(first.inputs == [Tensor::f32([5, 6])] && first.allowed < 1e-5, || first.to_string())?;
        ensure(found.outputs[0].share > 1.0, || "the output is not off".to_owned())?;
    }
    Ok(())
}

fn beside_infinity(bench: &Bench) -> Outcome {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([5, 6]));
    let y = graph.scoped("block3", |graph| graph.apply_one(Double(Fault::Number), &[x]))?;
    graph.output("y", y);
    let numbers = |value, source: &Source| {
        let mut numbers = leaf(&graph, value, source);
        numbers.data[2] = f64::INFINITY;
        numbers
    };
    let found = compare_whole(&bench.device, &bench.pipelines, &graph, &numbers, Options::default())?;
    let first = found.first.as_ref().ok_or("the wrong number is not named")?;
    is_at(first, 0, "test/wrong", Cause::Maths)?;
    ensure(first.places.len() == 1 && first.places[0].index == [1, 1] && !found.passed(), || first.to_string())?;
    ensure(found.outputs[0].share > 1.0, || "the output is not off".to_owned())
}

fn two_faults(bench: &Bench) -> Outcome {
    let (_, first) = named(bench, [Fault::Unwritten, Fault::Number])?;
    is_at(&first, 2, "test/unwritten", Cause::Maths)
}

fn unwritten(bench: &Bench) -> Outcome {
    let (_, first) = named(bench, [Fault::None, Fault::Unwritten])?;
    is_at(&first, 4, "test/unwritten", Cause::Maths)?;
    let [place] = &first.places[..] else { return Err(format!("{} places", first.places.len()).into()) };
    ensure(place.index == [1, 1] && place.found.is_nan() && place.truth.is_finite(), || first.to_string())
}

/// The first doubling reads what the last addition needs again, five nodes later.
fn overwrites(bench: &Bench) -> Outcome {
    let (found, first) = named(bench, [Fault::Overwrites, Fault::None])?;
    is_at(&first, 2, "test/overwrites", Cause::Overwrites)?;
    ensure(first.what == "output 0 of map at block1" && found.nodes == 7, || first.to_string())?;
    let [place] = &first.places[..] else { return Err(format!("{} places", first.places.len()).into()) };
    ensure(place.index == [0, 3] && place.found == 9.0 && place.truth != 9.0, || first.to_string())
}

fn reads_early(bench: &Bench) -> Outcome {
    let (found, first) = named(bench, [Fault::None, Fault::ReadsEarly])?;
    is_at(&first, 4, "test/reads_early", Cause::Together)?;
    ensure(found.nodes == 8 && first.what == "output 0 of double at block3", || first.to_string())
}

fn adds_up(bench: &Bench) -> Outcome {
    for (fault, right) in [(Fault::None, true), (Fault::Biased, false)] {
        let mut graph = Graph::new();
        let mut h = graph.input("x", Tensor::f32([5, 6]));
        for _ in 0..40 {
            h = graph.apply_one(Double(fault), &[h])?;
        }
        graph.output("y", h);
        let found = whole(bench, &graph, true)?;
        let words = found.fault().unwrap_or_default();
        ensure(found.first.is_none() && found.nodes == 40, || words.clone())?;
        ensure(found.passed() == right && found.worst <= 1.0, || format!("{found:?}"))?;
        let told = words.contains("errors add up: 1 of 1 results") && words.contains("y is off by");
        ensure(right || told, || words)?;
    }
    Ok(())
}

/// Forward, loss, gradients and update of the demo's network.
fn trains(bench: &Bench, elem: Elem) -> Outcome {
    let model = by_name("vt-resnet-demo", 10).ok_or("the demo has a network")?;
    let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let mut step = training_step_in(elem, &*model, [2, 28, 28, 1], sgd)?;
    step.output_gradients();
    let start = |value: Value, source: &Source| step.sample(value, source, 1);
    let found = compare_whole(&bench.device, &bench.pipelines, &step.graph, &start, Options::default())?;
    ensure(found.passed(), || found.fault().unwrap_or_default())?;
    let learned = step.parameters.learned().count();
    let averages = step.parameters.iter().count() - learned;
    // The loss; of every parameter gradient, new value and velocity; and the running averages. In f16 the copies of weights
    // beside it, and what the scale of the loss consists of.
    let copies = step.parameters.learned().filter(|parameter| parameter.decays).count();
    let expected = 1 + 3 * learned + averages + if elem == Elem::F16 { copies + 3 } else { 0 };
    ensure(found.nodes == found.of && found.outputs.len() == expected, || format!("{} results", found.outputs.len()))
}
