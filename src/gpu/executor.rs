//! A plan made runnable: its buffers, its pipelines and its bindings; then running it is one loop.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::bind::HostBuffer;
use super::memory::{VALUES, allocate, write};
use super::pipelines::Built;
use super::staging::{Location, Pending, Staging};
use super::{Device, Error, Homes, Pipelines, numbers};
use crate::graph::{Tensor, Value};
use crate::kernel::{Access, Grid};
use crate::plan::{Buffer, Place, Plan};

/// A plan with all that it needs to run.
pub struct Executor {
    pub(super) device: Device,
    pub(super) plan: Plan,
    pub(super) homes: Homes,
    pub(super) slots: Vec<wgpu::Buffer>,
    pub(super) inputs: Vec<wgpu::Buffer>,
    /// Buffers of the host that stand for a value, by the value that owns the memory.
    pub(super) hosts: HashMap<Value, HostBuffer>,
    /// The name under which each of them was bound.
    pub(super) bound_as: HashMap<Value, String>,
    pub(super) steps: Vec<Ready>,
    params: Params,
    pub(super) staging: Staging,
}

/// A step, ready to be recorded.
pub(super) struct Ready {
    built: Arc<Built>,
    group: wgpu::BindGroup,
    params_at: u32,
    grid: Grid,
}

/// Numbers on their way from the GPU: [`Executor::finish`] waits for them.
pub struct Reading {
    pending: Pending,
    tensor: Tensor,
}

/// The `Params` of all steps, in one buffer.
struct Params {
    buffer: wgpu::Buffer,
    stride: u64,
}

impl Executor {
    /// Allocates the plan's slots and inputs, builds its pipelines in parallel, and binds everything once.
    ///
    /// # Errors
    /// When `homes` were made for another layout, a kernel does not compile, or memory does not suffice.
    pub fn new(device: &Device, pipelines: &Pipelines, plan: Plan, homes: &Homes) -> Result<Self, Error> {
        Self::with(device, pipelines, plan, (homes, None))
    }

