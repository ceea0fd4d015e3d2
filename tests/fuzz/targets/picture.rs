//! PNG and JPEG files.
#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../loaders.rs"]
mod loaders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| loaders::picture(bytes));
