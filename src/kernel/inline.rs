//! Writes calls out: a call marked `// inline` is replaced by the function's body.
//!
//! On NVIDIA an array of cooperative matrices that is handed to a function, by pointer, by value or through a private
//! variable, cost a hand-fused GEMM a third of its speed (benches/rejected.md). So the engine's functions
//! stay functions to the reader, and are written out where the sums live.
//!
//! A function under a line `// if called` is left out of builds in which nothing calls it: what it calls itself need not
//! be there then.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Why a marked call cannot be written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotInlined {
    /// The call's line.
    pub(super) line: String,
}

/// `text` with every statement `name(…); // inline` replaced by the body of `fn name(…) {` … `}` of the same text, and so
/// on with the calls in that; without the functions that are only called so, or `// if called` and are not.
///
/// An argument `&x` of a parameter `p: ptr<function, …>` turns `(*p)` into `x`; other arguments are bound by `let`
/// unless they are called what the parameter is called. The function must give nothing back. Where no other call is left it is left
/// out: what is a constant where it is written out need not be one in the function.
pub(super) fn inline(text: &str) -> Result<String, NotInlined> {
    let mut text = text.to_owned();
    let mut names = BTreeSet::new();
    // Calls lie in each other a few deep; a function that calls itself would never end.
    for _ in 0..DEEPEST {
        let Some(out) = once(&text, &mut names)? else { break };
        text = out;
    }
    if let Some(line) = text.lines().find(|line| marked(line).is_some()) {
        return Err(NotInlined { line: line.trim().to_owned() });
    }
    let conditional: Vec<String> = text.split(IF_CALLED).skip(1).filter_map(name_of).collect();
    names.extend(conditional);
    // One that is left out no longer calls others.
    while let Some(name) = names.iter().find(|name| !is_called(&text, name)).cloned() {
        leave_out(&mut text, &name);
        names.remove(&name);
    }
    Ok(text)
}

/// Calls in calls at most.
const DEEPEST: usize = 8;

/// What stands above a function that is left out where nothing calls it.
const IF_CALLED: &str = "\n// if called\n";

/// The call of a line that is marked.
fn marked(line: &str) -> Option<&str> {
    line.trim_end().strip_suffix("// inline").map(str::trim)
}

/// Every marked call replaced, and the names of what is called; nothing where there is none.
fn once(text: &str, names: &mut BTreeSet<String>) -> Result<Option<String>, NotInlined> {
    let mut out = String::with_capacity(text.len() * 2);
    let mut found = false;
    for line in text.lines() {
        match marked(line) {
            None => out.push_str(line),
            Some(call) => {
                let body = written_out(text, call).ok_or_else(|| NotInlined { line: line.trim().to_owned() })?;
                out.push_str(&body);
                names.extend(call.split('(').next().map(str::to_owned));
                found = true;
            }
        }
        out.push('\n');
    }
    Ok(found.then_some(out))
}

/// The name of the function that a text begins with.
fn name_of(text: &str) -> Option<String> {
    Some(text.strip_prefix("fn ")?.split_once('(')?.0.to_owned())
}

/// Whether anything but its own definition says `name(`, comments apart.
fn is_called(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let calls = |line: &str| {
        let code = line.split("//").next().unwrap_or(line);
        let places = code.match_indices(name).filter(|(at, _)| !code[..*at].ends_with(inside));
        places.filter(|(at, _)| code[at + name.len()..].starts_with('(') && !code[..*at].ends_with("fn ")).count()
    };
    text.lines().any(|line| calls(line) > 0)
}

fn leave_out(text: &mut String, name: &str) {
    if let Some(at) = text.find(&format!("\nfn {name}(")) {
        // Of a function on one line there is no line with its last brace.
        let line = text[at + 1..].find('\n').map_or(text.len(), |length| at + 1 + length);
        let end = match text[at + 1..line].trim_end().ends_with('}') {
            true => line,
            false => text[at..].find("\n}").map_or(text.len(), |length| at + length + "\n}".len()),
        };
        text.replace_range(at..end, "");
    }
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
    // Indented: a brace that begins a line ends a function.
    Some(format!("    {{\n{given}{bindings}{body}\n    }}"))
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
    fn what_may_be_left_out_is_where_nothing_calls_it() {
        let text = "\n// if called\nfn one(k: u32) {\n    two(k);\n}\n// if called\nfn two(k: u32) {}\n// two(k)\n// if called\nfn three() {\n    four();\n}\nfn main() {\n    three();\n}\n";
        let out = inline(text).expect("there is nothing to write out");
        assert!(!out.contains("fn one") && !out.contains("fn two") && out.contains("// two(k)"), "{out}");
        assert!(out.contains("fn three() {\n    four();\n}\nfn main"), "{out}");
    }

    #[test]
    fn calls_in_what_is_written_out_are_written_out() {
        let text = "\nfn add(sums: ptr<function, Sums>) {\n    (*sums)[0] += 1;\n}\nfn both(sums: ptr<function, Sums>) {\n    add(&(*sums)); // inline\n    add(&(*sums)); // inline\n}\nfn main() {\n    both(&one); // inline\n}\n";
        let out = inline(text).expect("can be written out");
        assert!(
            out.matches("one[0] += 1;").count() == 2 && !out.contains("fn add") && !out.contains("fn both"),
            "{out}"
        );
        let itself = "\nfn round(a: u32) {\n    round(a); // inline\n}\nround(1u); // inline\n";
        assert!(inline(itself).is_err());
    }

    #[test]
    fn a_marked_call_becomes_the_body() {
        let text = "\nfn add(sums: ptr<function, Sums>, k: u32, at: u32) {\n    (*sums)[at] += k;\n}\nfn main() {\n    add(&totals, k0 + 1u, at); // inline\n    add(&totals, 2u, at);\n}\n";
        let out = inline(text).expect("can be written out");
        assert!(
            out.contains(
                "{\nlet given_k = k0 + 1u;\nlet k = given_k;\n    totals[at] += k;\n    }\n    add(&totals, 2u, at);"
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
