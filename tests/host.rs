//! Devices of a host that offer less than ours would, and buffers that do not fit: errors in words, never a panic.
//!
//! Without an adapter these tests are listed as ignored; with `REQUIRE_GPU=1` they fail.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Bare, Checks, Device, Error, Executor, Homes, HostBuffer, OpenOptions, Pipelines};
use vistok::graph::{Graph, Tensor};
use vistok::kernel::{Elem, Grid, Recording, Variant, View};
use vistok::ops::{Conv2d, Map, MatMul};
use vistok::plan::{Layout, Options, Plan};
use vistok::wgpu;

type Outcome = Result<(), Failed>;
type Check = (&'static str, fn() -> Outcome);

const CHECKS: [Check; 8] = [
    ("a device without any feature computes in f32", without_features),
    ("f16 on a device without is refused by name", f16_without),
    ("a device below WebGPU's defaults is refused", below_the_defaults),
    ("small bindings and buffers are refused by name", small_memory),
    ("buffers that do not fit are refused", wrong_buffers),
    ("faults of the host are told, and do not end the process", faults_are_told),
    ("two kernels of one name are two kernels", one_name),
    ("opening and reading need not block", asynchronous),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let present = Device::open(&options()).map(|_| ()).map_err(|error| error.to_string());
    let trials = CHECKS.map(|(name, check)| match &present {
        Ok(()) => Trial::test(name, check),
        Err(reason) if required => {
            let reason = reason.clone();
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        Err(_) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn options() -> OpenOptions {
    OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(what())) }
}

/// Whether something was refused in these words.
fn refused<T, E: std::fmt::Display>(result: Result<T, E>, words: &str) -> Outcome {
    match result {
        Ok(_) => Err(Failed::from(format!("taken, and not refused with `{words}`"))),
        Err(error) => ensure(error.to_string().contains(words), || format!("`{words}` is not in `{error}`")),
    }
}

/// A host's device with these features and limits, not adopted yet.
fn open(features: wgpu::Features, limits: wgpu::Limits) -> Result<(wgpu::Adapter, wgpu::Device, wgpu::Queue), Failed> {
    let wanted = Device::open(&options())?.info().name.clone();
    let adapters = pollster::block_on(vistok::gpu::adapters());
    let adapter = adapters.into_iter().find(|adapter| adapter.get_info().name == wanted).ok_or("no adapter")?;
    let descriptor =
        wgpu::DeviceDescriptor { required_features: features, required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    Ok((adapter, device, queue))
}

fn adopted(features: wgpu::Features, limits: wgpu::Limits) -> Result<Result<Device, Error>, Failed> {
    let (adapter, device, queue) = open(features, limits)?;
    Ok(Device::adopt(&adapter, device, queue, Checks::Off))
}

/// The device of a host that asked for nothing.
fn plain() -> Result<Device, Failed> {
    Ok(adopted(wgpu::Features::empty(), wgpu::Limits::default())??)
}

fn executor(device: &Device, graph: &Graph) -> Result<Executor, Failed> {
    let layout = Layout::of(&[graph], device.capabilities().offset_alignment)?;
    let plan = Plan::new(graph, &layout, device.capabilities(), Options::default())?;
    Ok(Executor::new(device, &Pipelines::new(device, None), plan, &Homes::new(device, &layout)?)?)
}

/// x [4, 4] → relu → y = relu(x) relu(x).
fn square(elem: Elem) -> Result<Graph, Failed> {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::new([4, 4], elem));
    let h = graph.apply_one(Map::Relu, &[x])?;
    let y = graph.apply_one(MatMul { transpose_a: false, transpose_b: false }, &[h, h])?;
    graph.output("y", y);
    Ok(graph)
}

fn without_features() -> Outcome {
    let device = plain()?;
    let offers = device.capabilities();
    ensure(!offers.f16 && offers.fragment.is_none() && offers.subgroup.is_none(), || format!("{offers:?}"))?;
    let executor = executor(&device, &square(Elem::F32)?)?;
    executor.write_f32("x", &[2.0; 16])?;
    executor.run()?;
    let y = executor.read_named("y")?;
    ensure(y == [16.0; 16], || format!("y = {y:?}"))?;
    refused(executor.run_timed(), "no timestamps")
}

fn f16_without() -> Outcome {
    let device = plain()?;
    let graph = square(Elem::F16)?;
    let layout = Layout::of(&[&graph], 256)?;
    let plan = |machine| Plan::new(&graph, &layout, machine, Options::default());
    refused(plan(device.capabilities()), "input `x` is f16 [4, 4], and this machine has no f16")?;
    // A plan made for another machine is refused where its kernels are compiled.
    let foreign = plan(&vistok::kernel::Capabilities::portable())?;
    let pipelines = Pipelines::new(&device, None);
    refused(Executor::new(&device, &pipelines, foreign, &Homes::new(&device, &layout)?), "does not compile")
}

fn below_the_defaults() -> Outcome {
    let none = wgpu::Features::empty();
    refused(adopted(none, wgpu::Limits::downlevel_webgl2_defaults())?, "offers 0 lanes a workgroup, and 256")?;
    refused(adopted(none, wgpu::Limits::downlevel_defaults())?, "bytes of workgroup memory, and 16384")?;
    let limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() };
    refused(adopted(none, limits)?, "offers 4 storage buffers a shader, and 8 are needed")?;
    let limits = wgpu::Limits { max_compute_workgroups_per_dimension: 1000, ..wgpu::Limits::default() };
    refused(adopted(none, limits)?, "open the device with larger limits (Device::wants has them)")
}

fn small_memory() -> Outcome {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 64 << 10,
        max_uniform_buffer_binding_size: 16 << 10,
        max_buffer_size: 96 << 10,
        ..wgpu::Limits::default()
    };
    let device = adopted(wgpu::Features::empty(), limits)??;
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([2, 32, 32, 16]));
    let weight = graph.stored("parameters", "weight", Tensor::f32([3, 3, 16, 16]))?;
    let y = graph.apply_one(Conv2d { stride: [1, 1], padding: [1, 1], groups: 1 }, &[x, weight])?;
    graph.output("y", y);
    let layout = Layout::of(&[&graph], 256)?;
    let plan = Plan::new(&graph, &layout, device.capabilities(), Options::default());
    refused(plan, "input `x` is f32 [2, 32, 32, 16], 131072 bytes")?;
    let mut graph = Graph::new();
    for name in ["a", "b"] {
        graph.stored("parameters", name, Tensor::f32([16 << 10]))?;
    }
    let homes = Homes::new(&device, &Layout::of(&[&graph], 256)?);
    refused(homes, "for the home `parameters`: a buffer of this device holds at most 98304")?;
    // What fits runs.
    executor(&device, &square(Elem::F32)?)?.run()?;
    Ok(device.wait("running what fits")?)
}

fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("host"), size, usage, mapped_at_creation: false })
}

fn wrong_buffers() -> Outcome {
    let device = plain()?;
    let mut executor = executor(&device, &square(Elem::F32)?)?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    let right = HostBuffer { buffer: buffer(&device.device, 512, usage), offset: 256, tensor: Tensor::f32([4, 4]) };
    let mut wrong = |host: HostBuffer, words: &str| refused(executor.bind_input("x", host), words);
    wrong(HostBuffer { tensor: Tensor::f32([16]), ..right.clone() }, "takes f32 [4, 4] and the buffer holds f32 [16]")?;
    wrong(HostBuffer { tensor: Tensor::new([4, 4], Elem::F16), ..right.clone() }, "holds f16 [4, 4]")?;
    wrong(HostBuffer { offset: 512, ..right.clone() }, "needs 64 bytes")?;
    wrong(HostBuffer { offset: u64::MAX - 255, ..right.clone() }, "needs 64 bytes")?;
    wrong(HostBuffer { offset: 4, ..right.clone() }, "the offset 4 is no multiple of")?;
    wrong(HostBuffer { buffer: buffer(&device.device, 64, usage), ..right.clone() }, "the buffer has 64")?;
    let unusable = buffer(&device.device, 512, wgpu::BufferUsages::COPY_DST);
    wrong(HostBuffer { buffer: unusable, ..right.clone() }, "lacks the usage STORAGE")?;
    let (_, other, _) = open(wgpu::Features::empty(), wgpu::Limits::default())?;
    // A buffer of another device: its number may be one of ours, or unknown here; either way it is refused.
    wrong(HostBuffer { buffer: buffer(&other, 512, usage), ..right.clone() }, "binding ")?;
    refused(executor.bind_input("z", right.clone()), "the plan has no such input; it has: x")?;

    device.queue.write_buffer(&right.buffer, 256, bytemuck::cast_slice(&[1.0f32; 16]));
    executor.bind_input("x", right)?;
    executor.run()?;
    let y = executor.read_named("y")?;
    ensure(y == [4.0; 16], || format!("after refusals y = {y:?}"))
}

fn faults_are_told() -> Outcome {
    let device = plain()?;
    let readable = buffer(&device.device, 64, wgpu::BufferUsages::COPY_SRC);
    device.queue.write_buffer(&readable, 0, &[0; 4]);
    refused(device.check("the host's frame"), "the host's frame: ")?;
    device.check("the next one")?;
    device.device.destroy();
    let after = executor(&device, &square(Elem::F32)?).and_then(|executor| {
        executor.run()?;
        Ok(executor.read_named("y")?)
    });
    ensure(after.is_err(), || "a destroyed device computes".to_owned())
}

vistok::kernel! {
    struct Zero = "same/name" text "// y = 0
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = 0.0; }" { params {} read {} write { y } }
}

vistok::kernel! {
    struct One = "same/name" text "// y = 1
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = 1.0; }" { params {} read {} write { y } }
}

/// As two crates may have them that are linked into one program.
fn one_name() -> Outcome {
    let device = plain()?;
    let pipelines = Pipelines::new(&device, None);
    let mut found = Vec::new();
    let (grid, y) = (Grid::of(1), View::Output(0));
    let mut recordings = [Recording::default(), Recording::default()];
    recordings[0].dispatch(&Zero { y }, Variant::default(), grid);
    recordings[1].dispatch(&One { y }, Variant::default(), grid);
    for recording in &recordings {
        let bare = Bare::new(&device, &pipelines, recording, (&[], &[4]), &[])?;
        bare.run(1)?;
        found.push(bare.output(0)?);
    }
    ensure(found == [0.0f32.to_le_bytes(), 1.0f32.to_le_bytes()], || format!("{found:?}"))
}

fn asynchronous() -> Outcome {
    let y = pollster::block_on(async {
        let device = Device::open_async(&options()).await?;
        let graph = square(Elem::F32)?;
        let executor = executor(&device, &graph)?;
        executor.write_f32("x", &[1.0; 16])?;
        executor.run()?;
        let y = graph.find_output("y").ok_or("no y")?;
        Ok::<_, Failed>(executor.read_async(y).await?)
    })?;
    ensure(y == [4.0; 16], || format!("y = {y:?}"))
}
