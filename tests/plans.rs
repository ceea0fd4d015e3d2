//! What must hold of every plan, on random programs and without a GPU; snapshots of small plans; what is refused.

mod programs;

use std::collections::HashMap;

use programs::{Decay, Flat, Mirror, Take, program, training_step};
use vistok::graph::{Graph, GraphError, Io, Maths, Op, Tensor, Value};
use vistok::kernel::{Access, Capabilities, Dispatch, Grid, Interface, Recording, Variant, View};
use vistok::ops::{Add, Map};
use vistok::plan::{Buffer, Layout, Options, Place, Plan, PlanError};
use vistok::reference::{Array, Real};

const PROGRAMS: u64 = 500;

fn planned(graph: &Graph, reuse: bool) -> Plan {
    try_plan(graph, &Capabilities::portable(), reuse).expect("a program can be planned")
}

fn try_plan(graph: &Graph, machine: &Capabilities, reuse: bool) -> Result<Plan, PlanError> {
    let layout = Layout::of(&[graph], machine.offset_alignment)?;
    Plan::new(graph, &layout, machine, Options { reuse, rows: reuse })
}

fn every_program(mut check: impl FnMut(u64, &Graph)) {
    for seed in 0..PROGRAMS {
        check(seed, &program(seed, 4 + (seed as usize * 7) % 60).expect("programs are well formed"));
    }
}

/// Walks the steps and remembers which value each slot holds: whoever reads a value must find it and no other.
///
/// `moved` may tell other places than the plan does, to see that the walk notices.
fn overwritten(plan: &Plan, moved: impl Fn(Place) -> Place) -> Option<String> {
    let mut holds: HashMap<Buffer, Value> = HashMap::new();
    for (number, step) in plan.steps().iter().enumerate() {
        let bindings = || step.bindings.iter().map(|&place| moved(place)).zip(&step.values).zip(step.kernel.bindings);
        for ((place, value), (_, access)) in bindings() {
            let (Buffer::Slot(_), Some(value), Access::Read) = (place.buffer, value, access) else { continue };
            if holds.get(&place.buffer) != Some(&plan.owner(*value)) {
                return Some(format!("step {number} reads v{} from {:?}", value.index(), place.buffer));
            }
        }
        for ((place, value), (_, access)) in bindings() {
            match (place.buffer, value, access) {
                (Buffer::Slot(_), Some(value), Access::Write) => holds.insert(place.buffer, plan.owner(*value)),
                (Buffer::Slot(_), None, Access::Write) => holds.remove(&place.buffer),
                _ => None,
            };
        }
    }
    let lost = plan.outputs().iter().find(|output| {
        let place = moved(plan.place(output.value).expect("outputs have places"));
        matches!(place.buffer, Buffer::Slot(_)) && holds.get(&place.buffer) != Some(&plan.owner(output.value))
    });
    lost.map(|output| format!("output {} does not survive", output.name))
}

#[test]
fn no_value_is_overwritten_while_it_is_still_wanted() {
    every_program(|seed, graph| assert_eq!(overwritten(&planned(graph, true), |place| place), None, "program {seed}"));
}

#[test]
fn the_walk_notices_a_slot_that_two_living_values_share() {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([8]));
    let a = graph.apply_one(Map::Relu, &[x]).expect("shapes fit");
    let b = graph.apply_one(Mirror, &[x]).expect("shapes fit");
    let y = graph.apply_one(Add, &[a, b]).expect("shapes fit");
    graph.output("y", y);
    let plan = planned(&graph, true);
    assert_eq!(overwritten(&plan, |place| place), None);
    let (a, b) = (plan.place(a).expect("a has a place"), plan.place(b).expect("b has a place"));
    assert_ne!(a.buffer, b.buffer);
    let fault = overwritten(&plan, |place| if place == b { a } else { place });
    assert!(fault.is_some_and(|fault| fault.contains("step 3 reads")));
}

#[test]
fn no_step_reads_and_writes_one_buffer() {
    every_program(|seed, graph| {
        for step in planned(graph, true).steps() {
            let uses = |wanted: Access| {
                step.bindings.iter().zip(step.kernel.bindings).filter(move |(_, (_, access))| *access == wanted)
            };
            for (read, _) in uses(Access::Read) {
                assert!(uses(Access::Write).all(|(write, _)| write.buffer != read.buffer), "program {seed}: {step:?}");
            }
        }
    });
}

