//! What programs are drawn from: ops, the inputs that they were tried on, and how gradients pass through them.

use std::sync::Arc;

use crate::graph::{Case, Op, Shape};

/// Ops and how to apply them, all learnt from their cases: an op joins by having some.
#[derive(Clone)]
pub struct Pool {
    cases: Vec<Case>,
    names: Vec<&'static str>,
    view: fn(Shape) -> Arc<dyn Op>,
}

/// How gradients pass through an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Outputs that gradients flow from; none where the op has no gradient.
    pub(super) seeds: Vec<usize>,
    /// For each input, whether it has a gradient.
    pub(super) differentiable: Vec<bool>,
}

impl Pool {
    /// From cases, and an op that shows a tensor in another shape. Shapes of real models are left out: they are large.
    #[must_use]
    pub fn new(cases: Vec<Case>, view: fn(Shape) -> Arc<dyn Op>) -> Self {
        let cases: Vec<Case> = cases.into_iter().filter(|case| case.real.is_none()).collect();
        let mut names: Vec<&'static str> = cases.iter().map(|case| case.op.name()).collect();
        names.sort_unstable();
        names.dedup();
        Self { cases, names, view }
    }

    /// The names of its ops.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The cases of an op.
    pub(super) fn cases_of(&self, name: &str) -> Vec<&Case> {
        self.cases.iter().filter(|case| case.op.name() == name).collect()
    }

    /// The op that shows a tensor in this shape.
    pub(super) fn view(&self, shape: Shape) -> Arc<dyn Op> {
        (self.view)(shape)
    }

    /// The op that `Debug` writes like this.
    pub(super) fn op(&self, written: &str) -> Option<Arc<dyn Op>> {
        let known = self.cases.iter().map(|case| &case.op).find(|op| format!("{op:?}") == written);
        known.cloned().or_else(|| {
            let (_, rest) = written.split_once('[')?;
            let (sizes, _) = rest.split_once(']')?;
            let sizes = sizes.split(',').filter(|size| !size.trim().is_empty()).map(|size| size.trim().parse());
            let view = self.view(Shape::from(sizes.collect::<Result<Vec<usize>, _>>().ok()?));
            (format!("{view:?}") == written).then_some(view)
        })
    }

    /// How gradients pass through an op with so many inputs; `None` for an op that no case tries so.
    pub(super) fn manner(&self, op: &dyn Op, inputs: usize) -> Option<Manner> {
        let cases = || self.cases.iter().filter(|case| case.op.name() == op.name() && case.inputs.len() == inputs);
        let none = || Manner { seeds: Vec::new(), differentiable: vec![false; inputs] };
        let told = cases().find(|case| case.has_gradient).map(|case| Manner {
            seeds: case.seeds.clone(),
            differentiable: case.inputs.iter().map(|input| input.differentiable).collect(),
        });
        told.or_else(|| cases().next().map(|_| none()))
    }
}
