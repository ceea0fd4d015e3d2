//! Bytes from the GPU back to the CPU.

use super::staging::Location;
use super::{Device, Error};

/// Copies part of a buffer to the CPU and waits for it.
pub(super) fn read(device: &Device, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
    let encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let part = Location { buffer, offset, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) };
    Ok(read_all(device, encoder, &[part])?.pop().unwrap_or_default())
}

/// Does what was encoded, copies parts of buffers to the CPU, and waits once for all of it.
pub(super) fn read_all(
    device: &Device,
    mut encoder: wgpu::CommandEncoder,
    parts: &[Location<'_>],
) -> Result<Vec<Vec<u8>>, Error> {
    if device.is_rehearsal() {
        return Err(Error::Rehearsal);
    }
    let padded = |part: &Location<'_>| part.bytes.next_multiple_of(4) as u64;
    let staging = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: parts.iter().map(padded).sum(),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut at = 0;
    for part in parts {
        encoder.copy_buffer_to_buffer(part.buffer, part.offset, &staging, at, padded(part));
        at += padded(part);
    }
    device.queue.submit([encoder.finish()]);
    let (sender, receiver) = std::sync::mpsc::channel();
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        let _ = sender.send(result);
    });
    device.wait("reading back")?;
    let invalid = |reason: String| Error::Invalid { during: "reading back".to_owned(), reason };
    // Another thread's wait may be the one that calls back, a moment after ours returned.
    match receiver.recv_timeout(std::time::Duration::from_secs(10)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(invalid(error.to_string())),
        Err(_) => return Err(invalid("the buffer was not mapped".to_owned())),
    }
    let mapped = staging.get_mapped_range(..).map_err(|error| invalid(error.to_string()))?;
    let mut rest = &mapped[..];
    let taken = |part: &Location<'_>| {
        let (own, others) = rest.split_at(part.bytes.next_multiple_of(4));
        rest = others;
        own[..part.bytes].to_vec()
    };
    Ok(parts.iter().map(taken).collect())
}
