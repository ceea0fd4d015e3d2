//! The program `vistok`.

fn main() {}
