//! Words to people and to programs. A reader who has gone away (`vistok devices | head -1`) is no reason to panic.

use std::io::{self, Write};

use super::Error;

/// Text on standard output.
pub(crate) fn say(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            let remedy = "is there room where standard output goes?";
            Err(Error::File { path: "standard output".to_owned(), source, remedy })
        }
        _ => Ok(()),
    }
}

/// One JSON document on standard output.
pub(crate) fn say_json(document: &serde_json::Value) -> Result<(), Error> {
    say(&format!("{document:#}\n"))
}

/// A line on standard error. There is nobody to tell if that fails.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Results for people: on standard output, or on standard error where a JSON document goes to standard output.
pub(crate) fn report(json: bool, text: &str) -> Result<(), Error> {
    if json {
        note(text.trim_end());
        return Ok(());
    }
    say(text)
}
