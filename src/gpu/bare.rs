//! One op run by itself: each view a buffer of its own, between guards, its outputs poisoned first. No planner.

use std::collections::HashMap;
use std::time::Duration;

use super::staging::Location;
use super::{Device, Error, Pipelines, memory, readback};
use crate::kernel::{Dispatch, Grid, Recording, View};

/// What stands in the bytes behind every tensor, and must stand there after the run. 3e38 in f32 and a NaN in f16, so that
/// reading past the end shows as well: a small number would be lost in a sum.
pub(super) const PATTERN: u8 = 0x7F;
/// What stands there behind inputs, of the same size: one guard copied onto another shows.
const INPUT_PATTERN: u8 = 0x7E;
/// What outputs and scratch hold before the run: a NaN in f32 and in f16, and no likely u32.
pub(super) const POISON: u8 = 0xFF;
/// Bytes of guard behind each tensor, at least.
const GUARD: usize = 1024;

/// What a guard found after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which buffer was written past its end.
    pub view: View,
    /// How many bytes past its end.
    pub past_end: usize,
}

/// Memory for one op: inputs, outputs and scratch, each a buffer of its own.
pub struct Bare<'a> {
    device: &'a Device,
    pub(super) buffers: HashMap<View, (wgpu::Buffer, usize)>,
    steps: Vec<Step>,
    /// Other memory that runs take turns on ([`Bare::in_turns_with`]).
    others: Vec<Vec<Step>>,
}

struct Step {
    built: std::sync::Arc<super::pipelines::Built>,
    group: wgpu::BindGroup,
    grid: Grid,
}

impl<'a> Bare<'a> {
    /// Memory and pipelines for a recording whose inputs hold `inputs` and whose outputs have these sizes in bytes.
    ///
    /// An output that updates an input in place starts as a copy of it: `updates` says which (input, output).
    ///
    /// # Errors
    /// When a kernel does not compile or memory does not suffice.
    pub fn new(
        device: &'a Device,
        pipelines: &Pipelines,
        recording: &Recording,
        (inputs, outputs): (&[Vec<u8>], &[usize]),
        updates: &[(usize, usize)],
    ) -> Result<Self, Error> {
        let mut bare = Self { device, buffers: HashMap::new(), steps: Vec::new(), others: Vec::new() };
        for (at, bytes) in inputs.iter().enumerate() {
            bare.allocate(View::Input(at), bytes)?;
        }
        for (at, &bytes) in outputs.iter().enumerate() {
            let start = updates.iter().find(|pair| pair.1 == at).map(|pair| inputs[pair.0].clone());
            bare.allocate(View::Output(at), &start.unwrap_or_else(|| vec![POISON; bytes]))?;
        }
        for (at, &bytes) in recording.scratch.iter().enumerate() {
            bare.allocate(View::Scratch(at), &vec![POISON; bytes])?;
        }
        Self::on(device, pipelines, recording, bare.buffers)
    }

    /// Pipelines for a recording on memory that is there.
    pub(super) fn on(
        device: &'a Device,
        pipelines: &Pipelines,
        recording: &Recording,
        buffers: HashMap<View, (wgpu::Buffer, usize)>,
    ) -> Result<Self, Error> {
        pipelines.build(device, recording.dispatches.iter())?;
        let mut bare = Self { device, buffers, steps: Vec::new(), others: Vec::new() };
        for dispatch in &recording.dispatches {
            let step = bare.step(pipelines, dispatch)?;
            bare.steps.push(step);
        }
        device.check("preparing one op")?;
        Ok(bare)
    }

    fn allocate(&mut self, view: View, bytes: &[u8]) -> Result<(), Error> {
        let all = Self::guarded(bytes.len());
        let buffer = memory::allocate(self.device, &format!("{view:?}"), all as u64, memory::VALUES)?;
        let (words, rest) = bytes.split_at(Self::whole_words(bytes.len()));
        let mut end = rest.to_vec();
        end.resize(all - words.len(), if matches!(view, View::Input(_)) { INPUT_PATTERN } else { PATTERN });
        self.device.queue.write_buffer(&buffer, 0, words);
        self.device.queue.write_buffer(&buffer, words.len() as u64, &end);
        self.buffers.insert(view, (buffer, bytes.len()));
        Ok(())
    }

    /// The bytes of a tensor up to its last whole word: copies begin at words.
    pub(super) const fn whole_words(bytes: usize) -> usize {
        bytes - bytes % wgpu::COPY_BUFFER_ALIGNMENT as usize
    }

    /// Bytes of a tensor of `bytes` with its guard: what one binding holds.
    #[must_use]
    pub const fn guarded(bytes: usize) -> usize {
        (bytes + GUARD).next_multiple_of(256)
    }

