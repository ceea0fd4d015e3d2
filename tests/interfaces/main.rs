//! Every twin agrees with its WGSL, in every permutation, and every permutation translates to SPIR-V, MSL, HLSL, GLSL ES
//! and WGSL. No GPU.
//!
//! With `VISTOK_TRANSLATIONS=FOLDER` SPIR-V and WGSL are written there as well, for `cargo xtask check`.

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::kernel::{Interface, Reflection, disagreements};
use vistok::ops;
use vistok::verify::{Build, builds};

mod translate;
mod write;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os("VISTOK_TRANSLATIONS").map(PathBuf::from);
    let builds = builds(&ops::cases()).expect("the cases' shapes fit, and all pieces exist");
    if let Some(folder) = folder.as_ref().filter(|_| !arguments.list) {
        write::begin(folder, &builds).expect("the folder of VISTOK_TRANSLATIONS can be written");
    }
    let trials = builds.into_iter().enumerate().map(|(number, build)| {
        let folder = folder.clone();
        Trial::test(build.to_string(), move || Ok(check(&build, number, folder)?))
    });
    let mut trials: Vec<Trial> = trials.collect();
    trials.push(Trial::test("a wrong twin is noticed", || wrong_twins_are_noticed().map_err(Failed::from)));
    trials.push(Trial::test("a text that changes on its way is noticed", || Ok(translate::changes_are_noticed()?)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn check(build: &Build, number: usize, folder: Option<PathBuf>) -> Result<(), String> {
    let (text, reflection) = build.check().map_err(|fault| fault.to_string())?;
    let spirv = translate::everywhere(&text, &reflection)?;
    match folder {
        None => Ok(()),
        Some(folder) => write::write(&folder, number, &text, &spirv).map_err(|error| error.to_string()),
    }
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
        None => misaligning_variables_are_noticed(&builds),
        Some(at) => Err(format!("wrong twin {at} passed")),
    }
}

/// A cooperative kernel with four bytes of workgroup memory more must be named, and a scalar one let be.
fn misaligning_variables_are_noticed(builds: &[Build]) -> Result<(), String> {
    for cooperative in [true, false] {
        let is_meant =
            |build: &&Build| build.kernel.name == "matmul/multiply" && build.variant.is_cooperative() == cooperative;
        let build = builds.iter().find(is_meant).ok_or("matmul/multiply is not recorded")?;
        let (mut text, _) = build.check().map_err(|fault| fault.to_string())?;
        text.wgsl.push_str("\nvar<workgroup> odd: u32;\n");
        let found = disagreements(build.kernel, &Reflection::of(&text)?);
        if found.len() != usize::from(cooperative) {
            return Err(format!("with 4 bytes of workgroup memory, {found:?} was found in {build}"));
        }
    }
    Ok(())
}
