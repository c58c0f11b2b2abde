//! A table that fits: wide columns give way first, then the least important ones are left out and named below.

use crate::text::{Align, Cut, clean, fit, pad, width};

/// Blanks between columns.
const GAP: usize = 2;
/// No column is made narrower than this.
const LEAST: usize = 3;
/// Names are what people look for: they keep this while sentences give way, …
const NAME_ROOM: usize = 32;
/// … and this while columns that matter little are left out for them.
const NAME_WANTED: usize = 20;
/// Columns of this rank and above matter that little.
const LITTLE: u8 = 4;

/// What a cell means, for colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paint {
    /// Nothing in particular.
    #[default]
    Plain,
    /// Solved, better.
    Good,
    /// Not solved, worse.
    Bad,
    /// Stopped, unknown, to be looked at.
    Odd,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
}

impl Paint {
    /// The text with its escape sequences, or as it is without colour. Colour never says what words do not.
    pub fn on(self, text: &str, color: bool) -> String {
        let code = match self {
            Paint::Plain => "",
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Odd => "33",
            Paint::Strong => "1",
            Paint::Faint => "2",
        };
        if !color || code.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// One cell: safe text on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// Makes any text safe.
    pub fn new(text: &str) -> Cell {
        Cell::painted(text, Paint::Plain)
    }

    /// The same with a meaning.
    pub fn painted(text: &str, paint: Paint) -> Cell {
        // A cell can be cut to a line anyway: reasons of megabytes are not measured to their end.
        let end = text.char_indices().nth(2000).map_or(text.len(), |(at, _)| at);
        Cell { text: clean(&text[..end]).into_owned(), paint }
    }

    /// The safe text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    title: String,
    align: Align,
    /// 0 is never left out; the highest goes first.
    rank: u8,
    flex: Option<(usize, Cut)>,
}

impl Column {
    /// Names: left, cut in the middle, never left out.
    pub fn name(title: &str) -> Column {
        Column { title: clean(title).into_owned(), align: Align::Left, rank: 0, flex: Some((8, Cut::Middle)) }
    }

    /// Numbers below somebody's name: right, the name cut in the middle, never left out.
    pub fn side(title: &str) -> Column {
        Column {
            title: clean(title).into_owned(),
            align: Align::Right,
            rank: 0,
            flex: Some((5, Cut::Middle)),
        }
    }

    /// Short words: left.
    pub fn word(title: &str, rank: u8) -> Column {
        Column { title: clean(title).into_owned(), align: Align::Left, rank, flex: None }
    }

    /// Numbers: right.
    pub fn number(title: &str, rank: u8) -> Column {
        Column { title: clean(title).into_owned(), align: Align::Right, rank, flex: None }
    }

    /// Sentences: left, cut at the end.
    pub fn prose(title: &str, rank: u8) -> Column {
        Column { title: clean(title).into_owned(), align: Align::Left, rank, flex: Some((20, Cut::End)) }
    }
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// A table without rows.
    pub fn new(columns: Vec<Column>) -> Grid {
        Grid { columns, rows: Vec::new() }
    }

    /// Adds a row of one cell a column; missing ones are empty.
    pub fn push(&mut self, mut row: Vec<Cell>) {
        row.resize_with(self.columns.len(), || Cell::new(""));
        self.rows.push(row);
    }

    /// Lines of at most `room` columns.
    pub fn lines(&self, room: usize, color: bool) -> Vec<String> {
        let natural: Vec<usize> = (0..self.columns.len()).map(|at| self.natural(at)).collect();
        let (shown, widths) = self.layout(&natural, room);
        let line = |cells: Vec<(&str, Paint)>| {
            let mut parts = Vec::new();
            for ((at, room), (text, paint)) in shown.iter().zip(&widths).zip(cells) {
                let column = &self.columns[*at];
                let cut = column.flex.map_or(Cut::End, |(_, cut)| cut);
                let fitted = fit(text, *room, cut);
                let filled = pad(&fitted, *room, column.align);
                // Blanks stay outside the colour, so that the end of a line can be trimmed.
                parts.push(filled.replacen(
                    &fitted,
                    &paint.on(&fitted, color),
                    usize::from(!fitted.is_empty()),
                ));
            }
            parts.join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let titles = shown.iter().map(|at| (self.columns[*at].title.as_str(), Paint::Strong)).collect();
        let mut lines = vec![line(titles)];
        for row in &self.rows {
            lines.push(line(shown.iter().map(|at| (row[*at].text.as_str(), row[*at].paint)).collect()));
        }
        let left_out: Vec<&str> = (0..self.columns.len())
            .filter(|at| !shown.contains(at))
            .map(|at| self.columns[at].title.as_str())
            .collect();
        if !left_out.is_empty() {
            let note = format!("(no room for: {})", left_out.join(", "));
            lines.extend(crate::text::wrap(&note, room).iter().map(|line| Paint::Faint.on(line, color)));
        }
        lines
    }

    /// A pipe table with every column.
    pub fn markdown(&self) -> Vec<String> {
        let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let mut lines = vec![row(self.columns.iter().map(|column| escape_markdown(&column.title)).collect())];
        let rule = |column: &Column| if column.align == Align::Right { "---:" } else { "---" }.to_owned();
        lines.push(row(self.columns.iter().map(rule).collect()));
        lines.extend(
            self.rows.iter().map(|cells| row(cells.iter().map(|cell| escape_markdown(&cell.text)).collect())),
        );
        lines
    }

    fn natural(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| width(&row[at].text));
        cells.chain([width(&self.columns[at].title)]).max().unwrap_or(0)
    }

