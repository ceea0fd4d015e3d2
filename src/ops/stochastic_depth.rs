//! Stochastic depth (Huang et al. 2016): the branch of a residual block, of each image multiplied by a number, 0 where the image skips
//! the block.

use serde::{Deserialize, Serialize};

use super::{Entry, Map, MapBackward, by_image, with_tail};
use crate::graph::{ByImage, Case, Composition, Draw, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Flat;
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// x [N, ..], survival `f32 [N, L]`, perhaps shortcut [N, ..] → y [N, ..] = r(x survival[n, block] + shortcut), where r is ReLU or
/// nothing.
///
/// Who trains writes 1 / p into survival with probability p, and 0 else: `torchvision.ops.StochasticDepth` in its mode "row".
/// Gradients flow to x and shortcut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StochasticDepth {
    /// Which of the L blocks it is, from 0.
    pub block: usize,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

/// y, dy [N, ..], survival `f32 [N, L]` → dx, dshortcut [N, ..]: the gradients of [`StochasticDepth`] that ends in ReLU.
///
/// dshortcut = dy where y > 0, and 0 elsewhere; dx = dshortcut survival[n, block].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StochasticDepthBackward {
    /// Which of the L blocks it is, from 0.
    pub block: usize,
}

kernel! {
    /// A lane some strips.
    struct Forward = "stochastic_depth/forward" {
        params { strips: u32, image: u32, blocks: u32, block: u32 }
        read { x, survival, shortcut }
        write { y }
    }
}

kernel! {
    /// A lane some strips.
    struct Backward = "stochastic_depth/backward" {
        params { strips: u32, image: u32, blocks: u32, block: u32 }
        read { y, dy, survival }
        write { dx, dshortcut }
    }
}

/// Inputs without a shortcut.
const INPUTS: usize = 2;

/// That every image of x has a number of this block.
fn check(x: &Tensor, survival: &Tensor, block: usize) -> Result<(), String> {
    let (Some(&images), true) = (x.shape.first(), x.elem != Elem::U32) else {
        return Err(format!("x must be f32 or f16 [N, ..], images first, and is {x}"));
    };
    match survival.shape[..] {
        [rows, blocks] if survival.elem == Elem::F32 && rows == images && block < blocks => Ok(()),
        _ => Err(format!(
            "survival must be f32 [{images}, more than {block}], a number an image and block, and is {survival}"
        )),
    }
}

/// How x is cut so that a lane's strip is one image's; strips of an image, blocks, and which block.
fn cut(io: &Io<'_>, [x, survival]: [usize; 2], block: usize) -> (Flat, [u32; 3]) {
    let (shape, images) = (&io.inputs[x].shape, io.inputs[x].shape[0]);
    let flat = Flat::of_rows(io.machine, io.elem(x), images, shape.count() / images);
    let image = flat.strips / word(images);
    (flat, [image, word(io.inputs[survival].shape[1]), word(block)])
}

/// x, of each image times its number of this block.
fn scaled<T: Real>(x: &Array<T>, survival: &Array<T>, block: usize) -> Array<T> {
    let (image, blocks) = (x.data.len() / survival.shape[0], survival.shape[1]);
    Array::from_fn(&x.shape, |at| x.data[at] * survival.data[at / image * blocks + block])
}

impl StochasticDepth {
    /// Without ReLU behind.
    #[must_use]
    pub const fn new(block: usize) -> Self {
        Self { block, relu: false }
    }
}

impl Op for StochasticDepth {
    fn name(&self) -> &'static str {
        "stochastic_depth"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, survival] | [x, survival, _]) = inputs else {
            return Err(format!("takes x, survival and perhaps shortcut, not {} inputs", inputs.len()));
        };
        check(x, survival, self.block)?;
        match inputs.get(INPUTS).filter(|shortcut| *shortcut != x) {
            Some(shortcut) => Err(format!("shortcut must be {x} as x and is {shortcut}")),
            None => Ok(vec![x.clone()]),
        }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &(0..inputs.len()).collect::<Vec<_>>())
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (Flat { strips, variant, grid }, [image, blocks, block]) = cut(io, [0, 1], self.block);
        let is_behind = io.inputs.len() > INPUTS;
        // What a build does not read must still be bound.
        let [x, survival, shortcut] = [0, 1, if is_behind { INPUTS } else { 0 }].map(|at| io.input(at));
        let variant = variant.constant("RELU", self.relu.into()).constant("SHORTCUT", is_behind.into());
        out.dispatch(&Forward { strips, image, blocks, block, x, survival, shortcut, y: io.output(0) }, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(mut dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let (block, survival, is_behind) = (self.block, node.inputs[1], node.inputs.len() > INPUTS);
        if self.relu && is_behind {
            // y is positive where what ReLU saw was: that need not be kept.
            let made = graph.apply(StochasticDepthBackward { block }, &[node.outputs[0], dy, survival])?;
            return Ok(vec![Some(made[0]), None, Some(made[1])]);
        }
        if self.relu {
            dy = graph.apply_one(MapBackward(Map::Relu), &[node.outputs[0], dy])?;
        }
        let dx = graph.apply_one(Self::new(block), &[dy, survival])?;
        Ok([Some(dx), None].into_iter().chain(is_behind.then_some(Some(dy))).collect())
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { relu, ..*self }))
    }
}