    fn step(&self, pipelines: &Pipelines, dispatch: &Dispatch) -> Result<Step, Error> {
        let built = pipelines.get(self.device, dispatch)?;
        let mut words = dispatch.params.clone();
        words.resize(words.len().next_multiple_of(4).max(4), 0);
        let params = self.device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: words.len() as u64 * 4,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue.write_buffer(&params, 0, bytemuck::cast_slice(&words));
        let mut entries = Vec::new();
        if !dispatch.params.is_empty() {
            entries.push(wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() });
        }
        for (binding, view) in (1u32..).zip(&dispatch.views) {
            let (buffer, bytes) = self.buffers.get(view).ok_or_else(|| Error::Invalid {
                during: format!("binding {}", dispatch.kernel.name),
                reason: format!("{view:?} is no view of this op"),
            })?;
            // The buffer may be longer, where several recordings share it.
            let size = std::num::NonZeroU64::new(Self::guarded(*bytes) as u64);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
            entries.push(wgpu::BindGroupEntry { binding, resource });
        }
        let group = self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.name),
            layout: &built.layout,
            entries: &entries,
        });
        Ok(Step { built, group, grid: dispatch.grid })
    }

    /// Lets runs take turns on this one's memory and another's, so that they do not find in a cache what the last one left there.
    pub fn in_turns_with(&mut self, other: Self) {
        self.others.push(other.steps);
        self.others.extend(other.others);
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Runs the op `times` times in one submission and waits.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run(&self, times: usize) -> Result<(), Error> {
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, times, None);
        self.device.queue.submit([encoder.finish()]);
        self.device.wait("running one op")
    }

    /// GPU time of `times` runs in one pass, or `None` where the device has no timestamps.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn time(&self, times: usize) -> Result<Option<Duration>, Error> {
        if !self.device.has_timestamps() {
            return Ok(None);
        }
        let queries = self.device.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("bare"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = self.device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, times, Some(&queries));
        encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
        self.device.queue.submit([encoder.finish()]);
        let bytes = readback::read(self.device, &resolved, 0, 16)?;
        let ticks: Vec<u64> = bytes.as_chunks().0.iter().map(|&tick| u64::from_le_bytes(tick)).collect();
        let period = f64::from(self.device.queue.get_timestamp_period());
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
        Ok(Some(Duration::from_nanos(nanoseconds as u64)))
    }

    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder, times: usize, queries: Option<&wgpu::QuerySet>) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("bare"),
            timestamp_writes: queries.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        let turns = std::iter::once(&self.steps).chain(&self.others).cycle();
        for steps in turns.take(times) {
            for step in steps {
                pass.set_pipeline(&step.built.pipeline);
                pass.set_bind_group(0, &step.group, step.built.offsets(0).as_slice());
                let Grid([x, y, z]) = step.grid;
                pass.dispatch_workgroups(x, y, z);
            }
        }
    }

    /// The bytes of output `at`.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn output(&self, at: usize) -> Result<Vec<u8>, Error> {
        let (buffer, bytes) = &self.buffers[&View::Output(at)];
        readback::read(self.device, buffer, 0, *bytes as u64)
    }

    /// Which buffers were written past their end.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn broken_guards(&self) -> Result<Vec<Guard>, Error> {
        let encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let ends = readback::read_all(self.device, encoder, &self.guards())?;
        Ok(self.broken(&ends))
    }

    /// Where the guards are; each begins with what they share a word with. The tensors themselves may take gigabytes, and
    /// are nobody's business here.
    pub(super) fn guards(&self) -> Vec<Location<'_>> {
        let mut guards = Vec::with_capacity(self.buffers.len());
        for (buffer, bytes) in self.buffers.values() {
            let start = Self::whole_words(*bytes);
            guards.push(Location { buffer, offset: start as u64, bytes: Self::guarded(*bytes) - start });
        }
        guards
    }

    /// Which of [`guards`](Self::guards) are not what they were, when these are their bytes. Inputs are bound to be read: behind
    /// them nothing can be written.
    pub(super) fn broken(&self, ends: &[Vec<u8>]) -> Vec<Guard> {
        let written = self.buffers.iter().zip(ends).filter(|((view, _), _)| !matches!(view, View::Input(_)));
        let broken = written.filter_map(|((&view, (_, bytes)), end)| {
            let guard = &end[bytes - Self::whole_words(*bytes)..];
            guard.iter().position(|&byte| byte != PATTERN).map(|past_end| Guard { view, past_end })
        });
        broken.collect()
    }
}
