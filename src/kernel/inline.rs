//! Writes calls out: a call marked `// inline` is replaced by the function's body.
//!
//! On NVIDIA an array of cooperative matrices that is handed to a function, by pointer, by value or through a private
//! variable, cost a hand-fused GEMM a third of its speed (benches/rejected.md). So the engine's functions
//! stay functions to the reader, and are written out where the sums live.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Why a marked call cannot be written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotInlined {
    /// The call's line.
    pub(super) line: String,
}

/// `text` with every statement `name(…); // inline` replaced by the body of `fn name(…) {` … `}` of the same text.
///
/// An argument `&x` of a parameter `p: ptr<function, …>` turns `(*p)` into `x`; other arguments are bound by `let`
/// unless they are called what the parameter is called. The function must give nothing back. Where no other call is left it is left
/// out: what is a constant where it is written out need not be one in the function.
pub(super) fn inline(text: &str) -> Result<String, NotInlined> {
    let mut out = String::with_capacity(text.len() * 2);
    let mut names = BTreeSet::new();
    for line in text.lines() {
        match line.trim_end().strip_suffix("// inline") {
            None => out.push_str(line),
            Some(call) => {
                let body = written_out(text, call.trim()).ok_or_else(|| NotInlined { line: line.trim().to_owned() })?;
                out.push_str(&body);
                names.extend(call.trim().split('(').next());
            }
        }
        out.push('\n');
    }
    for name in names {
        let start = format!("\nfn {name}(");
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let places = out.match_indices(name).filter(|(at, _)| !out[..*at].ends_with(inside));
        let calls = places.filter(|(at, _)| out[at + name.len()..].starts_with('(')).count();
        if let (1, Some(at)) = (calls, out.find(&start)) {
            let end = out[at..].find("\n}").map_or(out.len(), |length| at + length + "\n}".len());
            out.replace_range(at..end, "");
        }
    }
    Ok(out)
}

fn written_out(text: &str, call: &str) -> Option<String> {
    let (name, arguments) = call.strip_suffix(");")?.split_once('(')?;
    let start = text.find(&format!("\nfn {name}("))?;
    let (parameters, rest) = text[start..].split_once('(')?.1.split_once(") {\n")?;
    let body = &rest[..rest.find("\n}")?];
    if body.contains("return") {
        return None;
    }
    let split = |list: &str| list.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
    // `ptr<function, T>` holds a comma of its own.
    let parameters = split(&parameters.replace("ptr<function,", "ptr<function"));
    let arguments = split(arguments);
    if parameters.len() != arguments.len() {
        return None;
    }
    // In two layers: an argument may name what another parameter is called.
    let (mut given, mut bindings) = (String::new(), String::new());
    let mut body = body.to_owned();
    for (parameter, argument) in parameters.iter().zip(&arguments) {
        let (parameter, kind) = parameter.split_once(':')?;
        match argument.strip_prefix('&') {
            Some(variable) if kind.contains("ptr<") => body = body.replace(&format!("(*{parameter})"), variable),
            None if argument == parameter => {}
            None => {
                let _ = writeln!(given, "let given_{parameter} = {argument};");
                let _ = writeln!(bindings, "let {parameter} = given_{parameter};");
            }
            Some(_) => return None,
        }
    }
    Some(format!("{{\n{given}{bindings}{body}\n}}"))
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn what_is_only_written_out_is_left_out() {
        let text = "\nfn add(k: u32) {\n    use(k);\n}\nfn main() {\n    add(2u); // inline\n}\n";
        let out = inline(text).expect("can be written out");
        assert!(!out.contains("fn add") && out.contains("fn main() {") && out.contains("use(k);"), "{out}");
    }

    #[test]
    fn a_marked_call_becomes_the_body() {
        let text = "\nfn add(sums: ptr<function, Sums>, k: u32, at: u32) {\n    (*sums)[at] += k;\n}\nfn main() {\n    add(&totals, k0 + 1u, at); // inline\n    add(&totals, 2u, at);\n}\n";
        let out = inline(text).expect("can be written out");
        assert!(
            out.contains(
                "{\nlet given_k = k0 + 1u;\nlet k = given_k;\n    totals[at] += k;\n}\n    add(&totals, 2u, at);"
            ),
            "{out}"
        );
    }

    #[test]
    fn arguments_may_be_called_what_other_parameters_are() {
        let out = inline("\nfn swap(a: u32, b: u32) {\n    use_both(a, b);\n}\nswap(b, a); // inline\n")
            .expect("written out");
        assert!(out.contains("let given_a = b;\nlet given_b = a;\nlet a = given_a;\nlet b = given_b;"), "{out}");
    }

    #[test]
    fn what_cannot_be_written_out_is_named() {
        for call in ["gone(1u); // inline", "one(); // inline", "back(1u); // inline"] {
            let text = format!("\nfn one(a: u32) {{\n}}\nfn back(a: u32) -> u32 {{\n return a;\n}}\n{call}\n");
            assert_eq!(inline(&text).expect_err("refused").line, call);
        }
    }
}
