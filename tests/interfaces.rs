//! Every twin agrees with its WGSL, in every permutation, as far as SPIR-V, MSL and HLSL. No GPU.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Arguments, Failed, Trial};
use naga::back::{hlsl, msl, spv};
use vistok::graph::{Graph, Io, Tensor};
use vistok::kernel::{
    Capabilities, Elem, Fragment, Interface, Recording, Reflection, Text, Variant, compose, disagreements, permutations,
};
use vistok::ops;

fn main() {
    let arguments = Arguments::from_args();
    let trials = builds().into_iter().flat_map(|(name, (interface, variants))| {
        variants.into_iter().map(move |variant| {
            Trial::test(format!("{name} [{variant}]"), move || check(interface, &variant).map_err(Failed::from))
        })
    });
    let mut trials: Vec<Trial> = trials.collect();
    trials.push(Trial::test("a wrong twin is noticed", || wrong_twins_are_noticed().map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every build to check: all permutations at default constants, and what the cases record on several machines.
fn builds() -> BTreeMap<&'static str, (&'static Interface, Vec<Variant>)> {
    let mut builds: BTreeMap<_, (_, Vec<Variant>)> = BTreeMap::new();
    for machine in machines() {
        for case in ops::cases() {
            for elem in [Elem::F32, Elem::F16] {
                let (mut graph, inputs) = case.graph(elem).expect("a case's shapes fit");
                if case.has_gradient {
                    let outputs = graph.nodes()[0].outputs.clone();
                    let seeds: Vec<_> = case.seeds.iter().map(|&at| (outputs[at], outputs[at])).collect();
                    ops::gradients(&mut graph, &seeds, &inputs).expect("a case has gradients");
                }
                for recorded in record(&graph, &machine).dispatches {
                    let entry = builds.entry(recorded.kernel.name).or_insert((recorded.kernel, Vec::new()));
                    entry.1.push(recorded.variant);
                }
            }
        }
    }
    for (interface, variants) in builds.values_mut() {
        variants.extend(permutations(interface).expect("pieces exist"));
        variants.sort();
        variants.dedup();
    }
    builds
}

fn machines() -> [Capabilities; 4] {
    let portable = Capabilities::portable();
    let nvidia = Capabilities {
        fragment: Some(Fragment::Sixteen),
        subgroup: Some(32),
        max_workgroup: 1024,
        max_workgroup_bytes: 48 << 10,
        ..Capabilities::portable()
    };
    let software = Capabilities { software: true, ..Capabilities::portable() };
    let newer = Capabilities {
        fragment: Some(Fragment::Eight),
        subgroup: Some(8),
        max_workgroup_bytes: 32 << 10,
        ..software.clone()
    };
    [portable, nvidia, software, newer]
}

fn record(graph: &Graph, machine: &Capabilities) -> Recording {
    let mut out = Recording::default();
    for node in graph.nodes() {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|&value| graph.tensor(value).clone()).collect();
        let outputs: Vec<Tensor> = node.outputs.iter().map(|&value| graph.tensor(value).clone()).collect();
        node.op.record(&Io { inputs: &inputs, outputs: &outputs, machine }, &mut out);
    }
    out
}

fn check(interface: &'static Interface, variant: &Variant) -> Result<(), String> {
    let text = compose(interface, variant).map_err(|error| error.to_string())?;
    let reflection = Reflection::of(&text)?;
    let found = disagreements(interface, &reflection);
    if !found.is_empty() {
        return Err(found.join("\n"));
    }
    translate(&text, &reflection)
}

/// naga's validator accepts modules on which its writers panic, so every build goes as far as a shading language.
fn translate(text: &Text, reflection: &Reflection) -> Result<(), String> {
    let Reflection { module, info } = reflection;
    let caught = |what: &str, write: &dyn Fn() -> Result<(), String>| {
        catch_unwind(AssertUnwindSafe(write))
            .unwrap_or_else(|_| Err("panicked".to_owned()))
            .map_err(|e| format!("{what}: {e}"))
    };
    caught("SPIR-V", &|| {
        let options = spv::Options { lang_version: (1, 6), ..Default::default() };
        spv::write_vec(module, info, &options, None).map(|_| ()).map_err(|e| e.to_string())
    })?;
    caught("MSL", &|| {
        let options = msl::Options { lang_version: (3, 1), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .map(|_| ())
            .map_err(|e| e.to_string())
    })?;
    if text.wgsl.contains("coop_mat") {
        return Ok(()); // HLSL has no cooperative matrices; Direct3D machines report none, so none is built there.
    }
    caught("HLSL", &|| {
        let options =
            hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        let mut out = String::new();
        hlsl::Writer::new(&mut out, &options, &pipeline)
            .write(module, info, None)
            .map(|_| ())
            .map_err(|e| e.to_string())
    })
}

/// The check itself is checked: swapped reads, a renamed parameter and a binding too many must each be named.
fn wrong_twins_are_noticed() -> Result<(), String> {
    use vistok::kernel::Access::{Read, Write};
    let (right, variants) = builds().remove("add/forward").ok_or("add/forward is not recorded")?;
    let text = compose(right, &variants[0]).map_err(|error| error.to_string())?;
    let reflection = Reflection::of(&text)?;
    let twins = [
        Interface { bindings: &[("b", Read), ("a", Read), ("y", Write)], ..*right },
        Interface { bindings: &[("a", Read), ("b", Read), ("y", Read)], ..*right },
        Interface { params: &[("length", "u32")], ..*right },
        Interface { params: &[("count", "f32")], ..*right },
    ];
    match twins.iter().position(|twin| disagreements(twin, &reflection).len() != 1) {
        None => Ok(()),
        Some(at) => Err(format!("wrong twin {at} passed")),
    }
}
