//! An application that owns its GPU: our network runs between two passes of its own, in its own encoder and buffers.
//!
//! `cargo run --example host_device`. The network is the start of a Visual Transformer: a convolution, batch norm and
//! ReLU, then four learned queries that each gather a visual token from all pixels.

use std::error::Error;

use vistok::gpu::{Checks, Device, Executor, Homes, HostBuffer, Pipelines};
use vistok::graph::{Draw, Graph, GraphError, Source, Tensor, Value, interpret, numbers};
use vistok::ops::{Attend, BatchNormFixed, Conv2d, Map, Reshape};
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::{Array, Random};
use vistok::wgpu;

const SIDE: usize = 32;
const CHANNELS: usize = 16;
const TOKENS: usize = 4;

/// The application's first pass: draws an image. Its numbers are exact, so that the CPU can draw the same.
const DRAW: &str = "
@group(0) @binding(0) var<storage, read_write> image: array<f32>; // [1, 32, 32, 3]
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    image[id.x] = f32(id.x * 37u % 256u) / 256.0;
}";

/// The application's last pass: how long is each token?
const MEASURE: &str = "
@group(0) @binding(0) var<storage, read> tokens: array<f32>; // [1, 4, 16]
@group(0) @binding(1) var<storage, read_write> lengths: array<f32>; // [4]
@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) token: u32) {
    var sum = 0.0;
    for (var c = 0u; c < 16u; c++) {
        sum += tokens[token * 16u + c] * tokens[token * 16u + c];
    }
    lengths[token] = sqrt(sum);
}";

/// What the application has before it ever hears of us.
struct Host {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

fn main() -> Result<(), Box<dyn Error>> {
    run()
}

/// Everything, start to end; an error when the GPU's answer is not the CPU's.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let host = open()?;

    // 1. We adopt the device: it stays the host's, and we take it as it is.
    let device = Device::adopt(&host.adapter, host.device.clone(), host.queue.clone(), Checks::Off)?;
    println!("on {}: {:?}\n", device.info().name, device.capabilities());

    // 2. A graph says what to compute, a plan in which order and memory; an executor holds all that it needs.
    let graph = network()?;
    let layout = Layout::of(&[&graph], device.capabilities().offset_alignment)?;
    let plan = Plan::new(&graph, &layout, device.capabilities(), Options::default())?;
    println!("{plan}");
    let homes = Homes::new(&device, &layout)?;
    for stored in layout.homes().iter().flat_map(|home| &home.tensors) {
        homes.write_f32("parameters", &stored.name, &weights(&stored.name, &stored.tensor).data)?;
    }
    let mut executor = Executor::new(&device, &Pipelines::new(&device, None), plan, &homes)?;

    // 3. The host's own buffers stand for input and output: nothing is copied. The image starts behind a header.
    let image = host.buffer("image", 256, Tensor::f32([1, SIDE, SIDE, 3]));
    let tokens = host.buffer("tokens", 0, Tensor::f32([1, TOKENS, CHANNELS]));
    let lengths = host.buffer("lengths", 0, Tensor::f32([TOKENS]));
    executor.bind_input("image", image.clone())?;
    executor.bind_output("tokens", tokens.clone())?;

    // 4. One encoder: a pass of the host, ours, a pass of the host. The host submits.
    let mut encoder = host.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let numbers = u32::try_from(image.tensor.shape.count())?;
    host.dispatch(&mut encoder, DRAW, &[&image], numbers / 64);
    executor.encode(&mut encoder);
    host.dispatch(&mut encoder, MEASURE, &[&tokens, &lengths], 1);
    host.queue.submit([encoder.finish()]);
    device.check("running in the host's encoder")?;

    // 5. The CPU's interpreter computes the same graph in f64.
    let (found, truth) = (host.read(&lengths)?, lengths_on_the_cpu(&graph)?);
    println!("lengths of the tokens, on the GPU: {found:?}\n                       on the CPU: {truth:?}");
    let near = found.iter().zip(&truth).all(|(found, truth)| (f64::from(*found) - truth).abs() <= 1e-4 * truth.abs());
    if near && found.len() == truth.len() { Ok(()) } else { Err("the GPU and the CPU differ".into()) }
}

