//! Writes loops out: naga gives drivers no hint to unroll, so a loop marked `// unroll` is expanded in the text.

use super::expression::{Constants, value};

/// Why a marked loop cannot be written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotCounted {
    /// The loop's first line.
    pub line: String,
}

/// `text` with every loop `for (var i = 0u; i < BOUND; i++) { // unroll` written out, inner ones too.
pub(super) fn unroll(text: &str, constants: &Constants) -> Result<String, NotCounted> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len() * 2);
    expand(&lines, constants, &mut out)?;
    Ok(out)
}

fn expand(lines: &[&str], constants: &Constants, out: &mut String) -> Result<(), NotCounted> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        if !line.trim_end().ends_with("// unroll") {
            out.push_str(line);
            out.push('\n');
            at += 1;
            continue;
        }
        let end = closing(&lines[at..]).map(|length| at + length);
        let counted = header(line, constants);
        let (Some(end), Some((name, count))) = (end, counted) else {
            return Err(NotCounted { line: line.trim().to_owned() });
        };
        for turn in 0..count {
            let number = format!("{turn}u");
            let body: Vec<String> = lines[at + 1..end].iter().map(|line| replace_word(line, name, &number)).collect();
            out.push_str("{\n");
            expand(&body.iter().map(String::as_str).collect::<Vec<_>>(), constants, out)?;
            out.push_str("}\n");
        }
        at = end + 1;
    }
    Ok(())
}

/// The variable and the number of turns of `for (var i = 0u; i < BOUND; i++) {`.
fn header<'a>(line: &'a str, constants: &Constants) -> Option<(&'a str, u32)> {
    let inner = line.trim().strip_prefix("for (var ")?;
    let (name, inner) = inner.split_once(" = 0u; ")?;
    let (bound, tail) = inner.strip_prefix(name)?.strip_prefix(" < ")?.split_once("; ")?;
    tail.strip_prefix(name)?.starts_with("++) {").then_some(())?;
    Some((name, value(bound, constants)?))
}

/// How many lines down the block that the first line opens is closed by a line `}`.
fn closing(lines: &[&str]) -> Option<usize> {
    let mut depth = 0i64;
    for (at, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for c in code.chars() {
            depth += i64::from(c == '{') - i64::from(c == '}');
        }
        if depth == 0 {
            return (code.trim() == "}").then_some(at);
        }
    }
    None
}

/// `line` with the whole word `name` replaced.
fn replace_word(line: &str, name: &str, by: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |length| start + length);
        out.push_str(&rest[..start]);
        out.push_str(if &rest[start..end] == name { by } else { &rest[start..end] });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{Constants, unroll};

    #[test]
    fn writes_nested_loops_out_and_leaves_others_alone() {
        let text = "for (var i = 0u; i < N; i++) { // unroll\n  if (x) {\n    a[i] = ii;\n  }\n  for (var j = 0u; j < 1u; j++) { // unroll\n    b[i + j];\n  }\n}\nfor (var k = 0u; k < N; k++) {\n}\n";
        let out = unroll(text, &Constants::from([("N".to_owned(), 2)])).expect("counted");
        let squeezed: Vec<&str> = out.lines().map(str::trim).collect();
        assert_eq!(
            squeezed.join(" "),
            "{ if (x) { a[0u] = ii; } { b[0u + 0u]; } } { if (x) { a[1u] = ii; } { b[1u + 0u]; } } for (var k = 0u; k < N; k++) { }"
        );
    }

    #[test]
    fn refuses_what_it_cannot_count() {
        assert!(unroll("for (var i = 0u; i < params.n; i++) { // unroll\n}\n", &Constants::new()).is_err());
        assert!(unroll("for (var i = 0u; i < 2u; i++) { // unroll\n", &Constants::new()).is_err());
    }
}
