//! Every gradient rule against the derivative of its maths: f64, random direction, no GPU.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::ops;
use vistok::verify::check_gradient;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = ops::cases().into_iter().filter(|case| case.has_gradient && case.real.is_none());
    let trials = cases.map(|case| {
        Trial::test(case.name(), move || match check_gradient(&case, 7) {
            Ok(_) => Ok(()),
            Err(fault) => Err(Failed::from(fault.to_string())),
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