#[test]
fn without_reuse_the_steps_are_the_same_but_for_their_slots() {
    every_program(|seed, graph| {
        let (with, without) = (planned(graph, true), planned(graph, false));
        assert_eq!(with.steps().len(), without.steps().len());
        for (a, b) in with.steps().iter().zip(without.steps()) {
            assert_eq!((a.kernel, &a.variant, &a.params, a.grid), (b.kernel, &b.variant, &b.params, b.grid));
            assert_eq!(a.values, b.values, "program {seed}");
            for (a, b) in a.bindings.iter().zip(&b.bindings) {
                let both_slots = matches!((a.buffer, b.buffer), (Buffer::Slot(_), Buffer::Slot(_)));
                assert!(both_slots || a.buffer == b.buffer, "program {seed}");
                assert_eq!((a.offset, a.bytes), (b.offset, b.bytes), "program {seed}");
            }
        }
    });
}

#[test]
fn reuse_takes_under_half_of_the_memory_and_never_less_than_the_busiest_node() {
    let (mut with, mut without) = (0, 0);
    every_program(|seed, graph| {
        let plan = planned(graph, true);
        let busiest = plan.steps().iter().map(|step| {
            let mut slots: Vec<_> = step.bindings.iter().filter(|p| matches!(p.buffer, Buffer::Slot(_))).collect();
            slots.sort_by_key(|place| place.buffer);
            slots.dedup();
            slots.iter().map(|place| place.bytes).sum::<usize>()
        });
        let slots = plan.slots().iter().sum::<usize>();
        assert!(slots >= busiest.max().unwrap_or(0), "program {seed}");
        assert!(slots <= plan.values_without_reuse().1, "program {seed}");
        with += slots;
        without += plan.values_without_reuse().1;
    });
    assert!(with * 2 < without, "{with} of {without}");
}

#[test]
fn one_graph_gives_one_text() {
    every_program(|seed, graph| {
        assert_eq!(planned(graph, true).to_string(), planned(graph, true).to_string(), "program {seed}");
    });
}

fn small() -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let x = graph.input("image", Tensor::f32([4, 100]));
    let weight = graph.stored("parameters", "weight", Tensor::f32([4, 100]))?;
    let unused = graph.apply_one(Map::Gelu, &[x])?;
    graph.apply_one(Map::Gelu, &[unused])?;
    let h = graph.scoped("block1", |graph| graph.apply_one(Add, &[x, weight]))?;
    let h = graph.scoped("block1", |graph| graph.apply_one(Map::Gelu, &[h]))?;
    let flat = graph.apply_one(Flat, &[h])?;
    let h = graph.scoped("block2", |graph| graph.apply_one(Mirror, &[flat]))?;
    let h = graph.scoped("block2", |graph| graph.apply_one(Take(1000), &[h]))?;
    let average = graph.stored("statistics", "average", Tensor::f32([1000]))?;
    let next = graph.apply_one(Decay, &[average, h])?;
    graph.output("average", next);
    graph.output("flat", flat);
    graph.output("image", x);
    Ok(graph)
}

#[test]
fn a_small_plan_reads_like_this() {
    insta::assert_snapshot!("small", planned(&small().expect("shapes fit"), true));
}

#[test]
fn a_random_plan_reads_like_this() {
    insta::assert_snapshot!("random", planned(&program(3, 24).expect("well formed"), true));
}

#[test]
fn a_step_of_training_reads_like_this() {
    let graph = training_step().expect("shapes fit");
    let plan = planned(&graph, true);
    assert_eq!(overwritten(&plan, |place| place), None);
    assert_eq!(plan.check_workgroups(&Capabilities::portable()), Ok(()));
    insta::assert_snapshot!("training", plan);
}

#[test]
fn updates_run_as_soon_as_they_can_and_their_gradients_die() {
    let graph = training_step().expect("shapes fit");
    let plan = planned(&graph, false);
    let nodes = plan.nodes();
    let place = |scope: &str| nodes.iter().position(|node| node.scope == scope).expect("every weight is updated");
    // The classifier's gradient is there first, and its weight is read once more, for the gradient of what it reads.
    assert!(place("update6") < place("block1'"), "{plan}");
    assert!(place("update3") < place("block0'"), "{plan}");
    for (at, node) in nodes.iter().enumerate() {
        for value in &node.inputs {
            let maker = nodes.iter().position(|maker| maker.outputs.contains(value));
            assert!(maker.is_none_or(|maker| maker < at), "{} runs before what it reads", node.label);
        }
    }
}

#[test]
fn dead_nodes_are_dropped_and_views_run_nothing() {
    let graph = small().expect("shapes fit");
    let plan = planned(&graph, true);
    assert_eq!((graph.nodes().len(), plan.nodes().len()), (8, 6));
    let view = plan.nodes().iter().find(|node| node.op == "flat").expect("the view is planned");
    assert!(view.steps.is_empty());
    assert_eq!(plan.place(view.inputs[0]), plan.place(view.outputs[0]));
}

