//! The house rules as tests: sizes, rooms and who may use whom, shaders, whitespace. No GPU.
//!
//! Each rule is a function from text to complaints, with a test beside it that shows that it can complain.

use std::fs;
use std::path::Path;

#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/shaders.rs"]
mod shaders;
#[path = "tidy/source.rs"]
mod source;

/// A file of the repository: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// The name without folders and extension.
    fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.split('.').next().unwrap_or(name)
    }
}

/// Every text file that people write here. Folders that do not exist yet hold no files.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for top in fs::read_dir(root).unwrap().map(|entry| entry.unwrap()) {
        let name = top.file_name().into_string().unwrap();
        let written = ["src", "shaders", "tests", "benches", "examples", "xtask", "assets", ".ci", ".github", ".cargo"];
        if top.path().is_file() || written.contains(&name.as_str()) {
            collect(&top.path(), &name, &mut files);
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(files.iter().any(|file| file.path == "tests/tidy.rs"), "the walk misses files");
    files
}

fn collect(from: &Path, path: &str, files: &mut Vec<File>) {
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            collect(&entry.path(), &format!("{path}/{name}"), files);
        }
    } else if ["rs", "wgsl", "md", "toml", "py"].iter().any(|ext| path.ends_with(&format!(".{ext}")))
        || path == ".ci/run"
    {
        files.push(File { path: path.into(), text: fs::read_to_string(from).unwrap() });
    }
}

/// Fails with every complaint that `rule` has about a file, under the file's name.
fn hold(rule: impl Fn(&File) -> Vec<String>) {
    let complaints: Vec<String> = files()
        .iter()
        .flat_map(|file| {
            rule(file).into_iter().map(|complaint| format!("{}: {complaint}", file.path)).collect::<Vec<_>>()
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// As [`hold`], for the code of Rust files (comments and strings blanked) that `of` picks by path.
fn hold_for_code(of: impl Fn(&str) -> bool, rule: impl Fn(&str) -> Vec<String>) {
    hold(|file| if file.is("rs") && of(&file.path) { rule(&source::code(&file.text)) } else { Vec::new() });
}

#[test]
fn files_have_at_most_400_lines() {
    let files = files();
    let code = files.iter().filter(|file| file.is("rs") || file.is("wgsl"));
    let sizes = code.map(|file| (file.text.lines().count(), file.path.as_str())).collect();
    let complaints = source::long_files(sizes, 400);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn functions_have_at_most_70_lines() {
    hold_for_code(|_| true, |code| source::long_functions(code, 70));
}

#[test]
fn names_say_what_is_inside() {
    hold(|file| source::empty_name(file.stem()));
}

#[test]
fn rust_files_open_with_a_sentence() {
    hold(|file| if file.is("rs") { source::opening(&file.text) } else { Vec::new() });
}

#[test]
fn rooms_say_what_is_absent() {
    hold(|file| rooms::absence(&file.path, &file.text));
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    hold_for_code(|_| true, source::unfinished);
}

#[test]
fn unsafe_stays_in_the_room_of_the_gpu() {
    hold_for_code(|path| path.starts_with("src/") && !path.starts_with("src/gpu/"), source::unsafe_code);
}

#[test]
fn whitespace_is_clean() {
    hold(|file| source::whitespace(&file.text));
}

#[test]
fn rooms_use_only_what_they_may() {
    hold(|file| if file.is("rs") { rooms::forbidden_uses(&file.path, &file.text) } else { Vec::new() });
}

#[test]
fn only_the_room_of_the_gpu_names_wgpu() {
    hold(|file| if file.is("rs") { rooms::names_wgpu(&file.path, &file.text) } else { Vec::new() });
}

#[test]
fn what_serves_every_op_names_none() {
    let files = files();
    let ops: Vec<&str> = files
        .iter()
        .filter(|file| file.is("rs") && file.path.starts_with("src/ops/"))
        .map(File::stem)
        .filter(|stem| !["mod", "add"].contains(stem))
        .collect();
    hold(|file| if file.is("rs") { rooms::names_an_op(&file.path, &file.text, &ops) } else { Vec::new() });
}

#[test]
fn kernels_keep_to_the_house_style() {
    hold(|file| if shaders::is_kernel(&file.path) { shaders::kernel(&file.text) } else { Vec::new() });
}

#[test]
fn shaders_keep_to_what_every_backend_can() {
    hold(|file| if file.is("wgsl") { shaders::portable(&file.text) } else { Vec::new() });
}

#[test]
fn no_shader_is_an_orphan() {
    let files = files();
    let rust: Vec<&str> =
        files.iter().filter(|file| file.path.starts_with("src/")).map(|file| &file.text[..]).collect();
    let wgsl: Vec<&str> = files.iter().filter(|file| file.is("wgsl")).map(|file| &file.text[..]).collect();
    hold(|file| match file.path.strip_prefix("shaders/").and_then(|path| path.strip_suffix(".wgsl")) {
        Some(name) => shaders::orphan(name, &rust, &wgsl),
        None => Vec::new(),
    });
}
