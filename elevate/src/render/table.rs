//! Tables: columns with a head on a terminal, otherwise one line per entry without a head.
//!
//! In: cells with tones. Out: lines. What a cell holds is escaped by [`Line`] and by [`crate::console::Console::row`].

use crate::paint::{Line, Tone};

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, of as many cells as there are heads.
    pub fn row(&mut self, cells: Vec<(Tone, String)>) {
        self.rows.push(cells);
    }

    /// For a terminal. Nothing when there is no entry.
    #[must_use]
    pub fn columns(&self) -> Vec<Line> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let head: Vec<(Tone, String)> =
            self.head.iter().map(|head| (Tone::Faint, (*head).to_owned())).collect();
        let all: Vec<Vec<Line>> = std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| row.iter().map(|(tone, text)| Line::of(*tone, text)).collect())
            .collect();
        let width = |place: usize| all.iter().filter_map(|row| row.get(place)).map(Line::width).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|place| width(place).unwrap_or(0)).collect();
        all.into_iter().map(|row| aligned(row, &widths)).collect()
    }

    /// For a pipe: the cells of each entry.
    #[must_use]
    pub fn plain(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(|(_, text)| text.clone()).collect()).collect()
    }
}

fn aligned(row: Vec<Line>, widths: &[usize]) -> Line {
    let last = row.len().saturating_sub(1);
    let mut whole = Line::default();
    for (place, cell) in row.into_iter().enumerate() {
        let gap = widths.get(place).copied().unwrap_or(0).saturating_sub(cell.width());
        whole = whole.with(cell);
        if place < last {
            whole = whole.then(&" ".repeat(gap.saturating_add(2)));
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_pipes_get_tabs() {
        let mut table = Table::new(&["ROLE", "HOST"]);
        table.row(vec![(Tone::Strong, "web-ops".into()), (Tone::Plain, "web1".into())]);
        table.row(vec![(Tone::Strong, "dba".into()), (Tone::Plain, "db1\tx".into())]);
        let lines: Vec<String> = table.columns().iter().map(|line| line.render(false)).collect();
        assert_eq!(lines, ["ROLE     HOST", "web-ops  web1", "dba      db1\\u{9}x"]);
        assert_eq!(table.plain(), [["web-ops", "web1"], ["dba", "db1\tx"]]);
    }
}
