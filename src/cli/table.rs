//! Text in columns.

/// Where the text of a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with a head and a rule below it; the last column is never padded.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line ended.
    pub(crate) fn text(&self) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(head, _)| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head: Vec<String> = self.columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        [&head, &rule].into_iter().chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).zip(&self.columns).map(|((cell, width), (_, align))| {
            let blanks = " ".repeat(width - cell.chars().count());
            if *align == Align::Left { format!("{cell}{blanks}") } else { format!("{blanks}{cell}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::{Align, Table};

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("kernel", Align::Left), ("ms", Align::Right)]);
        table.row(vec!["add".into(), "10.25".into()]);
        table.row(vec!["größe".into(), "1".into()]);
        assert_eq!(table.text(), "kernel     ms\n──────  ─────\nadd     10.25\ngröße       1\n");
    }
}
