//! What the ops that update weights share: which tensors they take, and how a tensor is shared out among lanes.

use crate::graph::{Io, Tensor};
use crate::kernel::{Elem, Grid, Variant, tuning, word};
use crate::reference::{Array, Real};

/// What an update takes between the gradient and the factor.
pub(super) struct Takes {
    /// The inputs in words.
    pub(super) said: &'static str,
    /// Tensors of state, f32 of the weights' shape.
    pub(super) state: usize,
    /// Lengths of the small f32 tensors behind them, of which the rate is the first.
    pub(super) numbers: &'static [usize],
}

impl Takes {
    /// What comes of weights, gradient of their type, state, numbers and perhaps a factor: weights and state.
    pub(super) fn plain(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let least = 2 + self.state + self.numbers.len();
        let ([w, g, ..], true) = (inputs, (least..=least + 1).contains(&inputs.len())) else {
            return Err(format!("takes {} and perhaps factor, not {} inputs", self.said, inputs.len()));
        };
        if g.elem != w.elem {
            return Err(format!(
                "the gradient must be {w} as the weights and is {g}; the mixed form takes another type"
            ));
        }
        self.updated(inputs)
    }

    /// What comes of f32 weights, gradient, state, numbers, a factor and a copy of the gradient's type: weights, state and copy.
    pub(super) fn mixed(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([w, g, .., copy], true) = (inputs, inputs.len() == 4 + self.state + self.numbers.len()) else {
            return Err(format!("takes {}, factor and copy, not {} inputs", self.said, inputs.len()));
        };
        if w.elem != Elem::F32 || copy != g {
            return Err(format!("weights must be f32 and are {w}; the copy must be {g} as the gradient and is {copy}"));
        }
        let mut made = self.updated(&inputs[..inputs.len() - 1])?;
        made.push(copy.clone());
        Ok(made)
    }

    fn updated(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [w, g, ..] = inputs else { return Err(format!("takes {}", self.said)) };
        if [w.elem, g.elem].contains(&Elem::U32) {
            return Err("weights and gradient must be f32 or f16, not u32".to_owned());
        }
        if g.shape != w.shape {
            return Err(format!("the gradient must be {} as the weights and is {g}", w.shape));
        }
        let (state, numbers) = inputs[2..].split_at(self.state);
        let wants = Tensor::f32(w.shape.clone());
        if let Some(wrong) = state.iter().find(|tensor| **tensor != wants) {
            return Err(format!("state must be {wants}, and one is {wrong}"));
        }
        let lengths = self.numbers.iter().copied().chain([1]);
        if let Some((wrong, length)) =
            numbers.iter().zip(lengths).find(|(given, length)| **given != Tensor::f32([*length]))
        {
            return Err(format!("rate, factor and the like must be f32 [{length}], and one is {wrong}"));
        }
        Ok([w].into_iter().chain(state).cloned().collect())
    }

    /// The inputs that it goes through: weights, gradient, state, and in the mixed form the copy.
    pub(super) fn along(&self, inputs: &[Tensor], mixed: bool) -> Vec<usize> {
        let copy = if mixed { inputs.len().checked_sub(1) } else { None };
        (0..2 + self.state).chain(copy).collect()
    }

    /// Where a factor stands, if there is one; else the rate's place, for a binding that is not read.
    pub(super) fn factor(&self, io: &Io<'_>) -> (usize, bool) {
        let at = 2 + self.state + self.numbers.len();
        if io.inputs.len() > at { (at, true) } else { (2 + self.state, false) }
    }
}

/// What a mixed update makes of its inputs, factor and copy last, where the plain one made `moved`: the copy, too. The op's
/// output is rounded to the copy's type, as every output is.
pub(super) fn with_copy<T: Real>(inputs: &[&Array<T>], mut moved: Vec<Array<T>>) -> Vec<Array<T>> {
    let [.., factor, copy] = inputs else { return Vec::new() };
    let skipped = factor.data[0] == T::default();
    moved.push(if skipped { (*copy).clone() } else { moved[0].clone() });
    moved
}

/// Strips of a tensor, the build for them, and the grid: a lane a strip.
pub(super) fn shared_out(io: &Io<'_>, elem: Elem) -> (u32, Variant, Grid) {
    let count = io.outputs[0].shape.count();
    let (lanes, width) = (tuning::lanes(io.machine), tuning::width(count));
    let strips = count / width.elements();
    let variant = Variant::of(elem).piece(width.piece()).constant("WORKGROUP", lanes);
    (word(strips), variant, Grid::over(strips, lanes as usize))
}
