//! Many programs: drawn until their numbers are tame, checked, and shrunk where they fail.

use super::check::{Checked, Paper, is_worth_it, on_paper};
use super::{Failure, Kind, Limits, Machine, Pool, Program, draw, shrink};
use crate::reference::Random;

/// Draws of a program before a campaign gives up on taming it.
const DRAWS: u64 = 200;

/// How programs are drawn and where they are checked.
#[derive(Clone, Copy)]
pub struct Campaign<'a> {
    /// What they are drawn from.
    pub pool: &'a Pool,
    /// The GPU, once for each engine; without one, only what can be checked on paper is.
    pub machines: &'a [Machine<'a>],
    /// How large they are.
    pub limits: Limits,
    /// From which all follow.
    pub seed: u64,
}

/// How a program fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every demand was met.
    Passed {
        /// Whether kinks left nothing to say about its gradients in f64; all else was checked.
        kinked: bool,
        /// Whether it was also run with compositions in the place of ops.
        composed: bool,
        /// Nodes that ran, gradients included, in all of its graphs.
        ran: usize,
    },
    /// Its numbers are too large, or none: nothing is demanded.
    Untamed,
    /// Some demand was not met.
    Failed(Failure),
}

/// A program that was checked.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The program as drawn.
    pub program: Program,
    /// How it fared.
    pub outcome: Outcome,
    /// Where it failed: the smallest program that was found to fail alike, and how that fails.
    pub shrunk: Option<(Program, Failure)>,
}

impl Campaign<'_> {
    /// Program `number`: of those that its number stands for the first with tame numbers, or that cannot be built.
    ///
    /// `None` where 200 draws found none.
    #[must_use]
    pub fn program(&self, number: u64) -> Option<Program> {
        let mut seeds = Random::named(self.seed, &format!("program {number}"));
        // Seeds of at most 32 bits: they are written down by people.
        let programs = (0..DRAWS).map(|_| draw(self.pool, seeds.bits() >> 32, self.limits));
        programs
            .filter(|program| program.nodes() > 0 && program.leaves_anything())
            .find(|program| is_worth_it(program, self.pool))
    }

    /// Checks a program.
    #[must_use]
    pub fn check(&self, program: &Program) -> Outcome {
        let Checked { built, composed, again, kinked } = match on_paper(program, self.pool) {
            Paper::Checked(checked) => *checked,
            Paper::Untamed => return Outcome::Untamed,
            Paper::Failed(failure) => return Outcome::Failed(failure),
        };
        let mut ran = 0;
        for (at, machine) in self.machines.iter().enumerate() {
            for (graph, again) in [(Some(&built), again.as_ref()), (composed.as_ref(), None)] {
                let Some(graph) = graph else { continue };
                // Engines differ in what multiplies cooperative matrices; all else would be run twice.
                if at > 0 && !self.machines[..=at].iter().any(|machine| machine.uses_fragments(graph)) {
                    continue;
                }
                match machine.check(program, graph, again) {
                    Ok(nodes) => ran += nodes,
                    Err(failure) => return Outcome::Failed(failure),
                }
            }
        }
        Outcome::Passed { kinked, composed: composed.is_some(), ran }
    }

    /// Draws program `number`, checks it, and shrinks it where it fails.
    #[must_use]
    pub fn run(&self, number: u64) -> Option<Finding> {
        let program = self.program(number)?;
        let outcome = self.check(&program);
        let shrunk = if let Outcome::Failed(failure) = &outcome { Some(self.shrink(&program, failure)) } else { None };
        Some(Finding { program, outcome, shrunk })
    }

    /// The smallest program found that fails as this one does.
    #[must_use]
    pub fn shrink(&self, program: &Program, failure: &Failure) -> (Program, Failure) {
        let mut last = failure.clone();
        if failure.kind == Kind::Machine {
            // A machine that is lost would refuse whatever comes next.
            return (program.clone(), last);
        }
        let small = shrink(program, self.pool, &mut |smaller| match self.check(smaller) {
            Outcome::Failed(found) if found.is_like(failure) => {
                last = found;
                true
            }
            _ => false,
        });
        (small, last)
    }
}
