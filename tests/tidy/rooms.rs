//! Rules about rooms: who may use whom, who may name wgpu, who may name an op.

use super::source::{code, line_of, without_tests, words};

/// Every room and the rooms that it may use besides itself. A new room gets a line here.
const ROOMS: [(&str, &[&str]); 14] = [
    ("kernel", &[]),
    ("picture", &[]),
    ("reference", &[]),
    ("graph", &["kernel", "reference"]),
    ("ops", &["graph", "kernel", "reference"]),
    ("plan", &["graph", "kernel"]),
    ("gpu", &["plan", "kernel", "reference", "graph"]),
    ("models", &["graph", "ops", "kernel", "reference"]),
    ("train", &["picture", "models", "ops", "graph", "plan", "gpu", "kernel", "reference"]),
    ("infer", &["picture", "train", "models", "graph", "plan", "gpu"]),
    ("verify", &["graph", "ops", "plan", "gpu", "reference", "kernel", "models", "train"]),
    ("tune", &["graph", "plan", "gpu", "reference", "kernel", "train", "verify"]),
    ("bench", &["tune", "models", "train", "ops", "graph", "kernel", "plan", "gpu", "reference", "verify"]),
    (
        "cli",
        &[
            "picture",
            "kernel",
            "reference",
            "graph",
            "ops",
            "plan",
            "gpu",
            "models",
            "train",
            "infer",
            "verify",
            "tune",
            "bench",
        ],
    ),
];

/// The rooms that serve every op alike, and hence name none.
const NAME_NO_OP: [&str; 5] = ["kernel", "graph", "plan", "gpu", "verify"];

/// The room that `path` lies in; `None` for `src/lib.rs`, `src/main.rs` and what is outside of `src`.
fn room(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    inner.split_once('/').map(|(room, _)| room).or_else(|| {
        // A room of one file.
        inner.strip_suffix(".rs").filter(|stem| !["lib", "main"].contains(stem))
    })
}

/// Mentions of rooms that the room of `path` may not use, in its code outside of tests.
pub(crate) fn forbidden_uses(path: &str, text: &str) -> Vec<String> {
    let Some(own) = room(path) else { return Vec::new() };
    let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == own) else {
        return vec![format!("`{own}` is a room that tests/tidy/rooms.rs does not know: say there what it may use")];
    };
    let code = without_tests(&code(text));
    let mentions = from_the_root(path, &code);
    let foreign = mentions
        .into_iter()
        .filter(|(_, name)| ROOMS.iter().any(|(room, _)| room == name) && *name != own && !may.contains(name));
    foreign.map(|(at, name)| format!("line {}: `{own}` may not use `{name}`", line_of(&code, at))).collect()
}

