//! Can the proof fail? One thing of a kernel's text or of a gradient rule is changed at a time, and the comparison must
//! notice.
//!
//! What it does not notice is code that changes nothing, a gap in the cases, or a text that means the same; the last are
//! listed with the reason in a [`Listing`].

mod gradients;
mod listing;
mod mutants;
mod saboteur;
mod tokens;
mod trials;

pub use gradients::{RuleMutant, rule_mutants, rule_names};
pub use listing::{Listing, ListingError};
pub use mutants::{Mutant, mutants};
pub use saboteur::{Outcome, Phase, RUNS, SabotageError, Saboteur};
pub use trials::{Files, files};
