//! A graph computed on the CPU, value by value: the meaning of everything else.

use std::any::{Any, TypeId};

use half::f16;

use super::{Graph, Node, Op, Source, Stages, Tensor};
use crate::kernel::Elem;
use crate::reference::{Array, Real};

/// An array a value, by the value's number.
pub type Arrays<T> = Vec<Array<T>>;

/// Computes every value of a graph. `leaf` gives the inputs and stored values.
///
/// An output that updates a stored value is a value of its own here: the caller decides what is stored next.
///
/// # Errors
/// What `leaf` says of a value that it cannot give.
///
/// # Panics
/// When an op's maths makes other arrays than its shape rule says.
pub fn interpret<T: Real, E>(
    graph: &Graph,
    mut leaf: impl FnMut(super::Value, &Source) -> Result<Array<T>, E>,
) -> Result<Arrays<T>, E> {
    let mut arrays: Vec<Option<Array<T>>> = vec![None; graph.values().count()];
    for value in graph.values() {
        if !matches!(graph.source(value), Source::Node(..)) {
            arrays[value.index()] = Some(leaf(value, graph.source(value))?);
        }
    }
    for node in graph.nodes() {
        let inputs: Vec<&Array<T>> =
            node.inputs.iter().map(|value| arrays[value.index()].as_ref().expect("nodes stand in order")).collect();
        for (value, array) in node.outputs.iter().zip(computed(graph, node, &inputs)) {
            arrays[value.index()] = Some(array);
        }
    }
    Ok(arrays.into_iter().map(|array| array.expect("every value has a source")).collect())
}

/// What a node's maths makes of its inputs: as many arrays, of as many numbers, as its shape rule says.
pub(crate) fn computed<T: Real>(graph: &Graph, node: &Node, inputs: &[&Array<T>]) -> Vec<Array<T>> {
    let outputs = run(&*node.op, inputs);
    let made: Vec<usize> = outputs.iter().map(|array| array.data.len()).collect();
    let wanted: Vec<usize> = node.outputs.iter().map(|&value| graph.tensor(value).shape.count()).collect();
    assert_eq!(made, wanted, "the maths of {} makes so many numbers, its shape rule says so many", node.op.name());
    outputs
}

/// One op's maths in the precision of `T`.
pub(crate) fn run<T: Real>(op: &dyn Op, inputs: &[&Array<T>]) -> Vec<Array<T>> {
    /// The same reference, once `T` is known to be `U`.
    fn same<T: Real, U: Real>(array: &Array<T>) -> &Array<U> {
        (array as &dyn Any).downcast_ref().expect("T is U")
    }
    fn back<T: Real, U: Real>(array: Array<U>) -> Array<T> {
        *(Box::new(array) as Box<dyn Any>).downcast().expect("T is U")
    }
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        let inputs: Vec<&Array<f32>> = inputs.iter().map(|array| same(array)).collect();
        op.maths_f32(&inputs).into_iter().map(back).collect()
    } else {
        let inputs: Vec<&Array<f64>> = inputs.iter().map(|array| same(array)).collect();
        op.maths_f64(&inputs).into_iter().map(back).collect()
    }
}

/// One op's maths as an honest machine does it: in f32, and what the op stores or hands on is rounded to its element type.
pub(crate) fn honest(op: &dyn Op, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Vec<Array<f32>> {
    let Some(Stages { first, inputs: count, then }) = op.stages() else {
        return op.honest(inputs, outputs).unwrap_or_else(|| run(op, inputs));
    };
    let made = run(&*first, &inputs[..count]);
    let stored = outputs[outputs.len() - made.len()..].iter().zip(&made);
    let made: Vec<Array<f32>> = stored.map(|(tensor, array)| round(array, tensor.elem)).collect();
    let second: Vec<&Array<f32>> = made[..1].iter().chain(inputs[count..].iter().copied()).collect();
    run(&*then, &second).into_iter().chain(made).collect()
}

/// The numbers that a tensor of this element type can hold, nearest to these.
#[must_use]
pub fn round<T: Real>(array: &Array<T>, elem: Elem) -> Array<T> {
    array.map(|value| match elem {
        Elem::F16 => T::of(f16::from_f64(value.to_f64()).to_f64()),
        Elem::F32 => T::of(f64::from(value.to_f64() as f32)),
        Elem::U32 => value,
    })
}
