//! Every twin agrees with its WGSL, in every permutation, as far as SPIR-V, MSL and HLSL. No GPU.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Arguments, Failed, Trial};
use naga::back::{hlsl, msl, spv};
use vistok::kernel::{Interface, Reflection, Text, disagreements};
use vistok::ops;
use vistok::verify::{Build, builds};

fn main() {
    let arguments = Arguments::from_args();
    let builds = builds(&ops::cases()).expect("the cases' shapes fit, and all pieces exist");
    let trials =
        builds.into_iter().map(|build| Trial::test(build.to_string(), move || check(&build).map_err(Failed::from)));
    let mut trials: Vec<Trial> = trials.collect();
    trials.push(Trial::test("a wrong twin is noticed", || wrong_twins_are_noticed().map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(build: &Build) -> Result<(), String> {
    let (text, reflection) = build.check().map_err(|fault| fault.to_string())?;
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
    let builds = builds(&ops::cases()).map_err(|fault| fault.to_string())?;
    let build = builds.iter().find(|build| build.kernel.name == "add/forward").ok_or("add/forward is not recorded")?;
    let (right, (_, reflection)) = (build.kernel, build.check().map_err(|fault| fault.to_string())?);
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
