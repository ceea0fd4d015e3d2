//! Every way of changing one token of a WGSL text for another that means something else.

use std::collections::HashMap;
use std::ops::Range;

use super::tokens::{Kind, Token, closing, tokens};

/// A text with one thing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The file: a kernel (`softmax/forward`) or a piece (`reduce`), as kernels name it.
    pub file: &'static str,
    /// What tells it from all others, and survives when lines above it come or go:
    /// `file | line | from → to | occurrence of the line.token of the line`.
    pub name: String,
    /// Line and column, from 1.
    pub place: [usize; 2],
    range: Range<usize>,
    by: String,
}

impl Mutant {
    /// The text of its file, changed.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        format!("{}{}{}", &text[..self.range.start], self.by, &text[self.range.end..])
    }
}

/// All mutants of a file. `fields`: the names and types of the kernel's parameters, which are taken for one another.
#[must_use]
pub fn mutants(file: &'static str, text: &str, fields: &[(&str, &str)]) -> Vec<Mutant> {
    let all = tokens(text);
    let mut found: Vec<Mutant> = Vec::new();
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or(line).trim()).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let occurrences: Vec<usize> = lines
        .iter()
        .map(|line| {
            let count = seen.entry(*line).or_default();
            *count += 1;
            *count
        })
        .collect();
    let line_of = |byte: usize| text[..byte].matches('\n').count();
    for at in 0..all.len() {
        if all[at].fixed {
            continue;
        }
        let line = line_of(all[at].range.start);
        let of_line = all[..=at].iter().rev().take_while(|token| line_of(token.range.start) == line).count();
        for (range, by) in changes(&all, at, text, fields) {
            let (from, to) = (shown(&text[range.clone()]), shown(&by));
            let start = text[..all[at].range.start].rfind('\n').map_or(0, |newline| newline + 1);
            let mutant = Mutant {
                file,
                name: format!("{file} | {} | {from} → {to} | {}.{of_line}", lines[line], occurrences[line]),
                place: [line + 1, all[at].range.start - start + 1],
                range,
                by,
            };
            if !found.iter().any(|known| known.range == mutant.range && known.by == mutant.by) {
                found.push(mutant);
            }
        }
    }
    found
}

/// What stands there, in one line.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}