    /// Which columns are shown, and how wide each is.
    fn layout(&self, natural: &[usize], room: usize) -> (Vec<usize>, Vec<usize>) {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let least = |at: &usize, of_names: usize| match self.columns[*at].flex {
            Some((least, Cut::Middle)) => least.max(of_names).min(natural[*at]),
            Some((least, _)) => least.min(natural[*at]),
            None => natural[*at],
        };
        loop {
            let gaps = GAP * shown.len().saturating_sub(1);
            let needed = |of_names| shown.iter().map(|at| least(at, of_names)).sum::<usize>() + gaps;
            let (wanted, bare) = (needed(NAME_WANTED), needed(0));
            let droppable = shown.iter().copied().filter(|at| self.columns[*at].rank > 0);
            match droppable.max_by_key(|at| self.columns[*at].rank) {
                Some(at) if bare > room || (wanted > room && self.columns[at].rank >= LITTLE) => {
                    shown.retain(|other| *other != at);
                }
                _ => {
                    let mut widths: Vec<usize> = shown.iter().map(|at| natural[*at]).collect();
                    for of_names in [NAME_ROOM, 0] {
                        let floors: Vec<usize> = shown.iter().map(|at| least(at, of_names)).collect();
                        shrink(&mut widths, &floors, room.saturating_sub(gaps));
                    }
                    // Nothing left to leave out: everything gives way.
                    shrink(&mut widths, &vec![LEAST; shown.len()], room.saturating_sub(gaps));
                    return (shown, widths);
                }
            }
        }
    }
}

/// Takes from the widest until the sum fits or all are at their floor.
fn shrink(widths: &mut [usize], floors: &[usize], room: usize) {
    while widths.iter().sum::<usize>() > room {
        let above = (0..widths.len()).filter(|at| widths[*at] > floors[*at]);
        let Some(widest) = above.max_by_key(|at| widths[*at]) else { return };
        let excess = widths.iter().sum::<usize>() - room;
        // Down to the next widest at once, so that a name of a thousand columns costs no thousand rounds.
        let next = (0..widths.len()).filter(|at| *at != widest).map(|at| widths[at]).max().unwrap_or(0);
        let step = widths[widest].saturating_sub(next.max(floors[widest])).clamp(1, excess);
        widths[widest] -= step;
    }
}

/// Text that GitHub's Markdown shows as it is: no markup, no HTML, no mention of anybody, no end of a cell.
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn grid_leaves_out_the_least_important_column_and_says_so() {
        let mut grid =
            Grid::new(vec![Column::name("task"), Column::number("cost", 1), Column::prose("why", 2)]);
        grid.push(vec![Cell::new("a"), Cell::new("$1"), Cell::new("because of many things that went wrong")]);
        assert_eq!(grid.lines(60, false)[0], "task  cost  why");
        assert_eq!(grid.lines(20, false), ["task  cost", "a       $1", "(no room for: why)"]);
    }

    #[test]
    fn grid_shortens_sentences_and_leaves_out_what_matters_little_before_it_shortens_names() {
        let mut grid = Grid::new(vec![
            Column::name("task"),
            Column::number("time", 1),
            Column::number("tests", LITTLE),
            Column::prose("why", 2),
        ]);
        let (name, why) = ("a-name-of-thirty-two-characters-", "because of many things that went wrong");
        grid.push([name, "1m02s", "12/12", why].map(Cell::new).to_vec());
        let row = |room: usize| grid.lines(room, false)[1].clone();
        assert_eq!(
            row(80),
            "a-name-of-thirty-two-characters-  1m02s  12/12  because of many things that wen…"
        );
        assert_eq!(row(70), "a-name-of-thirty-two-characters-  1m02s  12/12  because of many thing…");
        // There is no room for all of the name; what there is goes to it.
        assert_eq!(row(60), "a-name-of-th…characters-  1m02s  12/12  because of many thi…");
        assert_eq!(row(50), "a-name-of-…haracters-  1m02s  because of many thi…");
        assert_eq!(grid.lines(50, false)[2], "(no room for: tests)");
    }

    #[test]
    fn markdown_cells_hold_no_markup() {
        assert_eq!(
            escape_markdown("a|b <img> @me `x` [y](z)"),
            "a\\|b &lt;img&gt; &#64;me \\`x\\` \\[y\\](z)"
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_table(
            rows in proptest::collection::vec(proptest::collection::vec(".{0,60}|[\u{1b}\u{9b}\n\r\u{202e}a修é]{0,40}|[א-ת]{1,50}", 4), 0..6),
            room in 40usize..200,
        ) {
            let mut grid = Grid::new(vec![
                Column::name("task"), Column::name("variant"), Column::number("n", 1), Column::prose("why", 2),
            ]);
            for row in &rows {
                grid.push(row.iter().map(|text| Cell::painted(text, Paint::Bad)).collect());
            }
            for line in grid.lines(room, false) {
                prop_assert!(line.width() <= room && width(&line) <= room, "{line:?}");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
            for line in grid.lines(room, true) {
                let ours = ["\u{1b}[31m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"];
                let bare = ours.iter().fold(line.clone(), |line, code| line.replace(code, ""));
                prop_assert!(!bare.chars().any(char::is_control), "{line:?}");
            }
            prop_assert_eq!(grid.markdown().len(), rows.len() + 2);
            for line in grid.markdown() {
                prop_assert!(!line.chars().any(char::is_control));
                let bars = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
                prop_assert_eq!(bars, 5, "{}", line);
            }
        }
    }
}
