//! What the machine can do at best, measured with our own kernels in the same run: bytes and multiply-adds a second.

use std::time::Duration;

use super::BenchError;
use super::subject::{median, subjects};
use crate::gpu::{Bare, Device, Pipelines};
use crate::graph::{Case, Cost};
use crate::kernel::{Elem, Grid, Recording, Variant, View, tuning, word};
use crate::ops::MatMul;

/// Bytes that the copy reads: several times the caches of a GPU, and little for a software adapter.
const COPIED: usize = 1 << 28;
const COPIED_BY_SOFTWARE: usize = 1 << 24;
/// Rows, columns and depth of the product.
const PRODUCT: usize = 4096;
const PRODUCT_BY_SOFTWARE: usize = 256;

kernel! {
    /// One lane a strip of 16 bytes.
    struct Copy = "copy/copy" {
        params { strips: u32 }
        read { x }
        write { y }
    }
}

/// Which ceiling holds an op back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Its bytes take longer than its multiply-adds would.
    Memory,
    /// Its multiply-adds take longer than its bytes would.
    Compute,
}

impl Bound {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Compute => "compute",
        }
    }
}

/// The best that was seen of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// Bytes read and written a second by a copy.
    pub bytes_per_second: f64,
    /// Multiply-adds a second of a large product in f32.
    pub f32_per_second: f64,
    /// The same in f16, sums in f32; none where the adapter has no f16.
    pub f16_per_second: Option<f64>,
    /// What a kernel call takes that has next to nothing to do.
    pub call: Duration,
}

impl Ceilings {
    /// Measures them; `None` where the device has no timestamps.
    ///
    /// # Errors
    /// When a kernel does not compile, memory does not suffice or the device is lost.
    pub fn measure(device: &Device, pipelines: &Pipelines) -> Result<Option<Self>, BenchError> {
        let software = device.capabilities().software;
        let many = if software { COPIED_BY_SOFTWARE } else { COPIED };
        let Some((bytes, most)) = copy(device, pipelines, many)? else { return Ok(None) };
        let Some((_, call)) = copy(device, pipelines, 16)? else { return Ok(None) };
        let Some(single) = product(device, pipelines, Elem::F32)? else { return Ok(None) };
        let half = if device.capabilities().f16 { product(device, pipelines, Elem::F16)? } else { None };
        // A card that was idle may not have raised its memory's clock before.
        let again = copy(device, pipelines, many)?.map_or(most, |(_, time)| time);
        Ok(Some(Self {
            bytes_per_second: bytes as f64 / most.min(again).as_secs_f64(),
            f32_per_second: single,
            f16_per_second: half,
            call,
        }))
    }

    /// The least time that such a cost takes in this element type, in so many kernel calls one after the other, and which
    /// ceiling says so.
    #[must_use]
    pub fn floor(&self, cost: Cost, elem: Elem, calls: usize) -> (Duration, Bound) {
        let rate = match elem {
            Elem::F16 => self.f16_per_second.unwrap_or(self.f32_per_second),
            Elem::F32 | Elem::U32 => self.f32_per_second,
        };
        let (memory, compute) = (cost.bytes as f64 / self.bytes_per_second, cost.multiply_adds as f64 / rate);
        let bound = if compute > memory { Bound::Compute } else { Bound::Memory };
        let calls = self.call.as_secs_f64() * calls as f64;
        (Duration::try_from_secs_f64(memory.max(compute) + calls).unwrap_or(Duration::MAX), bound)
    }
}

/// Bytes read and written by a copy of about so many, and its time.
fn copy(device: &Device, pipelines: &Pipelines, wanted: usize) -> Result<Option<(usize, Duration)>, BenchError> {
    let machine = device.capabilities();
    // Half of a binding leaves room for the guards around it.
    let bytes = wanted.min(machine.max_binding_bytes / 2).next_multiple_of(16);
    let lanes = tuning::lanes(machine);
    let mut recording = Recording::default();
    recording.dispatch(
        &Copy { strips: word(bytes / 16), x: View::Input(0), y: View::Output(0) },
        Variant::default().constant("WORKGROUP", lanes),
        Grid::over(bytes / 16, lanes as usize),
    );
    let bare = Bare::new(device, pipelines, &recording, (&[vec![0x3C; bytes]], &[bytes]), &[])?;
    Ok(median(&bare)?.map(|time| (2 * bytes, time)))
}

/// Multiply-adds a second of a large square product.
fn product(device: &Device, pipelines: &Pipelines, elem: Elem) -> Result<Option<f64>, BenchError> {
    let size = if device.capabilities().software { PRODUCT_BY_SOFTWARE } else { PRODUCT };
    let case = Case::new(MatMul::new(), &[&[size, size], &[size, size]]).no_gradient();
    let Some(subject) = subjects(&case, elem, device)?.into_iter().next() else { return Ok(None) };
    let time = subject.measure(device, pipelines)?.median;
    Ok(time.map(|time| subject.cost.multiply_adds as f64 / time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Kernel, Reflection, compose, disagreements};

    #[test]
    fn the_copy_agrees_with_its_wgsl() -> Result<(), Box<dyn std::error::Error>> {
        let text = compose(Copy::interface(), &Variant::default())?;
        assert_eq!(disagreements(Copy::interface(), &Reflection::of(&text)?), Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn the_slower_of_the_two_is_the_floor() {
        let call = Duration::from_micros(2);
        let ceilings = Ceilings { bytes_per_second: 1e9, f32_per_second: 1e9, f16_per_second: Some(4e9), call };
        let cost = Cost { multiply_adds: 2_000_000, bytes: 1_000_000 };
        assert_eq!(ceilings.floor(cost, Elem::F32, 0), (Duration::from_millis(2), Bound::Compute));
        assert_eq!(ceilings.floor(cost, Elem::F16, 3), (Duration::from_micros(1_006), Bound::Memory));
    }
}