impl Maths for StochasticDepth {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let mut y = scaled(inputs[0], inputs[1], self.block);
        if let Some(shortcut) = inputs.get(INPUTS) {
            y = y.zip(shortcut, |y, shortcut| y + shortcut);
        }
        vec![y.map(|y| if self.relu { y.max(T::default()) } else { y })]
    }
}

impl Op for StochasticDepthBackward {
    fn name(&self) -> &'static str {
        "stochastic_depth_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [y, dy, survival] = inputs else {
            return Err(format!("takes y, dy and survival, not {} inputs", inputs.len()));
        };
        check(y, survival, self.block)?;
        if dy != y {
            return Err(format!("dy must be {y} as y and is {dy}"));
        }
        Ok(vec![y.clone(), y.clone()])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (Flat { strips, variant, grid }, [image, blocks, block]) = cut(io, [0, 2], self.block);
        let ([y, dy, survival], [dx, dshortcut]) = ([0, 1, 2].map(|at| io.input(at)), [0, 1].map(|at| io.output(at)));
        let call = Backward { strips, image, blocks, block, y, dy, survival, dx, dshortcut };
        out.dispatch(&call, variant, grid);
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[y, dy, survival] = inputs else { return Ok(None) };
        let dshortcut = graph.apply_one(MapBackward(Map::Relu), &[y, dy])?;
        let dx = graph.apply_one(StochasticDepth::new(self.block), &[dshortcut, survival])?;
        Ok(Some(vec![Some(dx), Some(dshortcut)]))
    }
}

impl Maths for StochasticDepthBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[y, dy, survival] = inputs else { return Vec::new() };
        let dshortcut = y.zip(dy, |y, dy| dy * Map::Relu.df(y));
        vec![scaled(&dshortcut, survival, self.block), dshortcut]
    }
}

const BLOCK: (&str, &str) = ("block", "which column of survival, from 0");

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<StochasticDepth>(
            "stochastic_depth",
            "y = x survival[n, block] + shortcut, with relu max(y, 0)",
            &[BLOCK, ("relu", "true or false")],
            [&[("x", "T [N, ..]"), ("survival", "f32 [N, L]"), ("shortcut?", "T [N, ..]")], &[("y", "T [N, ..]")]],
        ),
        Signature::of::<StochasticDepthBackward>(
            "stochastic_depth_backward",
            "dshortcut = dy where y > 0, and 0 elsewhere; dx = dshortcut survival[n, block]",
            &[BLOCK],
            [
                &[("y", "T [N, ..]"), ("dy", "T [N, ..]"), ("survival", "f32 [N, L]")],
                &[("dx", "T [N, ..]"), ("dshortcut", "T [N, ..]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    // Numbers that differ from image to image and block to block, so that one read in the place of another is seen.
    let of = |case: Case, at: usize| case.f32(at).draw(at, Draw::Between(0.5, 2.0)).constant(at);
    let case = |x: &[usize], [block, blocks]: [usize; 2], [relu, shortcut]: [bool; 2]| {
        let shapes = [x, &[x[0], blocks], x];
        let case = Case::new(StochasticDepth { block, relu }, &shapes[..if shortcut { 3 } else { 2 }]);
        of(case, 1)
    };
    let backward = |x: &[usize], [block, blocks]: [usize; 2]| {
        of(Case::new(StochasticDepthBackward { block }, &[x, x, &[x[0], blocks]]), 2).no_gradient()
    };
    let mut cases = vec![case(&[1], [0, 1], [false, false]), case(&[7], [2, 3], [true, true])];
    for tail in [[false, false], [false, true], [true, false], [true, true]] {
        // Strips of one and of four, an image within a strip of four, and elements enough for a lane to take several.
        for shape in [&[3, 5][..], &[2, 3, 4], &[5, 2, 3, 11], &[4, 1], &[67, 67], &[129, 128]] {
            let case = case(shape, [1, 3], tail);
            // Of so many numbers some stand where ReLU bends, and no derivative tells the slope there.
            let bends = tail[0] && shape.iter().product::<usize>() > 4_000;
            cases.push(if bends { case.no_gradient() } else { case });
        }
    }
    // Images that skip the block, and those that do not.
    cases.push(case(&[31, 3, 4], [0, 2], [true, true]).draw(1, Draw::Labels(2)));
    cases.extend([&[3, 5][..], &[2, 3, 4], &[67, 67], &[129, 128]].map(|shape| backward(shape, [1, 3])));
    cases.push(backward(&[31, 4], [0, 1]).draw(2, Draw::Labels(2)));
    cases.push(case(&[64, 56, 56, 256], [2, 16], [true, true]).real("resnet50 stage2 residual, stochastic depth"));
    cases
}
