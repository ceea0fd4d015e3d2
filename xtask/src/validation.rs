//! Vulkan's validation layer around a test program: what it reports is a fault, whatever the tests say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;
use crate::spirv::KNOWN_LAYOUT;
use crate::steps::shown;

const LIBRARY: &str = "libVkLayer_khronos_validation.so";
const MANIFEST: &str = "VkLayer_khronos_validation.json";

/// What the layer writes, beside it.
const LOG: &str = "log.txt";

const RULE: &str = "The Vulkan spec states:";

/// A folder with the layer and what the loader has to know of it.
pub struct Layer {
    folder: PathBuf,
    /// The folder as the test program sees it.
    seen_as: PathBuf,
}

/// What a program under the layer did.
pub struct Watched {
    /// Whether it ended well.
    pub succeeded: bool,
    /// What the layer reported, each once, without what is known.
    pub complaints: Vec<String>,
    /// How often it reported what is known.
    pub known: usize,
}

impl Layer {
    /// The layer, for programs on this machine.
    pub fn ensure() -> Result<Self, String> {
        let folder = crate::repository().join("target/validation-layer");
        Self { seen_as: folder.clone(), folder }.filled()
    }

    /// The layer, for programs inside a root.
    pub fn inside(root: &Path) -> Result<Self, String> {
        Self { folder: root.join("root/validation-layer"), seen_as: "/root/validation-layer".into() }.filled()
    }

    fn filled(self) -> Result<Self, String> {
        let error = |error: std::io::Error| format!("cannot write into {}: {error}", self.folder.display());
        let library = packages::chromium_libraries(LIBRARY)?.join(LIBRARY);
        fs::create_dir_all(&self.folder).map_err(error)?;
        fs::copy(library, self.folder.join(LIBRARY)).map_err(error)?;
        fs::write(self.folder.join(MANIFEST), manifest()).map_err(error)?;
        Ok(self)
    }

    /// Puts `command` under the layer. It is loaded whether the program asks for it or not.
    pub fn around(&self, command: &mut Command) {
        let path: OsString = self.seen_as.clone().into();
        command.env("VK_LAYER_PATH", path).env("VK_LAYER_LOG_FILENAME", self.seen_as.join(LOG)).envs([
            ("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation"),
            ("VK_LAYER_DEBUG_ACTION", "VK_DBG_LAYER_ACTION_LOG_MSG"),
            ("VK_LAYER_REPORT_FLAGS", "error,warn"),
            // Else the layer would stop after ten of a kind, and what is known could hide what is new.
            ("VK_LAYER_DUPLICATE_MESSAGE_LIMIT", "1000000000"),
        ]);
    }

    /// Runs `command` under the layer.
    pub fn watch(&self, command: &mut Command) -> Result<Watched, String> {
        self.around(command);
        println!("\n== under the validation layer: {}", shown(command));
        let log = self.folder.join(LOG);
        // The layer appends.
        let _ = fs::remove_file(&log);
        let status = command.status().map_err(|error| format!("cannot start it: {error}"))?;
        let mut reports = Reports::default();
        let text = fs::read(&log).unwrap_or_default();
        String::from_utf8_lossy(&text).split('\n').for_each(|line| reports.take(line));
        let (complaints, known) = reports.finish();
        Ok(Watched { succeeded: status.success(), complaints, known })
    }
}

fn manifest() -> String {
    let extensions: Vec<String> =
        ["VK_EXT_debug_report", "VK_EXT_debug_utils", "VK_EXT_validation_features", "VK_EXT_layer_settings"]
            .iter()
            .map(|name| format!(r#"{{"name": "{name}", "spec_version": "1"}}"#))
            .collect();
    format!(
        r#"{{"file_format_version": "1.2.0", "layer": {{"name": "VK_LAYER_KHRONOS_validation", "type": "GLOBAL",
"library_path": "./{LIBRARY}", "api_version": "1.4.350", "implementation_version": "1",
"description": "Khronos Validation Layer", "instance_extensions": [{}]}}}}
"#,
        extensions.join(", ")
    )
}

/// The layer's reports, picked out of its log: from a line that opens one to an empty one.
#[derive(Default)]
struct Reports {
    open: Option<String>,
    done: Vec<String>,
}

impl Reports {
    fn take(&mut self, line: &str) {
        match &mut self.open {
            _ if line.starts_with("Validation Error:") || line.starts_with("Validation Warning:") => {
                self.done.extend(self.open.replace(line.to_owned()));
            }
            // Its last paragraph quotes the rule; where it quotes none, two empty lines in a row end it.
            Some(report) if line.is_empty() && (report.contains(RULE) || report.ends_with('\n')) => {
                self.done.extend(self.open.take());
            }
            Some(report) => {
                report.push('\n');
                report.push_str(line);
            }
            None => {}
        }
    }

    fn finish(mut self) -> (Vec<String>, usize) {
        self.done.extend(self.open.take());
        let (known, mut complaints): (Vec<String>, Vec<String>) =
            self.done.into_iter().partition(|report| report.contains(KNOWN_LAYOUT));
        complaints.sort();
        complaints.dedup();
        (complaints, known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_picked_out() {
        let mut reports = Reports::default();
        let text = "running\nValidation Error: [ VUID-a ]\nvkCall(): wrong\n\nThe Vulkan spec states: right\n\n\
                    Validation Error: [ VUID-b ]\nthe Workgroup storage class has an explicit layout from the ArrayStride \
                    decoration\n\n\nValidation Warning: [ c ]\nslow\n\n\nmore\nValidation Warning: [ c ]\nslow\n";
        text.split('\n').for_each(|line| reports.take(line));
        let (complaints, known) = reports.finish();
        assert_eq!(known, 1);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("VUID-a") && complaints[0].contains("states: right"), "{complaints:?}");
        assert!(complaints[1].starts_with("Validation Warning: [ c ]\nslow"), "{complaints:?}");
    }
}
