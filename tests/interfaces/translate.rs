//! One build into every shading language that naga writes, as wgpu's backends ask for it.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use naga::back::spv::Capability;
use naga::back::{glsl, hlsl, msl, spv, wgsl};
use naga::compact::{KeepUnused, compact};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::{FastHashSet, Module, Scalar, ShaderStage};
use vistok::kernel::{Reflection, Text};

/// What a driver is given, under the name that its file gets.
pub(crate) type Spirv = Vec<(&'static str, Vec<u32>)>;

/// How wgpu has a module translated.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// wgpu's runtime checks.
    checks: bool,
    /// Whether naga clamps the indices of buffers, as on Vulkan drivers that do not (no robustBufferAccess2).
    clamps: bool,
}

const WAYS: [Way; 3] = [
    Way { name: "unchecked", checks: false, clamps: false },
    Way { name: "checked", checks: true, clamps: false },
    Way { name: "clamped", checks: true, clamps: true },
];

/// Translates a build into everything; returns its SPIR-V.
///
/// naga's validator accepts modules on which its writers panic, so every build goes all the way.
pub(crate) fn everywhere(text: &Text, reflection: &Reflection) -> Result<Spirv, String> {
    let cooperative = text.wgsl.contains("enable wgpu_cooperative_matrix;");
    let mut written = Spirv::new();
    for way in WAYS {
        written.push((way.name, guarded("SPIR-V", way, || spirv(reflection, way))?));
        guarded("MSL", way, || metal(reflection, way))?;
        // HLSL has no cooperative matrices; Direct3D machines report none, so none is built there.
        if !cooperative {
            guarded("HLSL", way, || direct3d(reflection, way))?;
        }
        opengl(reflection, way)?;
    }
    let again = guarded("WGSL", WAYS[0], || {
        wgsl::write_string(&reflection.module, &reflection.info, wgsl::WriterFlags::empty())
    })?;
    came_back(reflection, &again)?;
    Ok(written)
}

fn guarded<T, E: Display>(what: &str, way: Way, write: impl Fn() -> Result<T, E>) -> Result<T, String> {
    let written = catch_unwind(AssertUnwindSafe(|| write().map_err(|error| error.to_string())));
    written.unwrap_or_else(|_| Err("panicked".to_owned())).map_err(|e| format!("{what}, {}: {e}", way.name))
}

impl Way {
    /// `buffer`: whether the indices of buffers are naga's to clamp.
    fn policies(self, buffer: bool) -> BoundsCheckPolicies {
        let clamp = |clamps| if clamps { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
        BoundsCheckPolicies { index: clamp(self.checks), buffer: clamp(buffer), ..BoundsCheckPolicies::default() }
    }
}

/// As wgpu-hal's Vulkan backend does it for a device with every feature that we ask for (`compile_stage`).
fn spirv(reflection: &Reflection, way: Way) -> Result<Vec<u32>, spv::Error> {
    let capabilities: FastHashSet<Capability> = [
        Capability::Shader,
        Capability::Matrix,
        Capability::Float16,
        Capability::CooperativeMatrixKHR,
        Capability::GroupNonUniform,
        Capability::GroupNonUniformArithmetic,
        Capability::GroupNonUniformShuffle,
        Capability::VulkanMemoryModel,
    ]
    .into_iter()
    .collect();
    let mut bound: Vec<naga::ResourceBinding> =
        reflection.module.global_variables.iter().filter_map(|(_, variable)| variable.binding).collect();
    bound.sort();
    // wgpu numbers the bindings of a layout anew, from 0 without gaps.
    let dense = bound.into_iter().zip(0u32..).map(|(from, binding)| {
        (from, spv::BindingInfo { descriptor_set: from.group, binding, binding_array_size: None })
    });
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        binding_map: dense.collect(),
        capabilities: Some(capabilities),
        bounds_check_policies: way.policies(way.clamps),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: way.checks,
        emit_int_div_checks: way.checks,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_owned() };
    spv::write_vec(&reflection.module, &reflection.info, &options, Some(&pipeline))
}

fn metal(reflection: &Reflection, way: Way) -> Result<String, msl::Error> {
    let options = msl::Options {
        lang_version: (3, 1),
        fake_missing_bindings: true,
        bounds_check_policies: way.policies(way.checks),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: way.checks,
        emit_int_div_checks: way.checks,
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".to_owned())),
        ..msl::PipelineOptions::default()
    };
    msl::write_string(&reflection.module, &reflection.info, &options, &pipeline).map(|(text, _)| text)
}

