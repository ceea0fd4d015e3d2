//! Weights under PyTorch's names, or ours.
#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../loaders.rs"]
mod loaders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| loaders::weights(bytes));
