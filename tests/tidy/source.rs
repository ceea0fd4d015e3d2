//! Rules about text and Rust code, and the little of a lexer that they need.

/// `text` with comments and the insides of strings and characters blanked; lines and offsets of characters stay.
pub(crate) fn code(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = match (letters[at], letters.get(at + 1)) {
            ('/', Some('/')) => at + letters[at..].iter().take_while(|&&letter| letter != '\n').count(),
            ('/', Some('*')) => block_comment_end(&letters, at),
            ('"', _) => string_end(&letters, at),
            ('\'', Some('\\')) => {
                at + 3 + letters.iter().skip(at + 3).take_while(|&&letter| letter != '\'').count() + 1
            }
            ('\'', Some(_)) if letters.get(at + 2) == Some(&'\'') => at + 3,
            (letter, _) => {
                code.push(letter);
                at += 1;
                continue;
            }
        };
        let end = end.min(letters.len());
        code.extend(letters[at..end].iter().map(|&letter| if letter == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

fn block_comment_end(letters: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    loop {
        match (letters.get(at), letters.get(at + 1)) {
            (Some('/'), Some('*')) => (depth, at) = (depth + 1, at + 2),
            (Some('*'), Some('/')) => (depth, at) = (depth - 1, at + 2),
            (Some(_), _) => at += 1,
            (None, _) => return at,
        }
        if depth == 0 {
            return at;
        }
    }
}

/// Past the end of the string whose opening quote is at `start`, raw or not.
fn string_end(letters: &[char], start: usize) -> usize {
    let hashes = letters[..start].iter().rev().take_while(|&&letter| letter == '#').count();
    let raw = start.checked_sub(hashes + 1).is_some_and(|at| letters[at] == 'r');
    let mut at = start + 1;
    while at < letters.len() {
        match letters[at] {
            '\\' if !raw => at += 1,
            '"' if !raw => return at + 1,
            '"' if letters[at + 1..].iter().take_while(|&&letter| letter == '#').count() >= hashes => {
                return at + 1 + hashes;
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// The words of `code` and where they begin, in bytes.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut starts = code.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, _) = starts.find(|(_, letter)| is_part(*letter))?;
        let mut end = code.len();
        while let Some(&(at, letter)) = starts.peek() {
            if !is_part(letter) {
                end = at;
                break;
            }
            starts.next();
        }
        Some((start, &code[start..end]))
    })
}

/// The line of byte `at`, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Where the item that `from` lies in ends, and whether it has a body: at a `;` outside of brackets, or with its braces.
pub(crate) fn item_end(code: &str, from: usize) -> (usize, bool) {
    let (mut brackets, mut braces) = (0i32, 0i32);
    for (at, letter) in code[from..].char_indices() {
        match letter {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            ';' if brackets <= 0 && braces == 0 => return (from + at, false),
            _ => continue,
        }
        if letter == '}' && braces <= 0 {
            return (from + at, braces == 0);
        }
    }
    (code.len(), false)
}

/// `code` with every item under `#[cfg(test)]` blanked.
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    let marks: Vec<usize> = code.match_indices("#[cfg(test)]").map(|(at, _)| at).collect();
    for at in marks {
        let (end, _) = item_end(code, at + "#[cfg(test)]".len());
        let blank: String = code[at..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(at..end, &blank);
    }
    kept
}

/// Where a file of `sizes` (lines, path) has more than `most` lines: the ten largest, so that the next ones show too.
pub(crate) fn long_files(mut sizes: Vec<(usize, &str)>, most: usize) -> Vec<String> {
    sizes.sort_by(|one, other| other.cmp(one));
    if sizes.first().is_none_or(|(lines, _)| *lines <= most) {
        return Vec::new();
    }
    sizes.iter().take(10).map(|(lines, path)| format!("{lines:5} lines (at most {most}): {path}")).collect()
}

/// Functions of more than `most` lines.
pub(crate) fn long_functions(code: &str, most: usize) -> Vec<String> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let named = all.windows(2).filter(|pair| pair[0].1 == "fn" && code[pair[0].0 + 2..pair[1].0].trim().is_empty());
    let sized = named.filter_map(|pair| {
        let (start, (_, name)) = (pair[0].0, pair[1]);
        let (end, has_body) = item_end(code, start);
        let lines = code[start..end].matches('\n').count() + 1;
        (has_body && lines > most).then(|| format!("line {}: fn {name} has {lines} lines", line_of(code, start)))
    });
    sized.collect()
}

/// Names that say nothing.
pub(crate) fn empty_name(stem: &str) -> Vec<String> {
    let empty = ["base", "utils", "util", "common", "helpers", "helper", "misc"].contains(&stem);
    empty.then(|| format!("`{stem}` says nothing of what is inside")).into_iter().collect()
}

/// The first line is a `//!` sentence.
pub(crate) fn opening(text: &str) -> Vec<String> {
    let opens = text.strip_prefix("//! ").is_some_and(|rest| rest.starts_with(|first: char| !first.is_whitespace()));
    (!opens).then(|| "does not open with a `//! ` sentence that says what is here".to_owned()).into_iter().collect()
}

/// Macros and attributes that leave work for later.
pub(crate) fn unfinished(code: &str) -> Vec<String> {
    let after = |at: usize, word: &str, mark: char| code[at + word.len()..].trim_start().starts_with(mark);
    let found = words(code).filter(|&(at, word)| match word {
        "todo" | "unimplemented" | "dbg" => after(at, word, '!'),
        "ignore" => code[..at].trim_end().ends_with("#["),
        _ => false,
    });
    found.map(|(at, word)| format!("line {}: `{word}`", line_of(code, at))).collect()
}

/// The keyword `unsafe`.
pub(crate) fn unsafe_code(code: &str) -> Vec<String> {
    let found = words(code).filter(|&(_, word)| word == "unsafe");
    found.map(|(at, _)| format!("line {}: unsafe outside of src/gpu", line_of(code, at))).collect()
}

/// Line ends, tabs, blanks before a line's end, and the last line's end.
pub(crate) fn whitespace(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in text.split('\n').enumerate() {
        if line.contains('\t') || line.ends_with([' ', '\r']) {
            complaints.push(format!("line {}: a tab, a carriage return, or a blank before the line's end", at + 1));
        }
    }
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        complaints.push("does not end with exactly one newline".into());
    }
    complaints
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "a // b\n/* c /* d */ e */ f \"g\\\" h\" i r#\"j \" k\"# 'l' '\\n' '\\'' m<'n> o";
    let kept: Vec<String> = words(&code(text)).map(|(_, word)| word.to_owned()).collect();
    assert_eq!(kept, ["a", "f", "i", "r", "m", "n", "o"]);
    assert_eq!(code(text).chars().count(), text.chars().count());
}

#[test]
fn tests_are_set_apart() {
    let code = "one #[cfg(test)] mod tests { two { three } } four #[cfg(test)] use five; six";
    let kept: Vec<String> = words(&without_tests(code)).map(|(_, word)| word.to_owned()).collect();
    assert_eq!(kept, ["one", "four", "six"]);
}

#[test]
fn long_functions_are_found() {
    let code =
        "trait T { fn none(x: [u8; 2]) -> [u8; 3];\n\n\n }\nfn long(f: fn(u8)) -> [u8; 2] {\n{\n}\n}\nfn short() {\n}";
    assert_eq!(long_functions(code, 3), ["line 5: fn long has 4 lines"]);
    assert!(long_functions(code, 4).is_empty());
}

#[test]
fn rules_about_text_can_complain() {
    assert_eq!(
        long_files(vec![(3, "a"), (401, "b")], 400),
        ["  401 lines (at most 400): b", "    3 lines (at most 400): a"]
    );
    assert!(long_files(vec![(3, "a"), (400, "b")], 400).is_empty());
    assert!(!empty_name("utils").is_empty() && empty_name("shape").is_empty());
    assert!(!opening("// x\n").is_empty() && !opening("//!\n").is_empty() && opening("//! What is here.\n").is_empty());
    assert_eq!(unfinished("fn f() { todo!() }\n#[ignore]\n#[ignore = 1]\ndbg!(x) unimplemented ! ()").len(), 5);
    assert!(unfinished("let ignore = todo; #[allow(ignore)]").is_empty());
    assert_eq!(unsafe_code("unsafe_code\nunsafe { }"), ["line 2: unsafe outside of src/gpu"]);
    for wrong in ["a \n", "a\tb\n", "a\r\n", "a", "a\n\n"] {
        assert!(!whitespace(wrong).is_empty(), "{wrong:?}");
    }
    assert!(whitespace("a\n\nb\n").is_empty());
}