    /// [`new`](Self::new) on the homes of another executor, and in its memory as far as that reaches: the two run by turns, inputs of one
    /// name and size are one, and what one leaves in a slot the other overwrites.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn beside(device: &Device, pipelines: &Pipelines, plan: Plan, other: &Self) -> Result<Self, Error> {
        Self::with(device, pipelines, plan, (&other.homes, Some(other)))
    }

    fn with(
        device: &Device,
        pipelines: &Pipelines,
        plan: Plan,
        (homes, other): (&Homes, Option<&Self>),
    ) -> Result<Self, Error> {
        if plan.layout() != homes.layout() {
            let (plan, homes) = (plan.layout().digest(), homes.layout().digest());
            let reason = format!("the plan's layout is {plan:016x} and that of the homes {homes:016x}");
            return Err(Error::Invalid { during: "preparing a plan".to_owned(), reason });
        }
        pipelines.build_variants(device, plan.steps().iter().map(|step| (step.kernel, &step.variant)))?;
        let slots = slots(device, &plan, other)?;
        let input = |(name, value): &(String, Value)| {
            let bytes = plan.place(*value).map_or(0, |place| place.bytes) as u64;
            let at = other.and_then(|other| other.plan.inputs().iter().position(|(known, _)| known == name));
            match at.and_then(|at| other.map(|other| &other.inputs[at])).filter(|buffer| buffer.size() >= bytes) {
                Some(shared) => Ok(shared.clone()),
                None => allocate(device, &format!("input `{name}`"), bytes, VALUES),
            }
        };
        let inputs = plan.inputs().iter().map(input).collect::<Result<_, Error>>()?;
        let mut executor = Self {
            device: device.clone(),
            params: Params::of(device, &plan)?,
            plan,
            homes: homes.clone(),
            slots,
            inputs,
            hosts: HashMap::new(),
            bound_as: HashMap::new(),
            steps: Vec::new(),
            staging: Staging::default(),
        };
        for (at, step) in executor.plan.steps().iter().enumerate() {
            let built = pipelines.get_variant(device, step.kernel, &step.variant)?;
            let group = executor.group(at, &built)?;
            let params_at = u32::try_from(at as u64 * executor.params.stride).unwrap_or(u32::MAX);
            executor.steps.push(Ready { built, group, params_at, grid: step.grid });
        }
        device.check("preparing a plan")?;
        Ok(executor)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The homes that it reads and updates.
    #[must_use]
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Records the whole plan into the host's encoder, as one compute pass, and submits nothing.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("plan"), timestamp_writes: None };
        self.encode_steps(&mut encoder.begin_compute_pass(&descriptor), 0..self.steps.len());
    }

    /// Records some steps into a pass.
    pub(super) fn encode_steps(&self, pass: &mut wgpu::ComputePass<'_>, steps: Range<usize>) {
        for step in &self.steps[steps] {
            pass.set_pipeline(&step.built.pipeline);
            pass.set_bind_group(0, &step.group, step.built.offsets(step.params_at).as_slice());
            let Grid([x, y, z]) = step.grid;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// The whole plan as commands, to be submitted once.
    #[must_use]
    pub fn record(&self) -> wgpu::CommandBuffer {
        self.recorded(0..self.steps.len())
    }

    fn recorded(&self, steps: Range<usize>) -> wgpu::CommandBuffer {
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let descriptor = wgpu::ComputePassDescriptor { label: Some("plan"), timestamp_writes: None };
        self.encode_steps(&mut encoder.begin_compute_pass(&descriptor), steps);
        encoder.finish()
    }

    /// Runs the plan once: records and submits it. What is read afterwards waits for it.
    ///
    /// # Errors
    /// When the device was lost, or wgpu refused something since this was last asked.
    pub fn run(&self) -> Result<(), Error> {
        self.submit(0..self.steps.len())
    }

    pub(super) fn submit(&self, steps: Range<usize>) -> Result<(), Error> {
        self.device.queue.submit([self.recorded(steps)]);
        self.device.check("running a plan")
    }

    /// Gives an input of floats its numbers for the next run; f16 inputs take the nearest ones.
    ///
    /// # Errors
    /// When there is no such input, it holds whole numbers, it has another number of elements, or a buffer of the
    /// host stands for it.
    pub fn write_f32(&self, name: &str, values: &[f32]) -> Result<(), Error> {
        let what = format!("writing input `{name}`");
        let (part, tensor) = self.own_input(name, &what)?;
        write(&self.device, part, &numbers::from_f32(&what, tensor, values)?, &what)
    }

    /// Gives an input of whole numbers (labels) its numbers for the next run.
    ///
    /// # Errors
    /// When there is no such input, it holds floats, it has another number of elements, or a buffer of the host
    /// stands for it.
    pub fn write_u32(&self, name: &str, values: &[u32]) -> Result<(), Error> {
        let what = format!("writing input `{name}`");
        let (part, tensor) = self.own_input(name, &what)?;
        write(&self.device, part, &numbers::from_u32(&what, tensor, values)?, &what)
    }

    fn own_input(&self, name: &str, what: &str) -> Result<(Location<'_>, &Tensor), Error> {
        let refuse = |reason: String| Error::Invalid { during: what.to_owned(), reason };
        let Some((_, value)) = self.plan.inputs().iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = self.plan.inputs().iter().map(|(name, _)| name.as_str()).collect();
            return Err(refuse(format!("the plan has no such input; it has: {}", known.join(", "))));
        };
        if self.hosts.contains_key(value) {
            return Err(refuse("a buffer of the host stands for it; write there, or unbind it".to_owned()));
        }
        self.locate(*value)
    }

    /// The numbers of any value that still stands in its memory: outputs, inputs, stored tensors; and, in a plan
    /// without reuse, everything.
    ///
    /// # Errors
    /// When nothing that runs makes the value, it holds whole numbers, or nothing can be read from this device.
    pub fn read(&self, value: Value) -> Result<Vec<f32>, Error> {
        let (_, tensor) = self.locate(value)?;
        numbers::to_f32(&format!("reading v{}", value.index()), tensor, &self.read_bytes(value)?)
    }

    /// [`read`](Self::read) for whole numbers.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when the value holds floats.
    pub fn read_u32(&self, value: Value) -> Result<Vec<u32>, Error> {
        let (_, tensor) = self.locate(value)?;
        numbers::to_u32(&format!("reading v{}", value.index()), tensor, &self.read_bytes(value)?)
    }

    /// [`read`](Self::read) without conversion.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_bytes(&self, value: Value) -> Result<Vec<u8>, Error> {
        let (part, _) = self.locate(value)?;
        self.staging.read(&self.device, part)
    }

    /// [`read`](Self::read) without blocking: the copy is on its way when this is first polled.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self, value: Value) -> Result<Vec<f32>, Error> {
        let (part, tensor) = self.locate(value)?;
        let bytes = self.staging.read_async(&self.device, part).await?;
        numbers::to_f32(&format!("reading v{}", value.index()), tensor, &bytes)
    }

    /// Starts to read the output (or input) of this name as the run submitted last will leave it, and waits for nothing:
    /// what is submitted from now on does not change what [`finish`](Self::finish) then gives.
    ///
    /// # Errors
    /// As [`read_named`](Self::read_named).
    pub fn start_reading(&self, name: &str) -> Result<Reading, Error> {
        let (part, tensor) = self.locate(self.named(name)?)?;
        Ok(Reading { pending: self.staging.start(&self.device, part)?, tensor: tensor.clone() })
    }

    /// Waits for the numbers, and not for what was submitted after they were asked for.
    ///
    /// # Errors
    /// When the device was lost, or the value holds whole numbers.
    pub fn finish(&self, reading: Reading) -> Result<Vec<f32>, Error> {
        let bytes = self.staging.wait(&self.device, &reading.pending)?;
        numbers::to_f32("finishing to read", &reading.tensor, &bytes)
    }

    /// The numbers of an output (or input) of this name.
    ///
    /// # Errors
    /// When there is none, or as [`read`](Self::read).
    pub fn read_named(&self, name: &str) -> Result<Vec<f32>, Error> {
        self.read(self.named(name)?)
    }

    /// [`read_named`](Self::read_named) for whole numbers.
    ///
    /// # Errors
    /// When there is none, or as [`read_u32`](Self::read_u32).
    pub fn read_named_u32(&self, name: &str) -> Result<Vec<u32>, Error> {
        self.read_u32(self.named(name)?)
    }

    pub(super) fn named(&self, name: &str) -> Result<Value, Error> {
        self.plan.find(name).ok_or_else(|| {
            let known: Vec<&str> = self.plan.outputs().iter().map(|output| output.name.as_str()).collect();
            let reason = format!("the plan has no such output; it has: {}", known.join(", "));
            Error::Invalid { during: format!("looking for output `{name}`"), reason }
        })
    }

    /// Where a value is, and what.
    pub(super) fn locate(&self, value: Value) -> Result<(Location<'_>, &Tensor), Error> {
        let (Some(place), Some(tensor)) = (self.plan.place(value), self.plan.tensor(value)) else {
            let reason = "nothing that runs makes it; mark it as an output of the graph".to_owned();
            return Err(Error::Invalid { during: format!("looking for v{}", value.index()), reason });
        };
        Ok((Location { bytes: tensor.bytes(), ..self.location(place, Some(value)) }, tensor))
    }

    pub(super) fn location(&self, place: Place, value: Option<Value>) -> Location<'_> {
        let host = value.and_then(|value| self.hosts.get(&self.plan.owner(value)));
        // Hosts stand for inputs and for values in slots, which start where their buffers do.
        let (buffer, start) = match (host, place.buffer) {
            (Some(host), _) => (&host.buffer, host.offset),
            (None, Buffer::Slot(at)) => (&self.slots[at], 0),
            (None, Buffer::Input(at)) => (&self.inputs[at], 0),
            (None, Buffer::Home(at)) => (&self.homes.buffers()[at], 0),
        };
        Location { buffer, offset: start + place.offset as u64, bytes: place.bytes }
    }

    /// Binds step `at` anew, to what stands for its values now.
    pub(super) fn rebind(&self, at: usize) -> Result<wgpu::BindGroup, Error> {
        self.group(at, &self.steps[at].built)
    }

    /// Replaces the bindings of a step.
    pub(super) fn set_group(&mut self, at: usize, group: wgpu::BindGroup) {
        self.steps[at].group = group;
    }

    fn group(&self, at: usize, built: &Built) -> Result<wgpu::BindGroup, Error> {
        let step = &self.plan.steps()[at];
        let during = format!("binding step {at}, {} of {}", step.kernel.name, self.plan.node_of(at).label);
        let parts = step.bindings.iter().zip(&step.values).map(|(place, value)| self.location(*place, *value));
        let parts: Vec<(Location<'_>, Access)> =
            parts.zip(step.kernel.bindings).map(|(part, (_, access))| (part, *access)).collect();
        let uses = |access: Access| parts.iter().filter(move |part| part.1 == access).map(|part| part.0.buffer);
        if uses(Access::Read).any(|read| uses(Access::Write).any(|written| written == read)) {
            let reason = "it would read and write one buffer, which wgpu refuses; bind different buffers".to_owned();
            return Err(Error::Invalid { during, reason });
        }
        let binding = |buffer, offset, bytes| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) })
        };
        let mut entries = Vec::with_capacity(parts.len() + 1);
        if !step.params.is_empty() {
            let resource = binding(&self.params.buffer, 0, Params::bytes(step.params.len()));
            entries.push(wgpu::BindGroupEntry { binding: 0, resource });
        }
        for (number, (part, _)) in (1u32..).zip(&parts) {
            let resource = binding(part.buffer, part.offset, part.bytes as u64);
            entries.push(wgpu::BindGroupEntry { binding: number, resource });
        }
        let label = Some(step.kernel.name);
        let descriptor = wgpu::BindGroupDescriptor { label, layout: &built.layout, entries: &entries };
        let scope = self.device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let group = self.device.device.create_bind_group(&descriptor);
        match pollster::block_on(scope.pop()) {
            None => Ok(group),
            Some(error) => Err(Error::Invalid { during, reason: error.to_string() }),
        }
    }
}

