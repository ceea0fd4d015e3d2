//! Memory that ways of computing one op share, and what is compared there.

use vistok::gpu::{Allowed, Device, Error, Operands, Pipelines, Proof, Seen};
use vistok::graph::{Op, Tensor};
use vistok::kernel::{Elem, View};
use vistok::ops::MatMul;

use super::{Outcome, ensure};

/// Each number is compared, poison is never right, and what is written past the end is seen.
pub(super) fn memory(device: &Device) -> Outcome {
    let elems = if device.capabilities().f16 { &[Elem::F16, Elem::F32][..] } else { &[Elem::F32] };
    let pipelines = Pipelines::new(device, None);
    for &elem in elems {
        // As scalars; of other sizes than the memory has, it computes too little or too much.
        let recorded = |[rows, depth]: [usize; 2], columns: usize| {
            let tensors = [[rows, depth], [depth, columns]].map(|shape| Tensor::new(shape, elem));
            let outputs = [Tensor::new([rows, columns], elem)];
            (&MatMul::new() as &dyn Op).recorded(&tensors, &outputs, &device.capabilities().scalar())
        };
        // An odd number of elements: of f16, the last shares a word with its guard.
        let (right, outputs) = (recorded([3, 7], 5), [Tensor::new([3, 5], elem)]);
        let ones = if elem == Elem::F16 { vec![0x00, 0x3C] } else { 1.0_f32.to_le_bytes().to_vec() };
        let mut inputs: Vec<Vec<u8>> = [3 * 7, 7 * 5].iter().map(|&count| ones.repeat(count)).collect();
        let memory = |inputs: &[Vec<u8>]| -> Result<_, Error> {
            let operands = Operands::new(device, &pipelines, (inputs, &outputs), &[], [&right].into_iter())?;
            let seen = operands.believe(&operands.way(&right)?)?;
            Ok((operands, seen))
        };
        let (operands, seen) = memory(&inputs)?;
        ensure(seen == [Seen { largest: 7.0, only: Some(7.0) }], format!("{seen:?}"))?;
        let prove = |size: [usize; 2], allowed| operands.prove(&operands.way(&recorded(size, 5))?, &[allowed]);
        let proof = prove([3, 7], Allowed::default())?;
        ensure(proof == Proof::default(), format!("{proof:?}"))?;
        for allowed in [Allowed::default(), Allowed { relative: 1e9, absolute: 1e9 }] {
            let nothing = operands.prove_nothing(&[allowed])?;
            ensure(nothing.fault.is_some_and(|(output, at, _)| (output, at) == (0, 0)), format!("{nothing:?}"))?;
        }
        let short = prove([2, 7], Allowed::default())?;
        let (_, first, [found, truth]) = short.fault.ok_or("poison was taken for right")?;
        ensure(first == 10 && found.is_nan() && truth == 7.0, format!("{short:?}"))?;
        let long = prove([4, 7], Allowed::default())?;
        ensure(long.guards.iter().any(|guard| guard.view == View::Output(0)), format!("{long:?}"))?;
        ensure(long.fault.is_none(), format!("{long:?}"))?;
        // Sums of 6 products in place of 7: off, unless so much is allowed.
        for (relative, absolute, right) in [(0.0, 0.9, false), (0.0, 1.1, true), (0.1, 0.0, false), (0.2, 0.0, true)] {
            let proof = prove([3, 6], Allowed { relative, absolute })?;
            ensure(proof.fault.is_none() == right, format!("{relative} and {absolute} allowed: {proof:?}"))?;
            ensure(right || proof.fault == Some((0, 0, [6.0, 7.0])), format!("{proof:?}"))?;
        }
        // A column of which the last number alone is left out.
        let column = ([15, 1].map(|count| ones.repeat(count)), [Tensor::new([15, 1], elem)]);
        let all = recorded([15, 1], 1);
        let operands = Operands::new(device, &pipelines, (&column.0, &column.1), &[], [&all].into_iter())?;
        operands.believe(&operands.way(&all)?)?;
        let short = operands.prove(&operands.way(&recorded([14, 1], 1))?, &[Allowed::default()])?;
        ensure(short.fault.is_some_and(|(_, at, _)| at == 14), format!("{short:?}"))?;
        // Only the last column is another: the last element is looked at, too.
        let last = inputs[1].len() - ones.len();
        inputs[1][last..].fill(0);
        let seen = memory(&inputs)?.1;
        ensure(seen == [Seen { largest: 7.0, only: None }], format!("{seen:?}"))?;
        // Not a number, and infinite, among numbers.
        for value in [f32::NAN, f32::INFINITY] {
            // The upper half of an f32; an f16 of it is as little a number.
            let bytes = value.to_le_bytes();
            inputs[1][last..].copy_from_slice(&bytes[4 - ones.len()..]);
            let seen = memory(&inputs)?.1;
            ensure(!seen[0].largest.is_finite(), format!("{seen:?}"))?;
        }
    }
    Ok(())
}
