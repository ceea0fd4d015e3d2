//! GPU time of each step, from timestamps.

use std::collections::HashMap;
use std::ops::Range;

use super::staging::Location;
use super::{Error, Executor, memory};

/// The most entries of a query set in WebGPU.
const MAX_QUERIES: u32 = 4096;

/// How long a step took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The step's number in the plan.
    pub step: usize,
    /// GPU time. Where the device has timestamps inside passes, from the end of the step before to its own end.
    pub nanoseconds: u64,
}

/// How long all steps of one kernel took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTime {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How many steps.
    pub steps: usize,
    /// Their GPU time together.
    pub nanoseconds: u64,
}

/// Queries of some steps: the first step, and for each of them its two timestamps.
struct Chunk {
    first: usize,
    queries: Vec<(u32, u32)>,
}

impl Executor {
    /// Runs the plan once and measures each step. Updates happen as in any run.
    ///
    /// # Errors
    /// When the device has no timestamps, is the rehearsal device, or is lost.
    pub fn run_timed(&self) -> Result<Vec<StepTime>, Error> {
        self.can_be_timed()?;
        let inside = self.device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);
        let chunks = chunks(self.steps.len(), inside);
        let size = chunks.len() as u64 * u64::from(MAX_QUERIES) * 8;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = memory::allocate(&self.device, "timestamps", size, usage)?;
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (number, chunk) in chunks.iter().enumerate() {
            let count = chunk.queries.last().map_or(0, |queries| queries.1 + 1);
            let queries = self.device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("steps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            match inside {
                true => self.time_in_one_pass(&mut encoder, chunk, &queries),
                false => self.time_in_passes(&mut encoder, chunk, &queries),
            }
            let at = number as u64 * u64::from(MAX_QUERIES) * 8;
            encoder.resolve_query_set(&queries, 0..count, &resolved, at);
        }
        self.device.queue.submit([encoder.finish()]);
        let part = Location { buffer: &resolved, offset: 0, bytes: usize::try_from(size).unwrap_or(usize::MAX) };
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.staging.read(&self.device, part)?);
        let period = f64::from(self.device.queue.get_timestamp_period());
        let mut times = Vec::with_capacity(self.steps.len());
        for (chunk, ticks) in chunks.iter().zip(ticks.chunks(MAX_QUERIES as usize)) {
            for (at, &(start, end)) in chunk.queries.iter().enumerate() {
                let ticks = ticks[end as usize].saturating_sub(ticks[start as usize]);
                times.push(StepTime { step: chunk.first + at, nanoseconds: (ticks as f64 * period) as u64 });
            }
        }
        Ok(times)
    }

    /// Runs the plan once, recorded as in any run, and measures it in nanoseconds of GPU time from its start to its end: steps overlap
    /// where they do without a clock. Updates happen as in any run.
    ///
    /// # Errors
    /// As [`run_timed`](Self::run_timed).
    pub fn run_timed_whole(&self) -> Result<u64, Error> {
        self.can_be_timed()?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = memory::allocate(&self.device, "timestamps", 16, usage)?;
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let queries = self.device.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("plan"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        self.time_in_a_pass(&mut encoder, (0..self.steps.len(), (0, 1)), &queries);
        encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
        self.device.queue.submit([encoder.finish()]);
        let part = Location { buffer: &resolved, offset: 0, bytes: 16 };
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.staging.read(&self.device, part)?);
        let between = ticks.last().copied().unwrap_or(0).saturating_sub(ticks.first().copied().unwrap_or(0));
        Ok((between as f64 * f64::from(self.device.queue.get_timestamp_period())) as u64)
    }

    fn can_be_timed(&self) -> Result<(), Error> {
        if self.device.is_rehearsal() {
            return Err(Error::Rehearsal);
        }
        if !self.device.has_timestamps() {
            let reason = "the device has no timestamps".to_owned();
            return Err(Error::Invalid { during: "timing a plan".to_owned(), reason });
        }
        Ok(())
    }

    /// Steps in a pass of their own, between two timestamps.
    fn time_in_a_pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (steps, (start, end)): (Range<usize>, (u32, u32)),
        queries: &wgpu::QuerySet,
    ) {
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: queries,
            beginning_of_pass_write_index: Some(start),
            end_of_pass_write_index: Some(end),
        };
        let descriptor = wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes: Some(writes) };
        self.encode_steps(&mut encoder.begin_compute_pass(&descriptor), steps);
    }

    fn time_in_one_pass(&self, encoder: &mut wgpu::CommandEncoder, chunk: &Chunk, queries: &wgpu::QuerySet) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        pass.write_timestamp(queries, 0);
        for (step, &(_, end)) in (chunk.first..).zip(&chunk.queries) {
            self.encode_steps(&mut pass, step..step + 1);
            pass.write_timestamp(queries, end);
        }
    }

    fn time_in_passes(&self, encoder: &mut wgpu::CommandEncoder, chunk: &Chunk, queries: &wgpu::QuerySet) {
        for (step, &(start, end)) in (chunk.first..).zip(&chunk.queries) {
            self.time_in_a_pass(encoder, (step..step + 1, (start, end)), queries);
        }
    }

    /// Sums times by kernel, the longest first.
    #[must_use]
    pub fn by_kernel(&self, times: &[StepTime]) -> Vec<KernelTime> {
        let mut sums: HashMap<&'static str, KernelTime> = HashMap::new();
        for time in times {
            let Some(step) = self.plan.steps().get(time.step) else { continue };
            let kernel = step.kernel.name;
            let sum = sums.entry(kernel).or_insert(KernelTime { kernel, steps: 0, nanoseconds: 0 });
            sum.steps += 1;
            sum.nanoseconds += time.nanoseconds;
        }
        let mut sums: Vec<KernelTime> = sums.into_values().collect();
        sums.sort_by_key(|sum| (std::cmp::Reverse(sum.nanoseconds), sum.kernel));
        sums
    }
}

/// Steps by query set: inside one pass the end of a step is the start of the next; else each has two of its own.
fn chunks(steps: usize, inside: bool) -> Vec<Chunk> {
    // How far the queries of two steps are apart.
    let stride = if inside { 1 } else { 2 };
    let most = (MAX_QUERIES as usize - 1) / stride as usize;
    let chunk = |first: usize| {
        let count = u32::try_from(most.min(steps - first)).unwrap_or(MAX_QUERIES);
        Chunk { first, queries: (0..count).map(|at| (stride * at, stride * at + 1)).collect() }
    };
    (0..steps).step_by(most).map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_step_once_within_the_limit_of_a_query_set() {
        for inside in [true, false] {
            for steps in [0, 1, 2047, 2048, 2049, 4095, 4096, 10_000] {
                let chunks = chunks(steps, inside);
                assert_eq!(chunks.iter().map(|chunk| chunk.queries.len()).sum::<usize>(), steps);
                let mut next = 0;
                for chunk in &chunks {
                    assert_eq!(chunk.first, next);
                    next += chunk.queries.len();
                    assert!(chunk.queries.iter().all(|&(start, end)| start < end && end < MAX_QUERIES));
                }
            }
        }
    }
}
