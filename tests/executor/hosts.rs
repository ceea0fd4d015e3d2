//! Buffers of the host in place of inputs and outputs, and plans in the host's own encoder.

use libtest_mimic::Failed;
use vistok::gpu::HostBuffer;
use vistok::graph::{Graph, Tensor};
use vistok::kernel::Elem;
use vistok::ops::{Add, Map};
use vistok::wgpu;

use super::programs::Mirror;
use super::{Bench, Outcome, ensure};

fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("host"), size, usage, mapped_at_creation: false })
}

const ALL: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// x → relu → mirror → y, and y + x → z.
pub(crate) fn chain() -> Result<Graph, Failed> {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([4]));
    let h = graph.apply_one(Map::Relu, &[x])?;
    let y = graph.apply_one(Mirror, &[h])?;
    let z = graph.apply_one(Add, &[y, x])?;
    graph.output("y", y);
    graph.output("z", z);
    graph.output("x", x);
    Ok(graph)
}

pub(crate) fn host_buffers(bench: &Bench) -> Outcome {
    let mut executor = bench.executor(&chain()?, true)?;
    let (device, queue) = (&bench.device.device, &bench.device.queue);
    executor.write_f32("x", &[9.0; 4])?;
    let (theirs, ours) = (buffer(device, 1024, ALL), buffer(device, 1024, ALL));
    let tensor = Tensor::f32([4]);
    queue.write_buffer(&theirs, 256, bytemuck::cast_slice(&[1.0f32, -2.0, 3.0, 4.0]));
    executor.bind_input("x", HostBuffer { buffer: theirs.clone(), offset: 256, tensor: tensor.clone() })?;
    executor.bind_output("y", HostBuffer { buffer: ours.clone(), offset: 512, tensor: tensor.clone() })?;
    executor.run()?;
    let (y, z) = (executor.read_named("y")?, executor.read_named("z")?);
    ensure(y == [2.5, 1.5, 1.5, 2.5], || format!("y = {y:?}"))?;
    ensure(z == [3.5, -0.5, 4.5, 6.5], || format!("z = {z:?}"))?;
    let output = executor.output_buffer("y")?;
    ensure((&output.buffer, output.offset) == (&ours, 512), || "y is not in the host's buffer".to_owned())?;
    ensure(executor.write_f32("x", &[0.0; 4]).is_err(), || "the host's buffer is written over".to_owned())?;
    executor.unbind("x")?;
    executor.unbind("y")?;
    executor.run()?;
    let y = executor.read_named("y")?;
    ensure(y == [9.0; 4], || format!("unbound, y = {y:?}"))?;
    ensure(executor.output_buffer("y")?.buffer != ours, || "y is still in the host's buffer".to_owned())
}

pub(crate) fn wrong_host_buffers(bench: &Bench) -> Outcome {
    let mut executor = bench.executor(&chain()?, true)?;
    let device = &bench.device.device;
    let shared = buffer(device, 1024, ALL);
    let right = HostBuffer { buffer: shared.clone(), offset: 0, tensor: Tensor::f32([4]) };
    let own = executor.output_buffer("y")?;
    let mut refused = |wrong: HostBuffer, words: &str| match executor.bind_input("x", wrong) {
        Err(error) if error.to_string().contains(words) => Ok(()),
        other => Err(Failed::from(format!("{words}: {other:?}"))),
    };
    refused(
        HostBuffer { tensor: Tensor::f32([2, 2]), ..right.clone() },
        "takes f32 [4] and the buffer holds f32 [2, 2]",
    )?;
    refused(HostBuffer { tensor: Tensor::new([4], Elem::U32), ..right.clone() }, "holds u32 [4]")?;
    refused(HostBuffer { offset: 4, ..right.clone() }, "is no multiple of")?;
    refused(HostBuffer { offset: 1024, ..right.clone() }, "needs 16 bytes")?;
    refused(own, "this executor's own memory")?;
    let copied = buffer(device, 64, wgpu::BufferUsages::COPY_SRC);
    refused(HostBuffer { buffer: copied, ..right.clone() }, "lacks the usage STORAGE")?;
    ensure(executor.bind_input("images", right.clone()).is_err(), || "an unknown input is bound".to_owned())?;
    ensure(executor.bind_output("x", right.clone()).is_err(), || "an input is bound as output".to_owned())?;
    // The last step reads x and writes z: not in one buffer, even apart.
    executor.bind_input("x", right.clone())?;
    let error = executor.bind_output("z", HostBuffer { offset: 512, ..right.clone() }).err();
    let told = error.is_some_and(|error| error.to_string().contains("read and write one buffer"));
    ensure(told, || "a buffer both read and written is taken".to_owned())?;
    let error = executor.bind_output("y", right).err();
    let told = error.is_some_and(|error| error.to_string().contains("overlaps"));
    ensure(told, || "overlapping buffers are taken".to_owned())?;
    let numbers: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
    bench.device.queue.write_buffer(&shared, 0, bytemuck::cast_slice(&numbers));
    executor.run()?;
    let z = executor.read_named("z")?;
    ensure(z == [3.5, 4.5, 5.5, 6.5], || format!("after refusals z = {z:?}"))
}

pub(crate) fn encodes_between_copies(bench: &Bench) -> Outcome {
    let mut executor = bench.executor(&chain()?, true)?;
    let (device, queue) = (&bench.device.device, &bench.device.queue);
    let (source, x) = (buffer(device, 16, ALL), buffer(device, 16, ALL));
    let tensor = Tensor::f32([4]);
    queue.write_buffer(&source, 0, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0]));
    executor.bind_input("x", HostBuffer { buffer: x.clone(), offset: 0, tensor: tensor.clone() })?;
    let y = executor.output_buffer("y")?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(&source, 0, &x, 0, 16);
    executor.encode(&mut encoder);
    // y goes back in as x, and the plan runs again in the same submission.
    encoder.copy_buffer_to_buffer(&y.buffer, y.offset, &x, 0, 16);
    executor.encode(&mut encoder);
    queue.submit([encoder.finish()]);
    let z = executor.read_named("z")?;
    ensure(z == [5.0; 4], || format!("z = {z:?}"))
}