/// image [1, 32, 32, 3] → conv2d, batch norm, relu → tokens [1, 4, 16], each a weighted mean of all pixels.
fn network() -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let image = graph.input("image", Tensor::f32([1, SIDE, SIDE, 3]));
    let mut parameter = |name: &str, shape: &[usize]| graph.stored("parameters", name, Tensor::f32(shape));
    let weight = parameter("weight", &[3, 3, 3, CHANNELS])?;
    let gain = parameter("gain", &[CHANNELS])?;
    let bias = parameter("bias", &[CHANNELS])?;
    let mean = parameter("mean", &[CHANNELS])?;
    let variance = parameter("variance", &[CHANNELS])?;
    let queries = parameter("queries", &[1, TOKENS, CHANNELS])?;

    let y = graph.apply_one(Conv2d { stride: [1, 1], padding: [1, 1], groups: 1 }, &[image, weight])?;
    let y = graph.apply_one(BatchNormFixed::new(1e-5), &[y, gain, bias, mean, variance])?;
    let y = graph.apply_one(Map::Relu, &[y])?;
    let pixels = graph.apply_one(Reshape { shape: [1, SIDE * SIDE, CHANNELS].into() }, &[y])?;
    let scale = 1.0 / (CHANNELS as f64).sqrt();
    let tokens = graph.apply_one(Attend { heads: 1, scale }, &[queries, pixels, pixels])?;
    graph.output("tokens", tokens);
    Ok(graph)
}

/// Made-up parameters; a real model reads them from a file.
fn weights(name: &str, tensor: &Tensor) -> Array<f32> {
    let draw = if name == "variance" { Draw::Between(0.5, 1.5) } else { Draw::Between(-1.0, 1.0) };
    numbers(&tensor.shape, draw, &mut Random::named(1, name)).cast()
}

fn lengths_on_the_cpu(graph: &Graph) -> Result<Vec<f64>, GraphError> {
    let leaf = |value: Value, source: &Source| {
        let tensor = graph.tensor(value);
        Ok::<_, GraphError>(match source {
            Source::Stored { name, .. } => weights(name, tensor).cast(),
            _ => Array::from_fn(&tensor.shape, |at| (at * 37 % 256) as f64 / 256.0),
        })
    };
    let arrays = interpret::<f64, _>(graph, leaf)?;
    let tokens = graph.find_output("tokens").ok_or_else(|| GraphError::Name("no tokens".to_owned()))?;
    let length = |token: &[f64]| token.iter().map(|value| value * value).sum::<f64>().sqrt();
    Ok(arrays[tokens.index()].data.chunks(CHANNELS).map(length).collect())
}

/// A device as any application opens it, with what makes us fast added to its own wishes.
fn open() -> Result<Host, Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let own = (wgpu::Features::empty(), wgpu::Limits::default());
    let (features, limits) = Device::wants(&adapter);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("the application's"),
        required_features: own.0 | features,
        required_limits: own.1.or_better_values_from(&limits),
        experimental_features: Device::experimental(features),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    Ok(Host { adapter, device, queue })
}

impl Host {
    /// Room for a tensor from `offset` on: its bytes, rounded up to 16.
    fn buffer(&self, label: &str, offset: u64, tensor: Tensor) -> HostBuffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: offset + (tensor.bytes() as u64).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        HostBuffer { buffer, offset, tensor }
    }

    /// Records a pass of the application's own.
    fn dispatch(&self, encoder: &mut wgpu::CommandEncoder, wgsl: &str, bindings: &[&HostBuffer], groups: u32) {
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let mut entries = Vec::new();
        for (binding, HostBuffer { buffer, offset, tensor }) in (0u32..).zip(bindings.iter().copied()) {
            let size = wgpu::BufferSize::new(tensor.bytes() as u64);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: *offset, size });
            entries.push(wgpu::BindGroupEntry { binding, resource });
        }
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(groups, 1, 1);
    }

    /// Copies a tensor to the CPU and waits for it.
    fn read(&self, host: &HostBuffer) -> Result<Vec<f32>, Box<dyn Error>> {
        let size = host.tensor.bytes() as u64;
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&host.buffer, host.offset, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| drop(sender.send(mapped)));
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        receiver.recv()??;
        Ok(bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..)?))
    }
}