fn changes(all: &[Token<'_>], at: usize, text: &str, fields: &[(&str, &str)]) -> Vec<(Range<usize>, String)> {
    let token = &all[at];
    let whole = |by: &str| (token.range.clone(), by.to_owned());
    match token.kind {
        Kind::Number => numbers(all, at).iter().map(|by| whole(by)).collect(),
        Kind::Word => words(all, at, text, fields),
        Kind::Mark => {
            let mut found: Vec<_> = marks(all, at).iter().map(|by| whole(by)).collect();
            if COMPARISONS.contains(&token.text) && !token.header {
                let extent = operands(all, at);
                found.extend(["true", "false"].map(|by| (extent.clone(), by.to_owned())));
            }
            found
        }
    }
}

const COMPARISONS: &[&str] = &["<", "<=", ">", ">=", "==", "!="];

/// Whether a mark stands between two operands, and not in front of one.
fn is_binary(all: &[Token<'_>], at: usize) -> bool {
    at > 0
        && match all[at - 1].kind {
            Kind::Word => all[at - 1].text != "return",
            Kind::Number => true,
            Kind::Mark => matches!(all[at - 1].text, ")" | "]") || all[at - 1].fixed && all[at - 1].text == ">",
        }
}

fn marks(all: &[Token<'_>], at: usize) -> &'static [&'static str] {
    let header = all[at].header;
    let next_is = |text: &str| all.get(at + 1).is_some_and(|next| next.text == text);
    match (all[at].text, is_binary(all, at)) {
        ("+", true) => &["-"],
        ("-", true) => &["+"],
        ("-" | "!", false) => &[""],
        ("*", true) => &["+"],
        ("/", true) => &["*"],
        ("%", true) => &["/"],
        ("<", _) => &["<="],
        ("<=", _) => &["<"],
        // A loop that counts down to `>= 0u` never ends.
        (">", _) if header && next_is("0u") => &[],
        (">", _) => &[">="],
        (">=", _) => &[">"],
        ("==", _) => &["!="],
        ("!=", _) => &["=="],
        ("&&", _) => &["||"],
        ("||", _) => &["&&"],
        ("&", true) => &["|"],
        ("|", true) => &["&"],
        ("+=", _) if header => &["-="],
        ("+=", _) => &["-=", "="],
        ("-=", _) => &["+="],
        ("*=", _) => &["/="],
        ("/=", _) => &["*="],
        _ => &[],
    }
}

/// From the first to the last token of what a comparison compares.
fn operands(all: &[Token<'_>], at: usize) -> Range<usize> {
    let ends = |token: &Token<'_>| {
        matches!(token.text, "&&" | "||" | "&" | "|" | "=" | "," | ";" | "{" | "}" | "return" | "if" | "!")
    };
    let (mut from, mut depth) = (at, 0usize);
    while from > 0 {
        let token = &all[from - 1];
        match token.text {
            ")" | "]" => depth += 1,
            "(" | "[" if depth == 0 => break,
            "(" | "[" => depth -= 1,
            _ if depth == 0 && ends(token) => break,
            _ => {}
        }
        from -= 1;
    }
    let (mut to, mut depth) = (at, 0usize);
    while to + 1 < all.len() {
        let token = &all[to + 1];
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" if depth == 0 => break,
            ")" | "]" => depth -= 1,
            _ if depth == 0 && ends(token) => break,
            _ => {}
        }
        to += 1;
    }
    all[from].range.start..all[to].range.end
}

fn numbers(all: &[Token<'_>], at: usize) -> Vec<String> {
    let text = all[at].text;
    if let Some(digits) = text.strip_prefix("0x") {
        let hex = digits.trim_end_matches(['u', 'i']);
        let less = u64::from_str_radix(hex, 16).ok().and_then(|number| number.checked_sub(1));
        return less.map(|number| format!("0x{number:x}{}", &digits[hex.len()..])).into_iter().collect();
    }
    if text.contains(['.', 'e']) {
        let digits = text.trim_end_matches(['f', 'h']);
        let Ok(number) = digits.parse::<f64>() else { return Vec::new() };
        return match digits {
            "0.0" => vec!["1.0".to_owned()],
            "1.0" => vec!["0.0".to_owned(), "2.0".to_owned()],
            // Fitted constants are wrong long before they are twice as large.
            _ if digits.len() > 6 && !digits.contains('e') => vec![format!("{:.11}", number * 1.001)],
            _ if digits.contains('e') => vec![format!("{:e}", number / 2.0)],
            _ => vec![format!("{:?}", number * 2.0)],
        };
    }
    let digits = text.trim_end_matches(['u', 'i']);
    let suffix = &text[digits.len()..];
    let Ok(number) = digits.parse::<u64>() else { return Vec::new() };
    // `half /= 1u` never ends.
    let divides = all[at].header && at > 0 && all[at - 1].text == "/=";
    let less = (number > 0 && !divides).then(|| number - 1);
    less.into_iter().chain([number + 1]).map(|number| format!("{number}{suffix}")).collect()
}

fn words(all: &[Token<'_>], at: usize, text: &str, fields: &[(&str, &str)]) -> Vec<(Range<usize>, String)> {
    let range = all[at].range.clone();
    let whole = |by: &str| vec![(range.clone(), by.to_owned())];
    let called = all.get(at + 1).is_some_and(|next| next.text == "(");
    let member_of = |of: Option<&str>| at > 1 && all[at - 1].text == "." && of.is_none_or(|of| all[at - 2].text == of);
    match all[at].text {
        "workgroupBarrier" if called => {
            let end = all.get(at + 3).map_or(range.end, |semicolon| semicolon.range.end);
            vec![(range.start..end, String::new())]
        }
        "min" if called => whole("max"),
        "max" if called => whole("min"),
        "exp" | "log" | "sqrt" | "inverseSqrt" | "abs" if called => whole(""),
        "select" if called => swapped(all, at + 1, text).into_iter().collect(),
        "x" if member_of(None) => whole("y"),
        "y" if member_of(None) => whole("x"),
        "z" if member_of(None) => whole("w"),
        "w" if member_of(None) => whole("z"),
        name if member_of(Some("params")) => another(name, fields).map(whole).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The first two arguments of a call, the other way round.
fn swapped(all: &[Token<'_>], open: usize, text: &str) -> Option<(Range<usize>, String)> {
    let end = closing(all, open)?;
    let (mut depth, mut commas) = (0usize, Vec::new());
    for (at, token) in all[..end].iter().enumerate().skip(open + 1) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.checked_sub(1)?,
            "," if depth == 0 && !token.fixed => commas.push(at),
            _ => {}
        }
    }
    let &[first, second, ..] = &commas[..] else { return None };
    let argument = |from: usize, to: usize| &text[all[from].range.start..all[to].range.end];
    let range = all[open + 1].range.start..all[second - 1].range.end;
    Some((range, format!("{}, {}", argument(first + 1, second - 1), argument(open + 1, first - 1))))
}

/// The parameter behind `name`, of the same type.
fn another<'a>(name: &str, fields: &[(&'a str, &str)]) -> Option<&'a str> {
    let at = fields.iter().position(|field| field.0 == name)?;
    let behind = fields.iter().cycle().skip(at + 1).take(fields.len() - 1);
    behind.into_iter().find(|field| field.1 == fields[at].1).map(|field| field.0)
}

#[cfg(test)]
mod tests {
    use super::mutants;

    /// All changes of a line, as `from → to`.
    fn changes(line: &str) -> Vec<String> {
        let fields = [("rows", "u32"), ("scale", "f32"), ("cols", "u32")];
        let all = mutants("test", line, &fields);
        all.iter().map(|mutant| mutant.name.split(" | ").nth(2).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn operators_indices_and_barriers_change() {
        assert_eq!(changes("let a = b + c * -d;"), ["+ → -", "* → +", "- → nothing"]);
        assert_eq!(changes("sum += x[i - 1u];"), ["+= → -=", "+= → =", "- → +", "1u → 0u", "1u → 2u"]);
        assert_eq!(changes("workgroupBarrier();"), ["workgroupBarrier(); → nothing"]);
        assert_eq!(changes("v.x = exp(min(v.w, 0.0));"), ["x → y", "exp → nothing", "min → max", "w → z", "0.0 → 1.0"]);
        assert_eq!(changes("f(params.rows, params.scale);"), ["rows → cols"]);
        assert_eq!(changes("let a = select(b(c, d), e, g);"), ["b(c, d), e → e, b(c, d)"]);
    }

    #[test]
    fn guards_are_shifted_and_taken_out() {
        let wanted = ["< → <=", "row + c < n → true", "row + c < n → false", "&& → ||", "! → nothing"];
        let found = changes("if f(row + c < n && !g) {");
        assert!(wanted.iter().all(|wanted| found.contains(&(*wanted).to_owned())), "{found:?}");
    }

    #[test]
    fn no_loop_becomes_endless() {
        let found = changes("for (var half = W / 2u; half > 0u; half /= 2u) {");
        assert_eq!(found, ["/ → *", "2u → 1u", "2u → 3u", "0u → 1u", "/= → *=", "2u → 3u"]);
        assert_eq!(changes("for (var i = 0u; i < n; i++) {"), ["0u → 1u", "< → <="]);
    }

    #[test]
    fn names_outlive_lines_above_and_tell_equal_lines_apart() {
        let (one, other) = (mutants("f", "a = b + c;\na = b + c;\n", &[]), mutants("f", "// new\na = b + c;\n", &[]));
        assert_eq!(one[0].name, "f | a = b + c; | + → - | 1.4");
        assert_eq!(one[1].name, "f | a = b + c; | + → - | 2.4");
        assert_eq!((one[0].name.as_str(), other[0].place), (other[0].name.as_str(), [2, 7]));
        assert_eq!(one[1].apply("a = b + c;\na = b + c;\n"), "a = b + c;\na = b - c;\n");
    }
}
