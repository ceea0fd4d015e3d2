//! The few constant expressions that loop bounds are made of: numbers, names, `+ - * /`, brackets, `min` and `max`.

use std::collections::BTreeMap;

/// The numbers known while a text is composed.
pub(super) type Constants = BTreeMap<String, u32>;

/// The value of `text`, or nothing when it is not such an expression or a name in it is unknown.
pub(super) fn value(text: &str, constants: &Constants) -> Option<u32> {
    let mut rest = text.trim();
    let result = sum(&mut rest, constants)?;
    rest.trim().is_empty().then_some(result)
}

fn sum(rest: &mut &str, constants: &Constants) -> Option<u32> {
    let mut result = product(rest, constants)?;
    loop {
        *rest = rest.trim_start();
        result = match rest.as_bytes().first() {
            Some(b'+') => result.checked_add(after(rest, constants, product)?)?,
            Some(b'-') => result.checked_sub(after(rest, constants, product)?)?,
            _ => return Some(result),
        };
    }
}

fn product(rest: &mut &str, constants: &Constants) -> Option<u32> {
    let mut result = atom(rest, constants)?;
    loop {
        *rest = rest.trim_start();
        result = match rest.as_bytes().first() {
            Some(b'*') => result.checked_mul(after(rest, constants, atom)?)?,
            Some(b'/') => result.checked_div(after(rest, constants, atom)?)?,
            _ => return Some(result),
        };
    }
}

fn after(rest: &mut &str, constants: &Constants, next: fn(&mut &str, &Constants) -> Option<u32>) -> Option<u32> {
    *rest = &rest[1..];
    next(rest, constants)
}

fn atom(rest: &mut &str, constants: &Constants) -> Option<u32> {
    *rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('(') {
        *rest = inner;
        let result = sum(rest, constants)?;
        *rest = rest.trim_start().strip_prefix(')')?;
        return Some(result);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, tail) = rest.split_at(end);
    *rest = tail;
    if matches!(word, "min" | "max") {
        let (a, b) = tail.strip_prefix('(')?.split_once(',')?;
        let (mut a, mut b) = (a, b);
        let first = sum(&mut a, constants)?;
        let second = sum(&mut b, constants)?;
        *rest = b.trim_start().strip_prefix(')')?;
        let chosen = if word == "min" { first.min(second) } else { first.max(second) };
        return a.trim().is_empty().then_some(chosen);
    }
    match word.strip_suffix('u').unwrap_or(word).parse() {
        Ok(number) => Some(number),
        Err(_) => constants.get(word).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Constants, value};

    #[test]
    fn values() {
        let constants = Constants::from([("TILE".to_owned(), 64), ("STRIP".to_owned(), 4)]);
        for (text, expected) in [
            ("8u", Some(8)),
            ("TILE / STRIP", Some(16)),
            ("2u * min(TILE / STRIP, 3u) + 1", Some(7)),
            ("max(TILE, STRIP) / 2u", Some(32)),
            ("min(TILE)", None),
            ("(TILE + 8u) * 2 - STRIP", Some(140)),
            ("TILES", None),
            ("4 - 5", None),
            ("1 / 0", None),
            ("TILE STRIP", None),
            ("(1", None),
        ] {
            assert_eq!(value(text, &constants), expected, "{text}");
        }
    }
}
