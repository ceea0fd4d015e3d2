//! Which Debian mirror this machine's apt uses.

use std::fs;
use std::path::{Path, PathBuf};

/// The first Debian mirror in the lists of apt under `apt` (usually `/etc/apt`); `None` where there is none, as on Ubuntu.
pub fn find(apt: &Path) -> Option<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "list" || extension == "sources"))
        .collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        if file.extension().is_some_and(|extension| extension == "sources") {
            of_stanzas(&text)
        } else {
            of_lines(&text)
        }
    })
}

/// From the one-line form: `deb [options] URI suite components`.
pub fn of_lines(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        rest.split_whitespace().next().filter(|uri| is_debian(uri)).map(str::to_owned)
    })
}

/// From the form of stanzas: the `URIs:` of one that is not disabled.
fn of_stanzas(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| {
            let mut fields = stanza.iter().filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let enabled = field("Enabled").is_none_or(|value| value != "no");
        let binary = field("Types").is_some_and(|types| types.split_whitespace().any(|one| one == "deb"));
        let uris = field("URIs").filter(|_| enabled && binary)?;
        uris.split_whitespace().find(|uri| is_debian(uri)).map(str::to_owned)
    })
}

/// A mirror's path ends in `debian`; that of security updates, of Ubuntu and of other people's packages does not.
fn is_debian(uri: &str) -> bool {
    let known = ["http://", "https://", "file:/"].iter().any(|scheme| uri.starts_with(scheme));
    known && uri.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_lists() {
        let text = "# deb http://no.example/debian x main\ndeb-src http://src.example/debian x main\n\
                    deb http://security.example/debian-security x main\n\
                    deb [arch=amd64 signed-by=/k] https://a.example/pub/debian/ trixie main # comment\n";
        assert_eq!(of_lines(text).as_deref(), Some("https://a.example/pub/debian/"));
        assert_eq!(of_lines("deb http://a.example/ubuntu noble main\ndeb cdrom:[x]/debian y main"), None);
    }

    #[test]
    fn stanzas() {
        let text = "Types: deb\nURIs: http://off.example/debian\nEnabled: no\n\n\
                    Types: deb-src\nURIs: http://src.example/debian\n\n\
                    Types: deb\n# URIs: http://comment.example/debian\nURIs: http://a.example/x http://b.example/debian\n";
        assert_eq!(of_stanzas(text).as_deref(), Some("http://b.example/debian"));
        assert_eq!(of_stanzas("Types: deb\nURIs: http://a.example/node_20.x\n"), None);
    }
}
