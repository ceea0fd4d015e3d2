//! Numbers of the CPU to the bytes of a tensor, and back.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Error;
use crate::graph::Tensor;
use crate::kernel::Elem;

fn mismatch(what: &str, reason: String) -> Error {
    Error::Invalid { during: what.to_owned(), reason }
}

fn count(what: &str, tensor: &Tensor, given: usize) -> Result<(), Error> {
    match tensor.shape.count() {
        wanted if wanted == given => Ok(()),
        wanted => Err(mismatch(what, format!("{tensor} has {wanted} elements and {given} were given"))),
    }
}

/// The bytes of a tensor of floats; f16 takes the nearest number.
pub(super) fn from_f32<'a>(what: &str, tensor: &Tensor, numbers: &'a [f32]) -> Result<Cow<'a, [u8]>, Error> {
    count(what, tensor, numbers.len())?;
    match tensor.elem {
        Elem::F32 => Ok(Cow::Borrowed(bytemuck::cast_slice(numbers))),
        Elem::F16 => {
            let mut halves = vec![f16::ZERO; numbers.len()];
            halves.convert_from_f32_slice(numbers);
            Ok(Cow::Owned(bytemuck::cast_slice(&halves).to_vec()))
        }
        Elem::U32 => Err(mismatch(what, format!("{tensor} holds whole numbers; write them with write_u32"))),
    }
}

/// The bytes of a tensor of whole numbers.
pub(super) fn from_u32<'a>(what: &str, tensor: &Tensor, numbers: &'a [u32]) -> Result<Cow<'a, [u8]>, Error> {
    count(what, tensor, numbers.len())?;
    match tensor.elem {
        Elem::U32 => Ok(Cow::Borrowed(bytemuck::cast_slice(numbers))),
        _ => Err(mismatch(what, format!("{tensor} holds floats; write them with write_f32"))),
    }
}

/// The numbers in the bytes of a tensor of floats.
pub(super) fn to_f32(what: &str, tensor: &Tensor, bytes: &[u8]) -> Result<Vec<f32>, Error> {
    match tensor.elem {
        Elem::F32 => Ok(bytemuck::pod_collect_to_vec(bytes)),
        Elem::F16 => {
            let halves: Vec<f16> = bytemuck::pod_collect_to_vec(bytes);
            Ok(halves.to_f32_vec())
        }
        Elem::U32 => Err(mismatch(what, format!("{tensor} holds whole numbers; read them with read_u32"))),
    }
}

/// The numbers in the bytes of a tensor of whole numbers.
pub(super) fn to_u32(what: &str, tensor: &Tensor, bytes: &[u8]) -> Result<Vec<u32>, Error> {
    match tensor.elem {
        Elem::U32 => Ok(bytemuck::pod_collect_to_vec(bytes)),
        _ => Err(mismatch(what, format!("{tensor} holds floats; read them with read"))),
    }
}
