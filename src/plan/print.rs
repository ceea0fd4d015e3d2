//! A plan as a table: what snapshots keep.

use std::fmt;

use super::{Buffer, Place, Plan, Step};
use crate::kernel::Access;

const HEAD: [&str; 7] = ["step", "kernel", "grid", "reads", "writes", "scope", "variant"];

impl Plan {
    /// A place's name: `s0` for a slot, `s0+1024` for what stands in it from byte 1024 on, the input's name, `parameters.3` for the fourth tensor of a home.
    #[must_use]
    pub fn place_name(&self, place: Place) -> String {
        match place.buffer {
            Buffer::Slot(at) => format!("s{at}{}", from(place.offset)),
            Buffer::Input(at) => {
                let name = self.inputs().get(at).map_or_else(|| format!("input{at}"), |(name, _)| name.clone());
                name + &from(place.offset)
            }
            Buffer::Home(at) => match self.layout().homes().get(at) {
                Some(home) => {
                    let number = home.tensors.iter().take_while(|stored| stored.offset != place.offset).count();
                    format!("{}.{number}", home.name)
                }
                None => format!("home{at}"),
            },
        }
    }

    /// Home and name of the stored tensor at a place: ``parameters `stem/weight` ``.
    #[must_use]
    pub fn stored_name(&self, place: Place) -> Option<String> {
        let Buffer::Home(at) = place.buffer else { return None };
        let home = self.layout().homes().get(at)?;
        let stored = home.tensors.iter().find(|stored| stored.offset == place.offset)?;
        Some(format!("{} `{}`", home.name, stored.name))
    }

    fn row(&self, number: usize, step: &Step) -> [String; 7] {
        let names = |wanted: Access| {
            let used = step.bindings.iter().zip(step.kernel.bindings).filter(|(_, (_, access))| *access == wanted);
            used.map(|(place, _)| self.place_name(*place)).collect::<Vec<_>>().join(" ")
        };
        let [x, y, z] = step.grid.0;
        let grid = match (y, z) {
            (1, 1) => x.to_string(),
            (_, 1) => format!("{x}×{y}"),
            _ => format!("{x}×{y}×{z}"),
        };
        let scope = self.nodes()[step.node].scope.clone();
        let (kernel, variant) = (step.kernel.name.to_owned(), step.variant.to_string());
        [number.to_string(), kernel, grid, names(Access::Read), names(Access::Write), scope, variant]
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 7]> = self.steps().iter().enumerate().map(|(at, step)| self.row(at, step)).collect();
        let mut widths = HEAD.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        line(f, &HEAD.map(str::to_owned), &widths)?;
        for row in &rows {
            line(f, row, &widths)?;
        }
        for output in self.outputs() {
            let place = self.place(output.value).map_or_else(|| "nowhere".to_owned(), |place| self.place_name(place));
            writeln!(f, "output {} = {place}", output.name)?;
        }
        for home in self.layout().homes() {
            writeln!(f, "{}: {} tensors, {}", home.name, home.tensors.len(), megabytes(home.bytes))?;
        }
        let (values, without) = self.values_without_reuse();
        let (slots, bytes) = (self.slots().len(), self.slots().iter().sum());
        let steps = self.steps().len();
        let (bytes, without) = (megabytes(bytes), megabytes(without));
        let peak = megabytes(self.peak_bytes());
        writeln!(f, "slots {slots} ({bytes}), values {values} ({without} without reuse); {steps} steps")?;
        writeln!(f, "peak {peak}: slots, homes and inputs")
    }
}

/// Where in a buffer a place starts, unless at its start.
fn from(offset: usize) -> String {
    if offset == 0 { String::new() } else { format!("+{offset}") }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 7], widths: &[usize; 7]) -> fmt::Result {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let blanks = " ".repeat(width - cell.chars().count());
        format!("{cell}{blanks}")
    });
    writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
}

/// Bytes as people read them; small plans in bytes, so that snapshots of them stay exact.
fn megabytes(bytes: usize) -> String {
    match bytes {
        0..100_000 => format!("{bytes} B"),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
