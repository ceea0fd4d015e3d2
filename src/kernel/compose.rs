//! Pieces + body → one text: the whole of how permutations are made.
//!
//! A WGSL file speaks to this module in six kinds of comments:
//!
//! | line | meaning |
//! |---|---|
//! | `// needs a \| b` | one of these pieces is put in front; the variant says which where there are several |
//! | `// not with a b` | no build of this file holds any of these pieces |
//! | `// constants N=4 M=8` | numbers of a build, with their defaults; written out as `const N: u32 = 4u;` |
//! | `multiply(&sums, lane); // inline` | the function's body is written here |
//! | `// if called` above a function | it is left out where nothing calls it |
//! | `for (var i = 0u; i < N; i++) { // unroll` | the loop is written out |

use std::collections::BTreeMap;
use std::fmt::Write;

use super::expression::{Constants, value};
use super::inline::inline;
use super::pieces::piece;
use super::unroll::unroll;
use super::{Interface, Piece, Variant};

/// Why a kernel's text cannot be put together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ComposeError {
    /// A `// needs` line offers several pieces and the variant chose none or several of them.
    #[error("{kernel}: `// needs {needs}` asks for exactly one of these, and the variant holds `{variant}`")]
    Choice {
        /// The kernel.
        kernel: &'static str,
        /// The line.
        needs: String,
        /// The variant.
        variant: String,
    },
    /// A `// needs` line names a piece that neither `shaders/lib` nor the kernel's own list has.
    #[error("{kernel}: needs `{piece}`, which is neither a piece of src/kernel/pieces.rs nor one of the kernel's own")]
    NoPiece {
        /// The kernel.
        kernel: &'static str,
        /// The piece.
        piece: String,
    },
    /// The variant sets a number, or makes a choice, that no file of the build knows.
    #[error("{kernel}: the variant sets `{name}`, which no file of this build lists")]
    Unknown {
        /// The kernel.
        kernel: &'static str,
        /// The constant or piece.
        name: &'static str,
    },
    /// Two pieces that exclude each other came together.
    #[error("{kernel}: `{piece}` cannot be built with `{other}`")]
    Excluded {
        /// The kernel.
        kernel: &'static str,
        /// The piece whose file says so.
        piece: String,
        /// The piece that it excludes.
        other: String,
    },
    /// A call marked `// inline` names no function of the build that gives nothing back.
    #[error("{kernel}: cannot write this call out: `{line}`")]
    NotInlined {
        /// The kernel.
        kernel: &'static str,
        /// The call's line.
        line: String,
    },
    /// A loop marked `// unroll` has a bound that is no constant of the build.
    #[error("{kernel}: cannot write this loop out: `{line}`")]
    NotCounted {
        /// The kernel.
        kernel: &'static str,
        /// The loop's first line.
        line: String,
    },
}

/// A kernel's text, ready for naga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub wgsl: String,
    /// The build's constants, defaults included, and those that `const` lines derive from them.
    pub constants: BTreeMap<String, u32>,
}

