//! Rules about WGSL: how a kernel opens, what no shader may use, and that none is forgotten.

use super::source::{code, line_of, words};

/// WebGPU's default of storage buffers in a shader.
const MOST_STORAGE_BINDINGS: usize = 8;

/// Whether `path` is a kernel: `shaders/<op>/<kernel>.wgsl`, not a piece in `shaders/lib`.
pub(crate) fn is_kernel(path: &str) -> bool {
    let inner = path.strip_prefix("shaders/").filter(|_| path.ends_with(".wgsl"));
    inner.is_some_and(|inner| inner.contains('/') && !inner.starts_with("lib/"))
}

/// A kernel opens with its formula, and has no more storage bindings than every device offers.
pub(crate) fn kernel(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let formula = text.lines().next().and_then(|line| line.strip_prefix("// "));
    if !formula.is_some_and(|line| line.contains(['=', '←']) && !line.starts_with("needs ")) {
        complaints.push("line 1 is not a `// ` comment with the kernel's formula (`y = …`)".into());
    }
    let compact: String = code(text).chars().filter(|letter| !letter.is_whitespace()).collect();
    let bindings = compact.matches("var<storage").count();
    if bindings > MOST_STORAGE_BINDINGS {
        complaints.push(format!("{bindings} storage bindings; every device offers only {MOST_STORAGE_BINDINGS}"));
    }
    complaints
}

/// Of atomics only what no order shows in: whole numbers set, added to and read, and nobody asks what a sum was before. No `arrayLength`
/// (buffers are longer than tensors), and no `A`, `B`, `C` but as roles of cooperative matrices, which such a name would hide.
pub(crate) fn portable(text: &str) -> Vec<String> {
    let code = code(text);
    let mut complaints = Vec::new();
    for (at, word) in words(&code) {
        let line = line_of(&code, at);
        let alone = code[..at].trim_end().ends_with([';', '{', '}']);
        let shows_order = match word {
            "atomic" => !code[at + word.len()..].starts_with("<u32>"),
            "atomicLoad" => false,
            "atomicAdd" | "atomicStore" => !alone,
            _ => word.starts_with("atomic"),
        };
        if shows_order || word == "arrayLength" {
            complaints.push(format!("line {line}: `{word}`"));
        }
        let is_role = code[..at].trim_end().ends_with(',') && code[at + word.len()..].trim_start().starts_with('>');
        if ["A", "B", "C"].contains(&word) && !is_role {
            complaints.push(format!("line {line}: a name `{word}` hides the role of cooperative matrices"));
        }
    }
    complaints
}

/// A shader that nothing asks for. `name` is its path without `shaders/` and `.wgsl`; a kernel is asked for by its name
/// in Rust, a piece in `lib` also by a `// needs` line.
pub(crate) fn orphan(name: &str, rust: &[&str], wgsl: &[&str]) -> Vec<String> {
    let needed = name.strip_prefix("lib/").is_some_and(|piece| {
        let needs = wgsl.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("// needs "));
        let quoted = format!("\"{piece}\"");
        needs.flat_map(|line| line.split([' ', '|'])).any(|need| need == piece)
            || rust.iter().any(|text| text.contains(&quoted))
    });
    let mentioned = needed || rust.iter().any(|text| mentions(text, name));
    (!mentioned).then(|| "no Rust file and no `// needs` line asks for it".to_owned()).into_iter().collect()
}

/// Whether `text` holds `name` as a string or as the end of a path: `"conv2d/forward"`, `shaders/conv2d/forward.wgsl`.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name)
        .any(|(at, _)| text[..at].ends_with(['"', '/']) && text[at + name.len()..].starts_with(['"', '.']))
}

#[test]
fn rules_about_shaders_can_complain() {
    assert!(is_kernel("shaders/add/forward.wgsl") && !is_kernel("shaders/lib/index.wgsl"));
    assert!(kernel("// y = a + b\n// needs index\n").is_empty());
    for wrong in ["", "y = x\n", "// Adds.\n", "// needs a = b\n"] {
        assert_eq!(kernel(wrong).len(), 1, "{wrong:?}");
    }
    let bindings = |count: usize| format!("// y = x\n{}", "var<storage, read> x: array<f32>;\n".repeat(count));
    assert!(kernel(&bindings(8)).is_empty());
    assert_eq!(kernel(&bindings(9)).len(), 1);
    assert!(portable("alias left = coop_mat8x8<f16, A>; // A: atomicAdd").is_empty());
    assert!(portable("var a: atomic<u32>;\natomicAdd(&a, 1u);\nlet x = atomicLoad(&a);").is_empty());
    let wrong =
        "var<storage> A: x;\nlet B = 1;\nfn f(C: u32)\nlet x = atomicAdd(&x, 1u)\nvar a: atomic<i32>;\narrayLength(&x)";
    assert_eq!(portable(wrong).len(), 6);
    assert_eq!(portable("x; atomicExchange(&x, 1u)").len(), 1);
}

#[test]
fn orphans_are_found() {
    let rust = ["kernel! { pub struct Forward = \"add/forward\" {} }", "include_str!(\"../shaders/lib/index.wgsl\")"];
    let wgsl = ["// y = x\n// needs elem_f32 | elem_f16\n"];
    for known in ["add/forward", "lib/index", "lib/elem_f16"] {
        assert!(orphan(known, &rust, &wgsl).is_empty(), "{known}");
    }
    for unknown in ["add/backward", "dd/forward", "lib/elem", "add/forw", "elem_f16"] {
        assert_eq!(orphan(unknown, &rust, &wgsl).len(), 1, "{unknown}");
    }
}
