//! Attention between many rows (pixels) and few (tokens): a pointwise map of the many moves to the few, where it costs less.
//!
//! (X W) kᵀ = X (k Wᵀ)ᵀ for those who ask, likewise for keys, and P (X W) = (P X) W for values: products associate. The paper
//! maps pixels (equations 1, 2 and 5); what is computed here is the same function by other kernels.

use super::attend_tiles::Sizes;
use super::{Attend, Conv2d, Conv2dBackwardX, Reshape};
use crate::graph::{GraphError, Regrouping, Value};

/// Rows that a map without bias made of others, one by one.
struct Mapped {
    x: Value,
    weight: Value,
    conv: Conv2d,
    /// Channels of x, and of what was made of it.
    channels: [usize; 2],
    /// Its name in a model.
    name: String,
    /// What is passed by when x is read in its place, the rows first.
    passed: Vec<Value>,
}

impl Mapped {
    /// How rows [N, R, C] came about, if so. Heads must not share what the map mixes.
    fn of(rows: Value, heads: usize, graph: &Regrouping<'_>) -> Option<Self> {
        let mut passed = vec![rows];
        let mut node = graph.maker(rows)?;
        if node.op.downcast::<Reshape>().is_some() {
            passed.push(node.inputs[0]);
            node = graph.maker(node.inputs[0])?;
        }
        let (&[x, weight], Some(conv)) = (&node.inputs[..], node.op.downcast::<Conv2d>()) else { return None };
        let shape = |value: Value| &graph.graph.tensor(value).shape;
        let last = |value: Value| shape(value).last().copied().unwrap_or(0);
        let one_pixel = matches!(shape(weight)[..], [1, 1, _, _] | [_, _]);
        let pointwise = *conv == Conv2d::new(1, 0).groups(conv.groups) && one_pixel;
        let by_row = shape(passed[passed.len() - 1]).last() == shape(rows).last();
        let apart = heads == 1 || conv.groups.is_multiple_of(heads);
        let channels = [last(x), last(rows)];
        let name = node.scope.rsplit('/').next().unwrap_or_default().to_owned();
        let moves = pointwise && by_row && apart;
        moves.then_some(Self { x, weight, conv: *conv, channels, name, passed })
    }

    /// Multiply-adds of the map for so many rows.
    fn cost(&self, rows: usize) -> usize {
        rows * self.channels[0] * self.channels[1] / self.conv.groups
    }

    /// Whether `many` rows mapped and then met by `few` tokens cost more multiply-adds than the tokens mapped and met by the rows as
    /// they were. Which kernels will meet them is not known here.
    fn moves(&self, many: usize, few: usize) -> bool {
        let meets = |channels: usize| many * few * channels;
        self.cost(few) + meets(self.channels[0]) < self.cost(many) + meets(self.channels[1])
    }

    /// x as rows; from now on read in the place of what was made of it.
    fn rows(&self, count: usize, graph: &mut Regrouping<'_>) -> Result<Value, GraphError> {
        self.passed.iter().for_each(|&value| graph.pass(value));
        let batch = graph.graph.tensor(self.passed[0]).shape[0];
        reshaped(self.x, &[batch, count, self.channels[0]], graph)
    }

    /// tokens W.
    fn map(&self, tokens: Value, graph: &mut Regrouping<'_>) -> Result<Value, GraphError> {
        graph.graph.scoped(&*self.name, |graph| graph.apply_one(self.conv, &[tokens, self.weight]))
    }

    /// tokens Wᵀ: what is the gradient of x, where theirs is that of x W.
    fn map_back(&self, tokens: Value, graph: &mut Regrouping<'_>) -> Result<Value, GraphError> {
        let [n, count, _] = graph.graph.tensor(tokens).shape.dims();
        let back = Conv2dBackwardX { conv: self.conv, x: [n, count, self.channels[0]].into() };
        graph.graph.scoped(&*self.name, |graph| graph.apply_one(back, &[tokens, self.weight]))
    }
}

fn reshaped(x: Value, shape: &[usize], graph: &mut Regrouping<'_>) -> Result<Value, GraphError> {
    match graph.graph.tensor(x).shape[..] == *shape {
        true => Ok(x),
        false => graph.graph.apply_one(Reshape { shape: shape.into() }, &[x]),
    }
}

impl Attend {
    /// The same with the maps of pixels moved to tokens; nothing where none are better there.
    pub(super) fn with_maps_moved(
        self,
        inputs: &[Value],
        graph: &mut Regrouping<'_>,
    ) -> Result<Option<Vec<Value>>, GraphError> {
        let (&[q, k, ref rest @ ..], alike) = (inputs, inputs.len() == 2) else { return Ok(None) };
        let v = *rest.first().unwrap_or(&k);
        let Ok(sizes) = Sizes::of([q, k, v].map(|value| graph.graph.tensor(value)), self.heads) else {
            return Ok(None); // what is not attended is refused by the op itself
        };
        let Sizes { queries, keys, heads, .. } = sizes;
        let movable = |rows: Value, [many, few]: [usize; 2], graph: &Regrouping<'_>| {
            Mapped::of(rows, heads, graph).filter(|mapped| mapped.moves(many, few))
        };
        if queries > keys {
            let Some(asked) = movable(q, [queries, keys], graph) else { return Ok(None) };
            let x = asked.rows(queries, graph)?;
            let known = asked.map_back(k, graph)?;
            return graph.graph.apply(self, &[x, known, v]).map(Some);
        }
        let known = movable(k, [keys, queries], graph);
        let valued = if alike { None } else { movable(v, [keys, queries], graph) };
        let (asking, keys_as_they_were) = match &known {
            Some(known) => (known.map_back(q, graph)?, known.rows(keys, graph)?),
            None => (q, k),
        };
        let values = valued.as_ref().map_or(Ok(v), |valued| valued.rows(keys, graph))?;
        let values = if alike { keys_as_they_were } else { values };
        let now_alike = values == keys_as_they_were;
        if known.is_none() && valued.is_none() && now_alike == alike {
            return Ok(None);
        }
        let inputs = [asking, keys_as_they_were, values];
        let mut made = graph.graph.apply(self, &inputs[..if now_alike { 2 } else { 3 }])?;
        if let Some(mapped) = valued.as_ref().or(known.as_ref().filter(|_| alike)) {
            made[0] = mapped.map(made[0], graph)?;
        }
        Ok(Some(made))
    }
}