/// The text of one build of a kernel.
///
/// # Errors
/// When the variant leaves a choice open, names something that no file knows, or a marked loop cannot be counted.
pub fn compose(kernel: &'static Interface, variant: &Variant) -> Result<Text, ComposeError> {
    let files = gather(kernel, variant)?;
    let mut constants = Constants::new();
    let mut head = String::new();
    for (_, text) in &files {
        for (name, default) in declared_constants(text) {
            let number = variant.constants().get(name).copied().unwrap_or(default);
            if constants.insert(name.to_owned(), number).is_none() {
                let _ = writeln!(head, "const {name}: u32 = {number}u;");
            }
        }
    }
    let known = |name: &str| constants.contains_key(name);
    if let Some(name) = variant.constants().keys().copied().find(|name| !known(name)) {
        return Err(ComposeError::Unknown { kernel: kernel.name, name });
    }
    let mut enables = String::new();
    let mut body = String::new();
    for (name, text) in &files {
        let _ = writeln!(body, "// --- {name}");
        for line in text.lines() {
            let code = line.trim();
            if code.starts_with("enable ") && !enables.contains(code) {
                let _ = writeln!(enables, "{code}");
            } else if !code.starts_with("enable ") {
                derive_constant(code, &mut constants);
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    let body = inline(&body)
        .map_err(|not_inlined| ComposeError::NotInlined { kernel: kernel.name, line: not_inlined.line })?;
    let body = unroll(&body, &constants)
        .map_err(|not_counted| ComposeError::NotCounted { kernel: kernel.name, line: not_counted.line })?;
    Ok(Text { wgsl: format!("{enables}{head}{body}"), constants })
}

/// Every choice of pieces that the files' `// needs` and `// not with` lines allow, at default constants.
///
/// # Errors
/// When a file needs a piece that does not exist.
pub fn permutations(kernel: &'static Interface) -> Result<Vec<Variant>, ComposeError> {
    let mut open = vec![Variant::default()];
    let mut done = Vec::new();
    while let Some(variant) = open.pop() {
        match gather(kernel, &variant) {
            Ok(_) => done.push(variant),
            Err(ComposeError::Excluded { .. }) => {}
            Err(ComposeError::Choice { needs, .. }) => {
                for name in needs.split('|').map(str::trim) {
                    let (name, _) = found(kernel, name)?;
                    open.push(variant.clone().piece(name));
                }
            }
            Err(error) => return Err(error),
        }
    }
    done.sort();
    done.dedup();
    Ok(done)
}

/// The files of a build with their texts, pieces before what needs them, each once.
///
/// # Errors
/// When the variant leaves a choice open, or names what no file knows.
pub fn gather(kernel: &'static Interface, variant: &Variant) -> Result<Vec<Piece>, ComposeError> {
    let mut files = Vec::new();
    follow(kernel, variant, (kernel.name, kernel.source), &mut files)?;
    let names: Vec<&str> = files.iter().map(|file| file.0).collect();
    if let Some(name) = variant.pieces().find(|name| !names.contains(name)) {
        return Err(ComposeError::Unknown { kernel: kernel.name, name });
    }
    for (name, text) in &files {
        let excluded = directives(text, "// not with ").flat_map(str::split_whitespace);
        if let Some(other) = excluded.into_iter().find(|other| names.contains(other)) {
            let (piece, other) = ((*name).to_owned(), other.to_owned());
            return Err(ComposeError::Excluded { kernel: kernel.name, piece, other });
        }
    }
    Ok(files)
}

fn follow(
    kernel: &'static Interface,
    variant: &Variant,
    file: Piece,
    files: &mut Vec<Piece>,
) -> Result<(), ComposeError> {
    if files.iter().any(|(name, _)| *name == file.0) {
        return Ok(());
    }
    for needs in directives(file.1, "// needs ") {
        let names: Vec<&str> = needs.split('|').map(str::trim).collect();
        let chosen: Vec<&str> = match names[..] {
            [only] => vec![only],
            _ => names.iter().copied().filter(|name| variant.has(name)).collect(),
        };
        let &[name] = &chosen[..] else {
            let (needs, variant) = (needs.to_owned(), variant.to_string());
            return Err(ComposeError::Choice { kernel: kernel.name, needs, variant });
        };
        follow(kernel, variant, found(kernel, name)?, files)?;
    }
    files.push(file);
    Ok(())
}

fn found(kernel: &'static Interface, name: &str) -> Result<Piece, ComposeError> {
    let own = kernel.pieces.iter().copied().find(|(known, _)| *known == name);
    own.or_else(|| piece(name)).ok_or_else(|| ComposeError::NoPiece { kernel: kernel.name, piece: name.to_owned() })
}

fn directives<'a>(text: &'a str, start: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(start)).map(str::trim)
}

fn declared_constants(text: &str) -> impl Iterator<Item = (&str, u32)> {
    directives(text, "// constants ")
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, default)| Some((name, default.parse().ok()?)))
}

/// Learns `const NAME: u32 = …;` where its value follows from what is known, so that loops may count with it.
fn derive_constant(code: &str, constants: &mut Constants) {
    let Some((name, number)) = code.strip_prefix("const ").and_then(|code| code.split_once('=')) else { return };
    let name = name.split(':').next().unwrap_or(name).trim().to_owned();
    let number = number.split(';').next().unwrap_or(number);
    if let Some(number) = value(number, constants) {
        constants.insert(name, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KERNEL: Interface = Interface {
        name: "test/kernel",
        source: "// y = x\n// needs elem_f32 | elem_f16\n// constants N=2\nconst M: u32 = N * 2u;\nfor (var i = 0u; i < M; i++) { // unroll\nx(i);\n}\n",
        pieces: &[],
        params: &[],
        bindings: &[],
    };

    #[test]
    fn pieces_and_constants_come_first_and_loops_are_written_out() {
        let text = compose(&KERNEL, &Variant::of(crate::kernel::Elem::F16).constant("N", 1)).expect("composes").wgsl;
        assert!(text.starts_with("enable f16;\nconst N: u32 = 1u;\n"), "{text}");
        assert!(text.contains("x(0u);") && text.contains("x(1u);") && !text.contains("x(2u);"), "{text}");
    }

    #[test]
    fn every_choice_is_a_permutation() {
        let names: Vec<String> = permutations(&KERNEL).expect("pieces exist").iter().map(Variant::to_string).collect();
        assert_eq!(names, ["elem_f16", "elem_f32"]);
    }

    #[test]
    fn what_no_file_knows_is_refused() {
        let open = compose(&KERNEL, &Variant::default());
        assert!(matches!(open, Err(ComposeError::Choice { .. })), "{open:?}");
        let unknown = compose(&KERNEL, &Variant::of(crate::kernel::Elem::F32).constant("O", 1));
        assert_eq!(unknown, Err(ComposeError::Unknown { kernel: "test/kernel", name: "O" }));
        let stray = compose(&KERNEL, &Variant::of(crate::kernel::Elem::F32).piece("reduce"));
        assert_eq!(stray, Err(ComposeError::Unknown { kernel: "test/kernel", name: "reduce" }));
    }
}
