//! Attention from pixels to tokens with what they were: the projector's y = x + softmax(q kᵀ scale) v, in one pass over the pixels.

use serde::{Deserialize, Serialize};

use super::attend_rows::{BLOCK, RowTiles};
use super::attend_tiles::Sizes;
use super::{Add, Attend, AttendBackward, Entry, Map, MapBackward, by_image, with_tail};
use crate::graph::{
    ByImage, Case, Composition, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor,
    Value,
};
use crate::kernel::{Recording, Variant, View};
use crate::reference::{Array, Real};

/// q[N, Q, C], k[N, K, C], v[N, K, D], shortcut[N, Q, D] → y[N, Q, D], log_sum f32[N, heads, Q]: y = f(attention + shortcut) with
/// [`Attend`]'s attention, where f is ReLU or nothing, K at most 16 and no more than Q. (Wu et al. 2021, equation 5.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttendShortcut {
    /// The attention.
    #[serde(flatten)]
    pub attend: Attend,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

/// What follows attention where it leaves its kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub shortcut: Option<View>,
    pub relu: bool,
}

impl Tail {
    /// Nothing follows.
    pub(super) const NONE: Self = Self { shortcut: None, relu: false };

    /// Which input holds the values: the last but a shortcut.
    pub(super) fn value_at(&self, io: &Io<'_>) -> usize {
        io.inputs.len() - 1 - usize::from(self.shortcut.is_some())
    }

    pub(super) fn build(&self, variant: Variant) -> Variant {
        variant.constant("SHORTCUT", self.shortcut.is_some().into()).constant("RELU", self.relu.into())
    }
}

const SHORTCUT: usize = 3;

impl Op for AttendShortcut {
    fn name(&self) -> &'static str {
        "attend_shortcut"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [q, k, v, shortcut] = inputs else { return Err("takes q, k, v and shortcut".to_owned()) };
        let sizes = Sizes::of([q, k, v], self.attend.heads)?;
        if !sizes.in_sight() {
            return Err(format!("{} queries must ask at most {BLOCK} keys, not {}", sizes.queries, sizes.keys));
        }
        let made = self.attend.outputs(&inputs[..SHORTCUT])?;
        match *shortcut == made[0] {
            true => Ok(made),
            false => Err(format!("shortcut must be {} as y and is {shortcut}", made[0])),
        }
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2, SHORTCUT])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let sizes = Sizes::known([0, 1, 2].map(|at| &io.inputs[at]), self.attend.heads, |x| x.shape.dims());
        let tail = Tail { shortcut: Some(io.input(SHORTCUT)), relu: self.relu };
        match RowTiles::of(io.machine, io.elem(0), &sizes, sizes.keys) {
            Some(tiles) => self.attend.cross_attention_rows(io, (sizes, tiles), tail, out),
            None => self.attend.cross_attention(io, sizes, tail, out),
        }
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let [y, log_sum] = [node.outputs[0], node.outputs[1]];
        if grads[1].is_some() {
            let why = "log_sum is kept for the backward pass; only y may be differentiated";
            return Err(GraphError::NoGradient { op: self.name().to_owned(), why });
        }
        let Some(mut dy) = grads[0] else { return Ok(vec![None; SHORTCUT + 1]) };
        let [q, k, v] = [0, 1, 2].map(|at| node.inputs[at]);
        if self.relu {
            // y is positive where what ReLU saw was.
            dy = graph.apply_one(MapBackward(Map::Relu), &[y, dy])?;
        }
        let op = AttendBackward { heads: self.attend.heads, scale: self.attend.scale };
        // Of so few keys y is not read.
        let made = graph.apply(op, &[q, k, y, log_sum, dy, v])?;
        Ok(made.into_iter().chain([dy]).map(Some).collect())
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let made = graph.apply(self.attend, &inputs[..SHORTCUT])?;
        let mut y = graph.apply_one(Add, &[made[0], inputs[SHORTCUT]])?;
        if self.relu {
            y = graph.apply_one(Map::Relu, &[y])?;
        }
        Ok(Some(vec![Some(y), Some(made[1])]))
    }

    fn then(&self, next: &dyn Op, _: usize, _: usize) -> Option<Box<dyn Op>> {
        Some(Box::new(Self { relu: with_tail(self.relu, true, next)?, ..*self }))
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        Some(self.tailed(inputs, self.attend.honest(&inputs[..SHORTCUT], outputs)?))
    }

    fn functions(&self) -> &'static [Function] {
        self.attend.functions()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let Cost { multiply_adds, bytes } = self.attend.cost(&inputs[..SHORTCUT], outputs);
        Cost { multiply_adds, bytes: bytes + inputs[SHORTCUT].bytes() as u64 }
    }
}

impl AttendShortcut {
    fn tailed<T: Real>(&self, inputs: &[&Array<T>], mut made: Vec<Array<T>>) -> Vec<Array<T>> {
        let tail = |y: T, shortcut: T| if self.relu { T::max(y + shortcut, T::default()) } else { y + shortcut };
        made[0] = made[0].zip(inputs[SHORTCUT], tail);
        made
    }
}

impl Maths for AttendShortcut {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.tailed(inputs, self.attend.maths(&inputs[..SHORTCUT]))
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<AttendShortcut>(
        "attend_shortcut",
        "head by head, y = f(softmax over the keys(q kᵀ scale) v + shortcut), f ReLU or nothing; log_sum as attend's",
        &[
            ("heads", "a whole number that divides C and D"),
            ("scale", "a number that scores are multiplied by"),
            ("relu", "true or false"),
        ],
        [
            &[("q", "T [N, Q, C]"), ("k", "T [N, K, C]"), ("v", "T [N, K, D]"), ("shortcut", "T [N, Q, D]")],
            &[("y", "T [N, Q, D]"), ("log_sum", "f32 [N, heads, Q]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |[q, k, heads, depth, width]: [usize; 5], relu| {
        let attend = Attend { heads, scale: 1.0 / (depth as f64).sqrt() };
        let (c, d) = (heads * depth, heads * width);
        Case::new(AttendShortcut { attend, relu }, &[&[2, q, c], &[2, k, c], &[2, k, d], &[2, q, d]])
    };
    let mut cases = vec![
        case([1, 1, 1, 1, 1], true).no_gradient(), // a score of one key has no gradient to judge by
        case([3, 2, 2, 3, 5], false),
        case([33, 8, 1, 4, 7], true),
        case([300, 9, 1, 5, 3], false),
        case([70, 16, 2, 70, 90], false),
        // Whole fragments, the rest awkward.
        case([70, 9, 2, 32, 32], true),
        case([300, 16, 1, 16, 32], false),
        case([131, 8, 1, 64, 64], true),
        case([17, 3, 1, 32, 16], true),
    ];
    let real = |n: usize, [q, k, c]: [usize; 3], layer| {
        let attend = Attend { heads: 1, scale: 1.0 / (c as f64).sqrt() };
        let (pixels, tokens) = ([n, q, c], [n, k, c]);
        Case::new(AttendShortcut { attend, relu: false }, &[&pixels, &tokens, &tokens, &pixels]).real(layer)
    };
    cases.push(real(64, [196, 16, 1024], "vt-resnet projector, 14x14"));
    cases.push(real(8, [60_800, 8, 256], "vt-fpn projector, finest map"));
    cases
}