fn direct3d(reflection: &Reflection, way: Way) -> Result<String, hlsl::Error> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: way.checks,
        force_loop_bounding: way.checks,
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".to_owned())) };
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &pipeline).write(&reflection.module, &reflection.info, None)?;
    Ok(out)
}

/// GLSL ES 3.1 has neither f16 nor cooperative matrices (which multiply f16): those builds must be refused for that
/// reason, and all others be written.
fn opengl(reflection: &Reflection, way: Way) -> Result<(), String> {
    let write = || {
        let options = glsl::Options { zero_initialize_workgroup_memory: false, ..glsl::Options::default() };
        let pipeline = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: "main".to_owned(),
            multiview: None,
        };
        let (module, info, mut out) = (&reflection.module, &reflection.info, String::new());
        glsl::Writer::new(&mut out, module, info, &options, &pipeline, way.policies(way.checks))?.write()?;
        Ok::<String, glsl::Error>(out)
    };
    let written = guarded("GLSL ES", way, write);
    match (holds_f16(&reflection.module), written) {
        (false, written) => written.map(|_| ()),
        (true, Err(why)) if why.contains("A scalar with an unsupported width") => Ok(()),
        (true, Err(why)) => Err(format!("refused, but not for its f16: {why}")),
        (true, Ok(_)) => Err("GLSL ES, which has no f16, was written from a build with f16".to_owned()),
    }
}

/// Whether anything that runs is f16: a text may make `elem` f16 and then have no use for it.
fn holds_f16(module: &Module) -> bool {
    let mut used = module.clone();
    compact(&mut used, KeepUnused::No);
    used.types.iter().any(|(_, ty)| ty.inner.scalar().is_some_and(|scalar| scalar == Scalar::F16))
}

/// WGSL that naga wrote must be WGSL to naga, and bind, use and share out the same as what it was written from.
fn came_back(before: &Reflection, wgsl: &str) -> Result<(), String> {
    let text = Text { wgsl: wgsl.to_owned(), constants: std::collections::BTreeMap::new() };
    let after = Reflection::of(&text).map_err(|error| format!("WGSL that naga wrote: {error}"))?;
    let (before, after) = (outside(before), outside(&after));
    if before == after { Ok(()) } else { Err(format!("WGSL that naga wrote:\n  {before}\nbecame\n  {after}")) }
}

/// What a module shows to the outside, but for names: naga gives new ones where two would meet.
fn outside(one: &Reflection) -> String {
    let entry = one.info.get_entry_point(0);
    let mut bindings: Vec<String> = Vec::new();
    for (handle, variable) in one.module.global_variables.iter() {
        let Some(at) = &variable.binding else { continue };
        let bytes = one.module.types[variable.ty].inner.size(one.module.to_ctx());
        bindings.push(format!("{at:?} {:?} {bytes} bytes {:?}", variable.space, entry[handle]));
    }
    bindings.sort();
    format!("{} lanes, {} bytes shared, {bindings:?}", one.workgroup_lanes(), one.workgroup_bytes())
}

/// The check itself is checked: another size of workgroup, a binding that is only read now, and a text cut off.
pub(crate) fn changes_are_noticed() -> Result<(), String> {
    let builds = vistok::verify::builds(&vistok::ops::cases()).map_err(|fault| fault.to_string())?;
    let build = builds.iter().find(|build| build.kernel.name == "add/forward").ok_or("add/forward is not recorded")?;
    let (_, reflection) = build.check().map_err(|fault| fault.to_string())?;
    let wgsl = wgsl::write_string(&reflection.module, &reflection.info, wgsl::WriterFlags::empty())
        .map_err(|error| error.to_string())?;
    came_back(&reflection, &wgsl)?;
    let size = format!("@workgroup_size({},", reflection.workgroup_lanes());
    let changed = [
        wgsl.replace(&size, "@workgroup_size(7,"),
        wgsl.replacen("var<storage> ", "var<storage, read_write> ", 1),
        wgsl[..wgsl.len() / 2].to_owned(),
    ];
    match changed.iter().position(|wgsl| came_back(&reflection, wgsl).is_ok()) {
        None => Ok(()),
        Some(at) => Err(format!("change {at} passed in\n{wgsl}")),
    }
}
