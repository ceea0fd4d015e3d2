//! Every kernel against its maths: which trials there are on a machine, and what came of them.
//!
//! A [`Question`] is a case in an element type: its truth is worked out once, and every [`Trial`] of it is one way of
//! answering: an engine, runtime checks or none, the tiles that tuning chose or others. What a machine cannot do is a trial
//! as well, with the reason; it is never passed over in silence.

mod bench;
mod outcome;
mod questions;
mod way;

pub use bench::Bench;
pub use outcome::{Outcome, Status};
pub use questions::{Question, Scope, Trial, questions};
pub use way::Way;
