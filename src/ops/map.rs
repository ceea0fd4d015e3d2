//! A function of each element, y = f(x), and its gradient dx = dy f'(x): ReLU, sigmoid, GELU.

use serde::{Deserialize, Serialize};

use super::{AWKWARD, BatchNormBackward, BatchNormReluBackward, Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Flat;
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

/// A function of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "lowercase")]
pub enum Map {
    /// max(x, 0); its derivative at 0 is 0.
    Relu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x Phi(x), with Phi the normal distribution: the exact GELU.
    Gelu,
}

/// dx = dy f'(x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapBackward(pub Map);

kernel! {
    /// A lane some strips.
    struct Forward = "map/forward" {
        params { strips: u32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// A lane some strips.
    struct Backward = "map/backward" {
        params { strips: u32 }
        read { x, dy }
        write { dx }
    }
}

impl Map {
    const ALL: [Self; 3] = [Self::Relu, Self::Sigmoid, Self::Gelu];

    pub(super) fn piece(self) -> &'static str {
        match self {
            Self::Relu => "map_relu",
            Self::Sigmoid => "map_sigmoid",
            Self::Gelu => "map_gelu",
        }
    }

    pub(super) fn functions_used(self) -> &'static [Function] {
        match self {
            Self::Relu => &[],
            Self::Sigmoid => &[Function::Exp, Function::Divide],
            Self::Gelu => &[Function::Exp, Function::Divide, Function::Polynomial],
        }
    }

    pub(super) fn f<T: Real>(self, x: T) -> T {
        let one = T::of(1.0);
        match self {
            Self::Relu => x.max(T::default()),
            Self::Sigmoid => one / (one + (-x).exp()),
            Self::Gelu => x * normal(x),
        }
    }

    pub(super) fn df<T: Real>(self, x: T) -> T {
        let one = T::of(1.0);
        match self {
            Self::Relu => T::of(f64::from(u8::from(x > T::default()))),
            Self::Sigmoid => self.f(x) * (one - self.f(x)),
            Self::Gelu => {
                let density = (-x * x / T::of(2.0)).exp() / T::of(std::f64::consts::TAU.sqrt());
                normal(x) + x * density
            }
        }
    }
}

/// The normal distribution: how likely a standard normal number is at most x.
fn normal<T: Real>(x: T) -> T {
    (T::of(1.0) + (x / T::of(std::f64::consts::SQRT_2)).erf()) / T::of(2.0)
}

impl Op for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [x] if x.elem != Elem::U32 => Ok(vec![x.clone()]),
            _ => Err("takes one input, f32 or f16".to_owned()),
        }
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Flat { strips, variant, grid } = Flat::of(io.machine, io.elem(0), io.outputs[0].shape.count());
        out.dispatch(&Forward { strips, x: io.input(0), y: io.output(0) }, variant.piece(self.piece()), grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(MapBackward(*self), &[node.inputs[0], dy])?)])
    }

    fn functions(&self) -> &'static [Function] {
        self.functions_used()
    }
}

impl Maths for Map {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].map(|x| self.f(x))]
    }
}

impl Op for MapBackward {
    fn name(&self) -> &'static str {
        "map_backward"
    }

    fn then(&self, next: &dyn Op, at: usize, _: usize) -> Option<Box<dyn Op>> {
        let behind = self.0 == Map::Relu && at == 4 && next.downcast::<BatchNormBackward>().is_some();
        behind.then(|| Box::new(BatchNormReluBackward) as Box<dyn Op>)
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [x, dy] if x == dy && x.elem != Elem::U32 => Ok(vec![x.clone()]),
            _ => Err("takes x and dy of one type, f32 or f16".to_owned()),
        }
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Flat { strips, variant, grid } = Flat::of(io.machine, io.elem(0), io.outputs[0].shape.count());
        let call = Backward { strips, x: io.input(0), dy: io.input(1), dx: io.output(0) };
        out.dispatch(&call, variant.piece(self.0.piece()), grid);
    }

    fn functions(&self) -> &'static [Function] {
        self.0.functions_used()
    }
}

impl Maths for MapBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].zip(inputs[1], |x, dy| dy * self.0.df(x))]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Map>(
            "map",
            "y = f(x)",
            &[("function", "\"relu\", \"sigmoid\" or \"gelu\", the exact one, by erf")],
            [&[("x", "T [..]")], &[("y", "T [..]")]],
        ),
        Signature::of::<MapBackward>(
            "map_backward",
            "dx = dy f'(x)",
            &[("function", "\"relu\", \"sigmoid\" or \"gelu\", the exact one, by erf")],
            [&[("x", "T [..]"), ("dy", "T [..]")], &[("dx", "T [..]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let shapes = AWKWARD.iter().flat_map(|&n| Map::ALL.map(|map| (map, n)));
    let mut cases: Vec<Case> =
        shapes.map(|(map, n)| Case::new(map, &[&[n, 5]]).draw(0, Draw::Between(-6.0, 6.0))).collect();
    // Elements enough for a lane to take several strips, of one and of four.
    cases.extend(
        [[67, 67], [129, 128]].map(|shape| Case::new(Map::Sigmoid, &[&shape]).draw(0, Draw::Between(-6.0, 6.0))),
    );
    // A slope at zero is a matter of choice, and no derivative tells it.
    cases.push(Case::new(MapBackward(Map::Relu), &[&[9, 5], &[9, 5]]).draw(0, Draw::Labels(3)).no_gradient());
    cases.push(Case::new(Map::Relu, &[&[64, 56, 56, 256]]).real("resnet50 stage2"));
    cases
}
