//! The program `vistok`: kernels proven, timed and put to work from a command line.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
