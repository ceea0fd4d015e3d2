//! Labels of which a share is given to all classes alike (Szegedy and others, CVPR 2016). Without smoothing
//! JSON, text and builds are those of before there was any.

use std::fmt;

use crate::kernel::Variant;

/// Attribute of ops that smooth.
pub(super) const SMOOTHING: (&str, &str) =
    ("smoothing?", "e, how much of the label is given to all classes alike; 0 if left out");

/// That so much can be given to all classes.
pub(super) fn check_smoothing(smoothing: f64) -> Result<(), String> {
    match (0.0..=1.0).contains(&smoothing) {
        true => Ok(()),
        false => Err(format!("smoothing must be from 0 to 1 and is {smoothing}")),
    }
}

pub(super) fn is_unsmoothed(smoothing: &f64) -> bool {
    *smoothing == 0.0
}

/// The build of a kernel that smooths labels; without smoothing it is the build of before there was any.
pub(super) fn smoothed(variant: Variant, smoothing: f64) -> Variant {
    match (smoothing as f32).to_bits() {
        0 => variant,
        bits => variant.constant("SMOOTHING", bits),
    }
}

/// The text of an op, by which cases and tiles are named.
pub(super) fn say(f: &mut fmt::Formatter<'_>, name: &str, ignore: Option<u32>, smoothing: f64) -> fmt::Result {
    let mut text = f.debug_struct(name);
    text.field("ignore", &ignore);
    if smoothing != 0.0 {
        text.field("smoothing", &smoothing);
    }
    text.finish()
}
