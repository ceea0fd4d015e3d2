//! Translations as files, for validators outside this crate.

use std::fs;
use std::io;
use std::path::Path;

use vistok::kernel::{Access, Text};
use vistok::verify::Build;

use super::translate::Spirv;

/// The list of what stands in a folder of translations.
const INDEX: &str = "index.tsv";

/// Makes `folder` new, with a list of what will stand there: a line a build, its number first, then what it needs and
/// binds, then its name. A folder that holds anything else is left alone.
pub(crate) fn begin(folder: &Path, builds: &[Build]) -> io::Result<()> {
    if folder.join(INDEX).exists() {
        fs::remove_dir_all(folder)?;
    } else if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(io::Error::other(format!("{} holds something else than translations", folder.display())));
    }
    fs::create_dir_all(folder)?;
    let lines = builds.iter().enumerate().map(|(number, build)| line(number, build));
    let lines: Vec<String> = lines.collect::<Result<_, _>>().map_err(io::Error::other)?;
    fs::write(folder.join(INDEX), lines.concat())
}

fn line(number: usize, build: &Build) -> Result<String, String> {
    let (text, reflection) = build.check().map_err(|fault| fault.to_string())?;
    let uses = |feature: &str| text.wgsl.contains(&format!("enable {feature};"));
    // WebGPU's default limits: what every browser offers.
    let fits = reflection.workgroup_lanes() <= 256 && reflection.workgroup_bytes() <= 16 << 10;
    let needs = [(uses("f16"), "f16"), (uses("wgpu_cooperative_matrix"), "cooperative"), (!fits, "large")];
    let needs: Vec<&str> = needs.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect();
    let params = if build.kernel.params.is_empty() { "-" } else { "u" };
    let bindings = build.kernel.bindings.iter().map(|(_, access)| match access {
        Access::Read => 'r',
        Access::Write => 'w',
    });
    let bindings: String = bindings.collect();
    Ok(format!("{number}\t{}\t{params}{bindings}\t{build}\n", needs.join(",")))
}

/// Writes one build's files.
pub(crate) fn write(folder: &Path, number: usize, text: &Text, spirv: &Spirv) -> io::Result<()> {
    fs::write(folder.join(format!("{number}.wgsl")), &text.wgsl)?;
    spirv.iter().try_for_each(|(way, words)| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(folder.join(format!("{number}.{way}.spv")), bytes)
    })
}