/// Every path that starts at the crate's root, as (where, first name): after `crate::`, or after as many `super::` as
/// lead there.
fn from_the_root<'a>(path: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let depth = inner.split('/').count() - usize::from(inner.ends_with("/mod.rs"));
    let mut found = Vec::new();
    let mut supers = 0;
    for (at, word) in words(code) {
        let Some(rest) = code[at + word.len()..].strip_prefix("::") else { continue };
        let continues = code[..at].ends_with("super::");
        supers = if word == "super" { if continues { supers + 1 } else { 1 } } else { 0 };
        if word == "crate" || (supers == depth && supers > 0) {
            found.extend(heads(rest).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// The first names of what follows a `::`: one name, or one for each member of a group in braces.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).next().filter(|(at, _)| *at == 0).map(|(_, word)| word).into_iter().collect();
    };
    let (mut depth, mut start, mut members) = (1, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {}
            _ => continue,
        }
        if depth == 0 || (letter == ',' && depth == 1) {
            members.push(&group[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    members.into_iter().filter_map(|member| words(member).next()).map(|(_, word)| word).collect()
}

/// Mentions of `wgpu::` in a room that may not name it: only `gpu` and the command line may.
pub(crate) fn names_wgpu(path: &str, text: &str) -> Vec<String> {
    if room(path).is_none_or(|room| ["gpu", "cli"].contains(&room)) {
        return Vec::new();
    }
    let code = code(text);
    let found = words(&code).filter(|(at, word)| {
        *word == "wgpu" && (code[at + 4..].starts_with("::") || code[..*at].trim_end().ends_with("use"))
    });
    found.map(|(at, _)| format!("line {}: only src/gpu may name wgpu", line_of(&code, at))).collect()
}

/// Mentions of one of `ops` as `ops::name`, in a room that serves all alike.
pub(crate) fn names_an_op(path: &str, text: &str, ops: &[&str]) -> Vec<String> {
    if room(path).is_none_or(|room| !NAME_NO_OP.contains(&room)) {
        return Vec::new();
    }
    let code = without_tests(&code(text));
    let paths = words(&code).filter(|(_, word)| *word == "ops");
    let names = paths.filter_map(|(at, _)| Some((at, heads(code[at + 3..].strip_prefix("::")?))));
    let found = names.flat_map(|(at, names)| names.into_iter().map(move |name| (at, name)));
    found
        .filter(|(_, name)| ops.contains(name))
        .map(|(at, name)| format!("line {}: names the op `{name}`, but serves all ops", line_of(&code, at)))
        .collect()
}

/// A room's `mod.rs` says what is absent.
pub(crate) fn absence(path: &str, text: &str) -> Vec<String> {
    let is_room = room(path).is_some_and(|room| path == format!("src/{room}/mod.rs"));
    let says = text.lines().filter(|line| line.starts_with("//!")).any(|line| line.to_lowercase().contains("absent"));
    (is_room && !says).then(|| "a room says in its `//!` what is absent here".to_owned()).into_iter().collect()
}

#[test]
fn forbidden_arrows_are_found() {
    let uses = |path, text| forbidden_uses(path, text);
    assert_eq!(uses("src/plan/slots.rs", "use crate::gpu::Device;"), ["line 1: `plan` may not use `gpu`"]);
    assert_eq!(uses("src/plan/slots.rs", "use crate::{\n    graph::{gpu, Graph},\n    ops,\n};").len(), 1);
    assert_eq!(uses("src/plan/slots.rs", "fn f(x: &super::super::train::X) {}").len(), 1);
    assert_eq!(uses("src/plan/mod.rs", "use super::train::X;").len(), 1);
    assert_eq!(uses("src/kernel/declare.rs", "$crate::graph::Shape").len(), 1);
    for fine in ["use crate::graph::gpu;", "use super::gpu;", "// crate::gpu\n\"crate::gpu\"", "use crate::Error;"] {
        assert!(uses("src/plan/slots.rs", fine).is_empty(), "{fine}");
    }
    assert!(uses("src/plan/slots.rs", "#[cfg(test)] mod tests { use crate::ops::add; }").is_empty());
    assert!(uses("src/lib.rs", "use crate::gpu::Device;").is_empty());
    assert_eq!(uses("src/cellar/wine.rs", "").len(), 1);
    assert_eq!(uses("src/cellar.rs", "").len(), 1);
}

#[test]
fn the_arrows_have_no_cycle() {
    // Each room uses only rooms whose own line stands in an order without a way back.
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < ROOMS.len() {
        let next =
            ROOMS.iter().find(|(room, may)| !placed.contains(room) && may.iter().all(|used| placed.contains(used)));
        placed.push(next.expect("the rooms use each other in a circle, or name a room that is none").0);
    }
}

#[test]
fn rules_about_names_can_complain() {
    assert_eq!(names_wgpu("src/plan/slots.rs", "use wgpu;\nwgpu::Buffer").len(), 2);
    assert!(names_wgpu("src/plan/slots.rs", "my_wgpu::X // wgpu::X").is_empty());
    assert!(names_wgpu("src/gpu/memory.rs", "wgpu::Buffer").is_empty());
    let ops = ["conv2d", "map"];
    assert_eq!(names_an_op("src/verify/case.rs", "crate::ops::{all, conv2d::Conv2d}; ops::map::Map", &ops).len(), 2);
    assert!(names_an_op("src/verify/case.rs", "crate::ops::all(); x.map(ops::add)", &ops).is_empty());
    assert!(names_an_op("src/models/resnet.rs", "crate::ops::conv2d", &ops).is_empty());
    assert_eq!(absence("src/plan/mod.rs", "//! Plans.\n// absent\n").len(), 1);
    assert!(absence("src/plan/mod.rs", "//! Plans. Absent here: wgpu.\n").is_empty());
    assert!(absence("src/models/vt/mod.rs", "//! A folder in a room.\n").is_empty());
}