#[test]
fn updated_outputs_stand_where_the_stored_tensor_stands() {
    let plan = planned(&small().expect("shapes fit"), true);
    let place = plan.place(plan.find("average").expect("there is one")).expect("it has a place");
    assert_eq!((place.buffer, place.offset), (Buffer::Home(1), 0));
}

#[test]
fn a_layout_is_shared_by_graphs_and_tells_others_apart() {
    let (small, other) = (small().expect("shapes fit"), program(1, 10).expect("well formed"));
    let alone = Layout::of(&[&small], 32).expect("names agree");
    let again = Layout::of(&[&small, &small], 32).expect("names agree");
    assert_eq!((alone.digest(), &alone), (again.digest(), &again));
    let mut grown = Graph::new();
    grown.stored("parameters", "more", Tensor::f32([3])).expect("a new name");
    let both = Layout::of(&[&small, &grown], 32).expect("names agree");
    assert_ne!(alone.digest(), both.digest());
    assert_eq!(both.find("parameters", "more").map(|(home, stored)| (home, stored.offset)), Some((0, 2048)));
    // `other` stores another `weight`.
    assert!(matches!(Layout::of(&[&small, &other], 32), Err(PlanError::Name(_))));
    let refused = Plan::new(&grown, &alone, &Capabilities::portable(), Options::default());
    assert_eq!(refused, Err(PlanError::NotInLayout { home: "parameters", name: "more".to_owned() }));
}

#[test]
fn a_value_larger_than_a_binding_is_refused_with_the_batch_that_fits() {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([1]));
    let y = graph.scoped("stem", |graph| graph.apply_one(Take(40 << 20), &[x])).expect("shapes fit");
    graph.output("y", y);
    let refused = try_plan(&graph, &Capabilities::portable(), true).expect_err("160 MiB do not fit 128 MiB");
    assert_eq!(
        refused.to_string(),
        "take at stem: its output is f32 [41943040], 167772160 bytes, and a binding of this machine holds 134217728: \
         a first axis (batch) of at most 33554432 fits"
    );
    let mut graph = Graph::new();
    let x = graph.input("images", Tensor::f32([64, 1024, 1024, 3]));
    graph.output("x", x);
    let refused = try_plan(&graph, &Capabilities::portable(), true).expect_err("768 MiB do not fit 256 MiB");
    let said = "a buffer of this machine holds 268435456: a first axis (batch) of at most 21 fits";
    assert!(refused.to_string().ends_with(said), "{refused}");
    let mut graph = Graph::new();
    let x = graph.input("images", Tensor::f32([2, usize::MAX / 8, 4]));
    graph.output("x", x);
    let refused = try_plan(&graph, &Capabilities::portable(), true).expect_err("nothing holds this");
    assert!(refused.to_string().ends_with("not even a first axis (batch) of 1 fits"), "{refused}");
}

