//! Buffers: allocating them so that failure is an error, and homes, which plans of one model share.

use std::sync::Arc;

use super::staging::{Location, Staging};
use super::{Device, Error, numbers};
use crate::graph::Tensor;
use crate::plan::{Layout, Stored};

/// What values in slots, homes and inputs are used for.
pub(super) const VALUES: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// A buffer of zeros, or an error that says what it was for and how many bytes it would have had.
pub(super) fn allocate(
    device: &Device,
    what: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer, Error> {
    let size = bytes.max(1).next_multiple_of(16);
    let during = format!("allocating {size} bytes for {what}");
    let most = device.device.limits().max_buffer_size;
    if size > most {
        return Err(Error::Invalid { during, reason: format!("a buffer of this device holds at most {most}") });
    }
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let memory = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
    let buffer = device.device.create_buffer(&descriptor);
    let (out_of_memory, invalid) = (pollster::block_on(memory.pop()), pollster::block_on(scope.pop()));
    if out_of_memory.is_some() {
        return Err(Error::OutOfMemory { what: what.to_owned(), bytes: size });
    }
    if let Some(error) = invalid {
        return Err(Error::Invalid { during, reason: error.to_string() });
    }
    device.check(&during)?;
    Ok(buffer)
}

/// Writes bytes to the start of a part; copies go by 4 bytes, and every part is padded to more than that.
pub(super) fn write(device: &Device, part: Location<'_>, bytes: &[u8], what: &str) -> Result<(), Error> {
    let whole = bytes.len() & !3;
    // wgpu copies through memory of its own, which may not suffice; then nothing is written.
    let memory = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    device.queue.write_buffer(part.buffer, part.offset, &bytes[..whole]);
    if whole < bytes.len() {
        let mut last = [0; 4];
        last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        device.queue.write_buffer(part.buffer, part.offset + whole as u64, &last);
    }
    let out_of_memory = pollster::block_on(memory.pop()).is_some();
    if out_of_memory {
        // wgpu gives the device up as well, and says so only when it is asked.
        let _ = device.device.poll(wgpu::PollType::Poll);
    }
    device.check(what)?;
    match out_of_memory {
        true => Err(Error::OutOfMemory { what: what.to_owned(), bytes: bytes.len() as u64 }),
        false => Ok(()),
    }
}

/// The bytes of all homes at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    layout: u64,
    homes: Vec<Vec<u8>>,
}

/// The tensors that are kept between runs, as buffers. A clone is another handle to the same buffers.
#[derive(Clone)]
pub struct Homes {
    device: Device,
    layout: Arc<Layout>,
    buffers: Vec<wgpu::Buffer>,
    staging: Arc<Staging>,
}

impl Homes {
    /// Buffers for a layout, filled with zeros.
    ///
    /// # Errors
    /// When memory does not suffice, with the home's name and bytes.
    pub fn new(device: &Device, layout: &Layout) -> Result<Self, Error> {
        let make = |home: &crate::plan::Home| {
            allocate(device, &format!("the home `{}`", home.name), home.bytes as u64, VALUES)
        };
        let buffers = layout.homes().iter().map(make).collect::<Result<_, Error>>()?;
        Ok(Self { device: device.clone(), layout: Arc::new(layout.clone()), buffers, staging: Arc::default() })
    }

    /// Where each tensor stands.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The buffer of a home, by its number in the layout.
    #[must_use]
    pub fn buffer(&self, home: usize) -> Option<&wgpu::Buffer> {
        self.buffers.get(home)
    }

    pub(super) fn buffers(&self) -> &[wgpu::Buffer] {
        &self.buffers
    }

    fn find(&self, home: &str, name: &str) -> Result<(Location<'_>, &Tensor), Error> {
        let Some((at, Stored { tensor, offset, .. })) = self.layout.find(home, name) else {
            let reason = "the layout has no such tensor".to_owned();
            return Err(Error::Invalid { during: format!("looking for {home} `{name}`"), reason });
        };
        let part = Location { buffer: &self.buffers[at], offset: *offset as u64, bytes: tensor.bytes() };
        Ok((part, tensor))
    }

    /// Stores a tensor of floats; f16 tensors take the nearest numbers.
    ///
    /// # Errors
    /// When there is no such tensor, it holds whole numbers, or it has another number of elements.
    pub fn write_f32(&self, home: &str, name: &str, values: &[f32]) -> Result<(), Error> {
        let what = format!("writing {home} `{name}`");
        let (part, tensor) = self.find(home, name)?;
        write(&self.device, part, &numbers::from_f32(&what, tensor, values)?, &what)
    }

    /// Stores a tensor's bytes, little-endian.
    ///
    /// # Errors
    /// When there is no such tensor, or it has another number of bytes.
    pub fn write_bytes(&self, home: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let during = format!("writing {home} `{name}`");
        let (part, tensor) = self.find(home, name)?;
        if bytes.len() != part.bytes {
            let reason = format!("{tensor} has {} bytes and {} were given", part.bytes, bytes.len());
            return Err(Error::Invalid { during, reason });
        }
        write(&self.device, part, bytes, &during)
    }

    /// A stored tensor of floats.
    ///
    /// # Errors
    /// When there is no such tensor, it holds whole numbers, or nothing can be read from this device.
    pub fn read_f32(&self, home: &str, name: &str) -> Result<Vec<f32>, Error> {
        let (part, tensor) = self.find(home, name)?;
        numbers::to_f32(&format!("reading {home} `{name}`"), tensor, &self.staging.read(&self.device, part)?)
    }

    /// A stored tensor's bytes, little-endian.
    ///
    /// # Errors
    /// When there is no such tensor, or nothing can be read from this device.
    pub fn read_bytes(&self, home: &str, name: &str) -> Result<Vec<u8>, Error> {
        let (part, _) = self.find(home, name)?;
        self.staging.read(&self.device, part)
    }

    /// The bytes of all homes.
    ///
    /// # Errors
    /// When nothing can be read from this device.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let all = |(buffer, home): (_, &crate::plan::Home)| {
            self.staging.read(&self.device, Location { buffer, offset: 0, bytes: home.bytes })
        };
        let homes = self.buffers.iter().zip(self.layout.homes()).map(all).collect::<Result<_, Error>>()?;
        Ok(Snapshot { layout: self.layout.digest(), homes })
    }

    /// Makes all homes what they were.
    ///
    /// # Errors
    /// When the snapshot is of another layout; then nothing is written.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let during = "restoring a snapshot of the homes";
        if snapshot.layout != self.layout.digest() {
            let reason = "it was taken of another layout".to_owned();
            return Err(Error::Invalid { during: during.to_owned(), reason });
        }
        for (buffer, bytes) in self.buffers.iter().zip(&snapshot.homes) {
            write(&self.device, Location { buffer, offset: 0, bytes: bytes.len() }, bytes, during)?;
        }
        Ok(())
    }
}