/// Buffers for a plan's slots: from the largest down, those that there are as far as they are large enough and may be shared.
fn slots(device: &Device, plan: &Plan, other: Option<&Executor>) -> Result<Vec<wgpu::Buffer>, Error> {
    let others = other.into_iter().flat_map(|other| {
        other.slots.iter().enumerate().filter(|&(at, _)| !other.plan.is_apart(at)).map(|(_, buffer)| buffer.clone())
    });
    let mut free: Vec<wgpu::Buffer> = others.collect();
    free.sort_by_key(wgpu::Buffer::size);
    let mut largest: Vec<(usize, u64)> = plan.slots().iter().map(|&bytes| bytes as u64).enumerate().collect();
    largest.sort_by_key(|&(at, bytes)| (Reverse(bytes), at));
    let mut made = Vec::with_capacity(largest.len());
    for (at, bytes) in largest {
        let shared = if plan.is_apart(at) { None } else { free.pop().filter(|buffer| buffer.size() >= bytes) };
        made.push((at, shared.map_or_else(|| allocate(device, &format!("slot {at}"), bytes, VALUES), Ok)?));
    }
    made.sort_by_key(|&(at, _)| at);
    Ok(made.into_iter().map(|(_, buffer)| buffer).collect())
}

impl Params {
    /// Uniform structs are bound by 16 bytes.
    fn bytes(words: usize) -> u64 {
        (words as u64 * 4).next_multiple_of(16)
    }

    fn of(device: &Device, plan: &Plan) -> Result<Self, Error> {
        let alignment = u64::from(device.device.limits().min_uniform_buffer_offset_alignment.max(16));
        let largest = plan.steps().iter().map(|step| Self::bytes(step.params.len())).max().unwrap_or(16);
        let stride = largest.max(16).next_multiple_of(alignment);
        let mut words = vec![0u32; plan.steps().len() * (stride / 4) as usize];
        for (row, step) in words.chunks_exact_mut((stride / 4) as usize).zip(plan.steps()) {
            row[..step.params.len()].copy_from_slice(&step.params);
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = allocate(device, "the parameters of all steps", words.len() as u64 * 4, usage)?;
        device.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
        Ok(Self { buffer, stride })
    }
}
