//! Bytes from the GPU back to the CPU.

use super::{Device, Error};

/// Copies part of a buffer to the CPU and waits for it.
pub(super) fn read(device: &Device, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
    if device.is_rehearsal() {
        return Err(Error::Rehearsal);
    }
    let padded = bytes.next_multiple_of(4);
    let staging = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: padded,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, padded);
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
    let mut out = mapped.to_vec();
    out.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(out)
}
