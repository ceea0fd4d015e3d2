//! The survivors that are known, each with the reason why nobody can notice it.

use std::collections::{BTreeMap, BTreeSet};

/// Mutants that change nothing: name → reason.
///
/// A reason stands at the start of a line, the names of its mutants indented below it; `#` starts a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, String>);

/// Why a listing cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListingError {
    /// A mutant stands below no reason.
    #[error("line {0}: a mutant without a reason above it")]
    NoReason(usize),
    /// A mutant is listed twice.
    #[error("line {0}: listed before")]
    Twice(usize),
    /// A reason has no mutants.
    #[error("line {0}: a reason without mutants")]
    NoMutants(usize),
}

impl Listing {
    /// Reads a listing.
    ///
    /// # Errors
    /// A mutant without a reason, listed twice, or a reason without a mutant.
    pub fn read(text: &str) -> Result<Self, ListingError> {
        let mut all = BTreeMap::new();
        let mut reason: Option<(usize, &str, usize)> = None;
        let unused = |reason: Option<(usize, &str, usize)>| match reason {
            Some((line, _, 0)) => Err(ListingError::NoMutants(line)),
            _ => Ok(()),
        };
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            if !text.starts_with(' ') {
                unused(reason)?;
                reason = Some((line, text.trim(), 0));
                continue;
            }
            let Some((_, why, count)) = &mut reason else { return Err(ListingError::NoReason(line)) };
            *count += 1;
            if all.insert(text.trim().to_owned(), (*why).to_owned()).is_some() {
                return Err(ListingError::Twice(line));
            }
        }
        unused(reason)?;
        Ok(Self(all))
    }

    /// Why nobody can notice this mutant, where that is known.
    #[must_use]
    pub fn reason(&self, mutant: &str) -> Option<&str> {
        self.0.get(mutant).map(String::as_str)
    }

    /// Listed mutants that nothing makes any more.
    #[must_use]
    pub fn stale<'a>(&'a self, made: &BTreeSet<&str>) -> Vec<&'a str> {
        self.0.keys().map(String::as_str).filter(|name| !made.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_belong_to_the_mutants_below_them() {
        let listing = Listing::read("# known\nequal values\n    a | b\n    c\n\npadding\n    d\n").expect("reads");
        assert_eq!(
            (listing.0.len(), listing.reason("c"), listing.reason("d")),
            (3, Some("equal values"), Some("padding"))
        );
        assert_eq!(listing.reason("e"), None);
        assert_eq!(listing.stale(&BTreeSet::from(["a | b", "d", "x"])), ["c"]);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        assert_eq!(Listing::read("    a\n"), Err(ListingError::NoReason(1)));
        assert_eq!(Listing::read("why\n    a\n    a\n"), Err(ListingError::Twice(3)));
        assert_eq!(Listing::read("why\n\nwhy not\n    a\n"), Err(ListingError::NoMutants(1)));
        assert_eq!(Listing::read("why\n"), Err(ListingError::NoMutants(1)));
    }
}