#[test]
fn updates_keep_their_laws() {
    let plan = |build: &dyn Fn(&mut Graph, Value, Value) -> Result<(), GraphError>| {
        let mut graph = Graph::new();
        let x = graph.input("x", Tensor::f32([8]));
        let stored = graph.stored("parameters", "weight", Tensor::f32([8])).expect("a new name");
        build(&mut graph, x, stored).expect("shapes fit");
        match try_plan(&graph, &Capabilities::portable(), true) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let fine = plan(&|graph, x, stored| {
        let y = graph.apply_one(Add, &[x, stored])?;
        graph.apply_one(Decay, &[stored, y]).map(|_| ())
    });
    assert_eq!(fine, "");
    let twice = plan(&|graph, x, stored| {
        graph.apply_one(Decay, &[stored, x])?;
        graph.apply_one(Decay, &[stored, x]).map(|_| ())
    });
    assert_eq!(twice, "decay: updates parameters `weight` a second time, after decay");
    let late = plan(&|graph, x, stored| {
        let flat = graph.apply_one(Flat, &[stored])?;
        graph.apply_one(Decay, &[stored, x])?;
        let y = graph.apply_one(Add, &[x, flat])?;
        graph.output("y", y);
        Ok(())
    });
    assert_eq!(late, "add: reads parameters `weight` as it was before decay updated it");
    let old = plan(&|graph, x, stored| {
        graph.apply_one(Decay, &[stored, x])?;
        graph.output("old", stored);
        Ok(())
    });
    assert_eq!(old, "output `old`: is parameters `weight` as it was before decay updated it");
    let itself = plan(&|graph, _, stored| graph.apply_one(Decay, &[stored, stored]).map(|_| ()));
    assert_eq!(itself, "decay: reads parameters `weight` as it was before decay updated it");
    let input = plan(&|graph, x, _| graph.apply_one(Decay, &[x, x]).map(|_| ()));
    assert_eq!(input, "decay: updates f32 [8], which is no stored tensor; declare it with Graph::stored");
    let home = plan(&|graph, _, stored| {
        let other = graph.stored("parameters", "other", Tensor::f32([8]))?;
        graph.apply_one(Decay, &[stored, other]).map(|_| ())
    });
    assert!(home.contains("read and write the home `parameters` in one dispatch"), "{home}");
}

#[test]
fn kernels_fit_the_workgroups_of_the_machine() {
    let plan = planned(&small().expect("shapes fit"), true);
    let machine = Capabilities::portable();
    assert_eq!(plan.check_workgroups(&machine), Ok(()));
    let narrow = Capabilities { max_workgroup: 128, ..machine.clone() };
    let refused = plan.check_workgroups(&narrow).expect_err("the plan was made for 256 lanes");
    assert!(refused.to_string().contains("has 256 lanes a workgroup, and the machine offers 128"), "{refused}");
}

/// An op whose recording is what a test says.
#[derive(Clone, Debug)]
struct Recorded(fn(&Io<'_>, &mut Recording));

impl Op for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(inputs.to_vec())
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        (self.0)(io, out);
    }
}

impl Maths for Recorded {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        inputs.iter().map(|&input| input.clone()).collect()
    }
}

/// A call whose kernel, bindings and grid are free.
fn call(out: &mut Recording, kernel: &'static Interface, views: Vec<View>, grid: [u32; 3]) {
    out.dispatches.push(Dispatch { kernel, variant: Variant::default(), params: vec![], views, grid: Grid(grid) });
}

static COPY: Interface = Interface {
    name: "test/copy",
    source: "",
    pieces: &[],
    params: &[],
    bindings: &[("x", Access::Read), ("y", Access::Write)],
};
static NINE: Interface =
    Interface { name: "test/nine", source: "", pieces: &[], params: &[], bindings: &[("x", Access::Read); 9] };

#[test]
fn recordings_that_break_a_limit_are_refused_by_name() {
    let refusal = |record: fn(&Io<'_>, &mut Recording)| {
        let mut graph = Graph::new();
        let x = graph.input("x", Tensor::f32([8, 4]));
        let y = graph.scoped("stem", |graph| graph.apply_one(Recorded(record), &[x])).expect("shapes fit");
        graph.output("y", y);
        match try_plan(&graph, &Capabilities::portable(), true) {
            Ok(plan) => plan.check_workgroups(&Capabilities::portable()).expect_err("no text at all").to_string(),
            Err(error) => error.to_string(),
        }
    };
    let found = refusal(|_, out| call(out, &COPY, vec![View::Input(0), View::Output(0)], [65_536, 1, 1]));
    assert!(found.starts_with("recorded at stem: test/copy asks for [65536, 1, 1] workgroups"), "{found}");
    let found = refusal(|_, out| call(out, &COPY, vec![View::Input(0), View::Output(0)], [1, 0, 1]));
    assert!(found.contains("[1, 0, 1]"), "{found}");
    let found = refusal(|_, out| call(out, &NINE, vec![View::Input(0); 9], [1; 3]));
    assert_eq!(found, "recorded at stem: test/nine has 9 storage bindings, and WebGPU promises 8; split the kernel");
    let found = refusal(|_, out| call(out, &COPY, vec![View::Output(0), View::Output(0)], [1; 3]));
    assert!(found.contains("would read and write slot 0 in one dispatch"), "{found}");
    let found = refusal(|_, out| call(out, &COPY, vec![View::Input(1), View::Output(0)], [1; 3]));
    assert!(found.contains("binds Input(1), which it does not have"), "{found}");
    let found = refusal(|_, out| call(out, &COPY, vec![View::Output(0)], [1; 3]));
    assert!(found.contains("takes 2 bindings and 0 parameters and was given 1 bindings"), "{found}");
    let found = refusal(|_, out| {
        let large = out.scratch(64 << 20);
        call(out, &COPY, vec![View::Input(0), large], [1; 3]);
    });
    assert!(found.contains("its scratch memory is 268435456 bytes"), "{found}");
    assert!(found.ends_with("a first axis (batch) of at most 4 fits"), "{found}");
}
