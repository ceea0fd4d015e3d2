//! What came of the mutants, in numbers, and those that nobody noticed by name.

use vistok::verify::sabotage::{Listing, Mutant};

use crate::state::Verdicts;

/// Prints what came of these mutants.
///
/// Fails when one of them survived and is not listed, or was not judged; of several machines together (`all`) also when
/// none of them runs its file.
pub(crate) fn report(mutants: &[&Mutant], verdicts: &Verdicts, listing: &Listing, all: bool) -> Result<(), String> {
    let of = |outcome: &str| -> Vec<&Mutant> {
        let was = |mutant: &&&Mutant| verdicts.get(&mutant.name).is_some_and(|verdict| verdict.outcome == outcome);
        mutants.iter().filter(was).copied().collect()
    };
    let (noticed, refused, survived, unreached) = (of("noticed"), of("refused"), of("survived"), of("unreached"));
    let open = mutants.iter().filter(|mutant| !verdicts.contains_key(&mutant.name)).count();
    let open = open + if all { unreached.len() } else { 0 };
    let (listed, new): (Vec<&Mutant>, Vec<&Mutant>) =
        survived.into_iter().partition(|mutant| listing.reason(&mutant.name).is_some());
    println!(
        "kernels: {} mutants; {} noticed, {} do not compile, {} listed, {} new survivors; {} in files that this machine \
         does not run, {open} not judged",
        mutants.len(),
        noticed.len(),
        refused.len(),
        listed.len(),
        new.len(),
        unreached.len(),
    );
    // One machine may notice what another cannot, so this is told and fails nothing.
    for mutant in noticed.iter().filter(|mutant| listing.reason(&mutant.name).is_some()) {
        println!("listed, and noticed here: {}\n    {}", mutant.name, verdicts[&mutant.name].detail);
    }
    let lines: String = new
        .iter()
        .map(|mutant| {
            let [line, column] = mutant.place;
            format!("\n    {}\n        at {line}:{column}, {}", mutant.name, verdicts[&mutant.name].detail)
        })
        .collect();
    match (new.is_empty(), open) {
        (true, 0) => Ok(()),
        (true, _) => Err(format!("{open} mutants were not judged")),
        (false, _) => Err(format!("nobody noticed, and not listed in tests/snapshots/sabotage.txt:{lines}")),
    }
}
