//! From tokens back to pixels: equation 5.

use super::Vt;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{Pointwise, norm, relu};
use crate::ops::Add;

/// How tokens return to pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projector {
    /// Pixels become queries.
    pub query: Pointwise,
    /// Tokens become keys, C_T → C.
    pub key: Pointwise,
    /// Tokens become values, C_T → C; the equations have none.
    pub value: Pointwise,
    /// Whether a ReLU follows the sum, as after every residual block; the equation has none.
    pub relu: bool,
}

/// X_out = X + softmax over tokens((X W_Q)(T W_K)ᵀ) T: pixels `[N, HW, C_in]`, tokens `[N, L, C_T]` → `[N, HW, C]`.
///
/// Where C_in differs from C, a pointwise shortcut lifts X.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn project(b: &mut Builder<'_>, vt: &Vt, pixels: Value, tokens: Value) -> Result<Value, GraphError> {
    let channels = vt.channels;
    let maps = vt.projector;
    b.scoped("projector", |b| {
        let query = maps.query.apply(b, "query", pixels, channels)?;
        let key = maps.key.apply(b, "key", tokens, channels)?;
        let value = maps.value.apply(b, "value", tokens, channels)?;
        let mut projected = b.graph.apply(vt.attend(channels), &[query, key, value])?[0];
        if vt.norm {
            projected = norm(b, "norm", projected)?;
        }
        let shortcut = match b.shape(pixels).last() == Some(&channels) {
            true => pixels,
            false => {
                let lifted = Pointwise::Dense.apply(b, "shortcut", pixels, channels)?;
                if vt.norm { norm(b, "norm_shortcut", lifted)? } else { lifted }
            }
        };
        let sum = b.graph.apply_one(Add, &[shortcut, projected])?;
        if maps.relu { relu(b, sum) } else { Ok(sum) }
    })
}
