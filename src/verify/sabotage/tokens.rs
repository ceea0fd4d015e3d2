//! The little of a WGSL lexer that changing a text takes: tokens, and which of them are none of our business.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Mark,
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) range: Range<usize>,
    /// Part of a type, an attribute or a declaration that the Rust twin fixes: not to be changed.
    pub(super) fixed: bool,
    /// Between the brackets of a `for`.
    pub(super) header: bool,
}

/// Longest first: `<=` before `<`.
const MARKS: &[&str] =
    &["<<=", ">>=", "->", "&&", "||", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "++", "--", "<<", ">>"];

/// The tokens of a text; comments are none.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first.is_ascii_digit() {
            (Kind::Number, number(rest))
        } else if first.is_alphanumeric() || first == '_' {
            (Kind::Word, rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()))
        } else {
            (Kind::Mark, MARKS.iter().find(|mark| rest.starts_with(**mark)).map_or(first.len_utf8(), |mark| mark.len()))
        };
        all.push(Token { kind, text: &rest[..length], range: at..at + length, fixed: false, header: false });
        at += length;
    }
    mark_templates(&mut all);
    mark_declarations(&mut all);
    mark_headers(&mut all);
    all
}

fn number(rest: &str) -> usize {
    let mut length = 0;
    let mut last = ' ';
    for c in rest.chars() {
        let sign = "+-".contains(c) && "eE".contains(last) && !rest.starts_with("0x");
        if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
            break;
        }
        length += 1;
        last = c;
    }
    length
}

/// `array<f32, N>`: a `<` right behind a word opens a list of types. Comparisons stand between blanks.
fn mark_templates(all: &mut [Token<'_>]) {
    let mut depth = 0usize;
    for at in 1..all.len() {
        let behind_word = all[at - 1].kind == Kind::Word && all[at - 1].range.end == all[at].range.start;
        match all[at].text {
            "<" if behind_word => depth += 1,
            ">" if depth > 0 => {
                all[at].fixed = true;
                depth -= 1;
            }
            ">>" if depth > 1 => {
                all[at].fixed = true;
                depth -= 2;
            }
            _ => {}
        }
        all[at].fixed |= depth > 0;
    }
}

/// Attributes, `struct`, `enable` and `alias`.
fn mark_declarations(all: &mut [Token<'_>]) {
    let mut at = 0;
    while at < all.len() {
        let end = match all[at].text {
            "@" => all.get(at + 2).filter(|next| next.text == "(").and_then(|_| closing(all, at + 2)).or(Some(at + 1)),
            "struct" => all[at..].iter().position(|token| token.text == "}").map(|length| at + length),
            "enable" | "alias" => all[at..].iter().position(|token| token.text == ";").map(|length| at + length),
            _ => None,
        };
        match end {
            Some(end) => {
                let end = end.min(all.len() - 1);
                all[at..=end].iter_mut().for_each(|token| token.fixed = true);
                at = end + 1;
            }
            None => at += 1,
        }
    }
}

fn mark_headers(all: &mut [Token<'_>]) {
    for at in 0..all.len() {
        if all[at].text == "for"
            && let Some(end) = closing(all, at + 1)
        {
            all[at..=end].iter_mut().for_each(|token| token.header = true);
        }
    }
}

/// Where the bracket that `open` opens is closed.
pub(super) fn closing(all: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in all.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn types_attributes_and_comments_are_left_alone() {
        let text = "// a + b\n@group(0) @binding(1) var<storage, read> x: array<vec4<f32>, N * 2u>;\nstruct S { a: u32 }\nalias e = f16;\nlet y = i < 3u && x[i + 1u] > -2.5e-3;";
        let free: Vec<&str> = tokens(text).into_iter().filter(|token| !token.fixed).map(|token| token.text).collect();
        let wanted = "var x : array ; let y = i < 3u && x [ i + 1u ] > - 2.5e-3 ;";
        assert_eq!(free.join(" "), wanted);
    }

    #[test]
    fn headers_of_loops_are_known() {
        let text = "for (var i = 0u; i < f(n); i += 2u) { s += i; }";
        let header: Vec<&str> = tokens(text).into_iter().filter(|token| token.header).map(|token| token.text).collect();
        assert_eq!(header.join(" "), "for ( var i = 0u ; i < f ( n ) ; i += 2u )");
    }
}
