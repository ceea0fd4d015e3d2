//! Bytes from the GPU through buffers that are kept for the next time, waiting or as a future.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Device, Error};

/// How many idle staging buffers are kept.
const KEPT: usize = 4;

/// How long a mapping's callback may come after the device has done the work: another thread's wait may be calling it.
const CALLBACK: Duration = Duration::from_secs(10);

/// Part of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Location<'a> {
    /// The buffer.
    pub(super) buffer: &'a wgpu::Buffer,
    /// Where the part starts, a multiple of 4.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) bytes: usize,
}

/// Idle staging buffers.
#[derive(Debug, Default)]
pub(super) struct Staging {
    free: Mutex<Vec<wgpu::Buffer>>,
}

#[derive(Default)]
struct Mapping {
    result: Option<Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

/// A copy on its way.
pub(super) struct Pending {
    submission: wgpu::SubmissionIndex,
    staging: wgpu::Buffer,
    bytes: usize,
    mapping: Arc<(Mutex<Mapping>, Condvar)>,
}

fn invalid(reason: impl ToString) -> Error {
    Error::Invalid { during: "reading back".to_owned(), reason: reason.to_string() }
}

impl Staging {
    /// Copies a part to the CPU and waits for it.
    pub(super) fn read(&self, device: &Device, part: Location<'_>) -> Result<Vec<u8>, Error> {
        let pending = self.start(device, part)?;
        self.wait(device, &pending)
    }

    /// Waits for a copy.
    pub(super) fn wait(&self, device: &Device, pending: &Pending) -> Result<Vec<u8>, Error> {
        device.wait_for(&pending.submission, "reading back")?;
        let (mapping, called) = &*pending.mapping;
        let open = mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = called.wait_timeout_while(open, CALLBACK, |mapping| mapping.result.is_none());
        let result = waited.unwrap_or_else(PoisonError::into_inner).0.result.take();
        self.finish(pending, result.unwrap_or(Err(wgpu::BufferAsyncError)))
    }

    /// Copies a part to the CPU. Outside the browser the future drives the device itself whenever it is polled.
    pub(super) async fn read_async(&self, device: &Device, part: Location<'_>) -> Result<Vec<u8>, Error> {
        let pending = self.start(device, part)?;
        let result = poll_fn(|context| {
            // The browser maps buffers by itself; elsewhere nothing happens unless somebody polls the device.
            let native = cfg!(not(target_arch = "wasm32"));
            if native {
                // An error here is a lost device, which `check` reports.
                let _ = device.device.poll(wgpu::PollType::Poll);
            }
            let mut mapping = pending.mapping.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(result) = mapping.result.take() {
                return Poll::Ready(device.check("reading back").map(|()| result));
            }
            if let Err(error) = device.check("reading back") {
                return Poll::Ready(Err(error));
            }
            mapping.waker = Some(context.waker().clone());
            if native {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await?;
        self.finish(&pending, result)
    }

    /// Submits a copy of what the part holds after all that was submitted so far.
    pub(super) fn start(&self, device: &Device, part: Location<'_>) -> Result<Pending, Error> {
        if device.is_rehearsal() {
            return Err(Error::Rehearsal);
        }
        let size = (part.bytes as u64).next_multiple_of(4);
        let staging = self.take(device, size)?;
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(part.buffer, part.offset, &staging, 0, size);
        let submission = device.queue.submit([encoder.finish()]);
        let mapping = Arc::<(Mutex<Mapping>, Condvar)>::default();
        let mapped = mapping.clone();
        staging.map_async(wgpu::MapMode::Read, 0..size, move |result| {
            let (mapping, called) = &*mapped;
            let mut mapping = mapping.lock().unwrap_or_else(PoisonError::into_inner);
            mapping.result = Some(result);
            called.notify_one();
            let waker = mapping.waker.take();
            drop(mapping);
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Ok(Pending { submission, staging, bytes: part.bytes, mapping })
    }

    fn finish(&self, pending: &Pending, result: Result<(), wgpu::BufferAsyncError>) -> Result<Vec<u8>, Error> {
        result.map_err(invalid)?;
        let size = (pending.bytes as u64).next_multiple_of(4);
        let mapped = pending.staging.get_mapped_range(0..size).map_err(invalid)?;
        let bytes = mapped[..pending.bytes].to_vec();
        drop(mapped);
        pending.staging.unmap();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(pending.staging.clone());
        if free.len() > KEPT {
            free.remove(0);
        }
        Ok(bytes)
    }

    /// The smallest idle buffer of at least this size, or a new one.
    fn take(&self, device: &Device, size: u64) -> Result<wgpu::Buffer, Error> {
        {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let fitting = free.iter().enumerate().filter(|(_, buffer)| buffer.size() >= size);
            if let Some((at, _)) = fitting.min_by_key(|(_, buffer)| buffer.size()) {
                return Ok(free.swap_remove(at));
            }
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        super::memory::allocate(device, "reading back", size, usage)
    }
}
