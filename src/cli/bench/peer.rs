//! Somebody else's times for the same rows, from a file.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Error;
use crate::cli::table::Align;

/// What names a row: name, shape, element, pass, and an op's attributes: of strided convolutions shapes do not tell.
pub(super) type Key = [String; 5];

/// The file of `--against`.
pub(super) struct Peer {
    name: String,
    times: HashMap<Key, Duration>,
}

impl Peer {
    /// Reads `{"name": "PyTorch …", "rows": [{"name", "shape", "element", "pass", "median_ms"}]}`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let place = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            path: place(),
            source,
            remedy: "benches/peers/pytorch.py writes such a file",
        })?;
        let wrong = |reason: &str| {
            let form = "{\"name\": …, \"rows\": [{\"name\", \"shape\", \"element\", \"pass\", \"median_ms\"}]}";
            Error::Refused(format!("{}: {reason}; wanted is {form}", place()))
        };
        let document: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let rows = document.get("rows").and_then(Value::as_array).ok_or_else(|| wrong("there are no rows"))?;
        let mut times = HashMap::new();
        for row in rows {
            let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
            let key = [text("name"), text("shape"), text("element"), text("pass")];
            let [Some(name), Some(shape), Some(element), Some(pass)] = key else {
                return Err(wrong(&format!("a row without its names: {row}")));
            };
            let key = [name, shape, element, pass, attributes(row.get("attributes"))];
            // What the peer could not run has no time.
            let time = row
                .get("median_ms")
                .and_then(Value::as_f64)
                .and_then(|time| Duration::try_from_secs_f64(time / 1e3).ok());
            if let Some(time) = time
                && times.insert(key, time).is_some()
            {
                return Err(wrong(&format!("two rows are one: {row}")));
            }
        }
        let name = document.get("name").and_then(Value::as_str).unwrap_or("the peer").to_owned();
        Ok(Self { name, times })
    }

    /// Its time for a row.
    pub(super) fn time(&self, key: &Key) -> Option<Duration> {
        self.times.get(key).copied()
    }

    /// The geometric mean of its times over ours.
    pub(super) fn summary(&self, pairs: impl Iterator<Item = (Duration, Duration)>) -> String {
        let logs: Vec<f64> = pairs.map(|(theirs, ours)| (theirs.as_secs_f64() / ours.as_secs_f64()).ln()).collect();
        if logs.is_empty() {
            return format!("\n{} has none of these rows\n", self.name);
        }
        let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        let least = logs.iter().copied().fold(f64::INFINITY, f64::min).exp();
        let rows = logs.len();
        format!(
            "\npeer: {}; ours faster by {mean:.2} (geometric mean of {rows} rows), at least {least:.2}\n",
            self.name
        )
    }
}

/// The heads of [`cells`].
pub(super) const COLUMNS: [(&str, Align); 2] = [("peer", Align::Right), ("ours faster", Align::Right)];

/// Attributes as part of a key: nothing where there are none.
pub(super) fn attributes(attributes: Option<&Value>) -> String {
    attributes.filter(|attributes| !attributes.is_null()).map(Value::to_string).unwrap_or_default()
}

/// Its time and the ratio, for a table.
pub(super) fn cells(ours: Option<Duration>, theirs: Option<Duration>) -> [String; 2] {
    let time = theirs.map(|time| format!("{:.3} ms", time.as_secs_f64() * 1e3));
    let ratio = theirs.zip(ours).map(|(theirs, ours)| format!("{:.2}", theirs.as_secs_f64() / ours.as_secs_f64()));
    [time, ratio].map(Option::unwrap_or_default)
}
