//! Devices of a host that offer less: no timestamps inside passes, no memory; and workgroups too large.

use libtest_mimic::Failed;
use vistok::gpu::{Checks, Device, Error, Executor, Homes, Pipelines};
use vistok::graph::{Graph, Tensor};
use vistok::plan::{Layout, Options, Plan};
use vistok::wgpu;

use super::programs::program;
use super::{Bench, Outcome, ensure, fill};

/// A device on the bench's own adapter, opened as a host would, with what is left of its features.
fn adopted(bench: &Bench, percent_of_memory: Option<u8>, without: wgpu::Features) -> Result<Bench, Failed> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    descriptor.memory_budget_thresholds.for_resource_creation = percent_of_memory;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let same = |adapter: &wgpu::Adapter| adapter.get_info().name == bench.device.info().name;
    let adapter = adapters.into_iter().find(same).ok_or("the adapter is gone")?;
    let (features, limits) = Device::wants(&adapter);
    let features = features.difference(without | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    let descriptor =
        wgpu::DeviceDescriptor { required_features: features, required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let device = Device::adopt(&adapter, device, queue, Checks::Off)?;
    Ok(Bench { pipelines: Pipelines::new(&device, None), device })
}

pub(crate) fn times_in_passes_of_their_own(bench: &Bench) -> Outcome {
    let graph = program(11, 60)?;
    let bench = adopted(bench, None, wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)?;
    let executor = bench.executor(&graph, true)?;
    fill(&executor, &graph)?;
    let times = executor.run_timed()?;
    ensure(times.len() == executor.plan().steps().len(), || "steps without a time".to_owned())?;
    ensure(times.iter().any(|time| time.nanoseconds > 0), || "no step takes time".to_owned())?;
    let bench = adopted(&bench, None, wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)?;
    let executor = bench.executor(&graph, true)?;
    let whole = executor.run_timed_whole().map(|_| Vec::new());
    for timed in [executor.run_timed(), whole] {
        ensure(timed.is_err_and(|error| error.to_string().contains("no timestamps")), || "timed".to_owned())?;
    }
    Ok(())
}

/// A device with a budget of no memory at all, where the driver keeps budgets (lavapipe 22.3 does not).
pub(crate) fn without_memory(bench: &Bench) -> Option<Bench> {
    let poor = adopted(bench, Some(0), wgpu::Features::empty()).ok()?;
    let device = &poor.device.device;
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let usage = wgpu::BufferUsages::STORAGE;
    let descriptor = wgpu::BufferDescriptor { label: Some("probe"), size: 1 << 20, usage, mapped_at_creation: false };
    let _ = device.create_buffer(&descriptor);
    pollster::block_on(scope.pop()).map(|_| poor)
}

pub(crate) fn memory_that_does_not_suffice_is_named(bench: &Bench) -> Outcome {
    let poor = without_memory(bench).ok_or("the driver keeps no budget")?;
    let mut graph = Graph::new();
    graph.stored("parameters", "weight", Tensor::f32([1 << 20]))?;
    let error = Homes::new(&poor.device, &Layout::of(&[&graph], 256)?).err().ok_or("memory beyond the budget")?;
    let told = error.to_string();
    ensure(matches!(error, Error::OutOfMemory { bytes: 4_194_304, .. }), || told.clone())?;
    ensure(told.contains("the home `parameters`"), || told)
}

pub(crate) fn buffers_beyond_the_limit_are_refused() -> Outcome {
    let device = Device::rehearsal()?;
    let most = usize::try_from(device.device.limits().max_buffer_size)?;
    let mut graph = Graph::new();
    graph.stored("parameters", "weight", Tensor::f32([most / 4]))?;
    graph.stored("parameters", "more", Tensor::f32([1]))?;
    let error = Homes::new(&device, &Layout::of(&[&graph], 256)?).err().ok_or("a buffer beyond the limit")?.to_string();
    let words = "for the home `parameters`: a buffer of this device holds at most";
    ensure(error.contains(words), || error.clone())
}

pub(crate) fn large_workgroups_are_refused(bench: &Bench) -> Outcome {
    let graph = super::programs::greedy(bench.device.capabilities().max_workgroup_bytes)?;
    let layout = Layout::of(&[&graph], 256)?;
    let plan = Plan::new(&graph, &layout, bench.device.capabilities(), Options::default())?;
    let told = plan.check_workgroups(bench.device.capabilities()).err().ok_or("the plan takes it")?.to_string();
    ensure(told.contains("bytes of workgroup memory, and the machine offers"), || told)?;
    let homes = Homes::new(&bench.device, &layout)?;
    let error = Executor::new(&bench.device, &bench.pipelines, plan, &homes).err().ok_or("the device takes it")?;
    ensure(error.to_string().contains("bytes of workgroup memory, and the device offers"), || error.to_string())
}

/// Has the driver compile, and never run, a workgroup with more memory than it offers: wgpu 30 lets that through.
pub(crate) fn plants(bench: &Bench) -> Outcome {
    let words = bench.device.capabilities().max_workgroup_bytes / 4 + 64;
    let text = format!(
        "@group(0) @binding(0) var<storage, read_write> y: array<u32>;\nvar<workgroup> large: array<u32, {words}>;\n\
         @compute @workgroup_size(1) fn main() {{ large[y[0]] = 1u; y[0] = large[y[1]]; }}"
    );
    let device = &bench.device.device;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("planted"),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let _ = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("planted"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[],
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Ok(())
}
