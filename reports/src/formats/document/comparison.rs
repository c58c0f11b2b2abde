//! A comparison: the sides, what differs between them, and the tasks that flipped.

use super::{Block, by_tier, listed, numbers, spending, table_of, text};
use crate::compare::{Change, Comparison, SideSummary, TaskCell, TaskRow};
use crate::formats::Look;
use crate::grid::{Cell, Column, Grid, Paint};
use crate::show::{self, UNKNOWN, or_unknown, plural};
use crate::text::clean;

/// A comparison.
pub(in crate::formats) fn compared(comparison: &Comparison, look: &Look) -> Vec<Block> {
    let names: Vec<&str> = comparison.sides.iter().map(|side| side.label.as_str()).collect();
    let title = format!("{} against {}", names[1..].join(", "), names[0]);
    let mut blocks = vec![Block::Title(clean(&title).into_owned())];
    let left = match comparison.left_out.len() {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    let tasks = plural(comparison.tasks, "task");
    blocks.push(text(Paint::Plain, &format!("{tasks} that all took part in{left}")));
    blocks.push(Block::Table(side_table(&comparison.sides)));
    for side in &comparison.sides {
        if let Some(tiers) = by_tier(&side.summary) {
            blocks.push(text(Paint::Plain, &format!("by tier, {}: {tiers}", side.label)));
        }
        blocks.extend(spending(&side.label, &side.summary).map(|spent| text(Paint::Plain, &spent)));
    }
    blocks.push(Block::Table(difference_table(comparison)));
    let same = comparison.rows.iter().filter(|row| row.change == Change::Same).count();
    // Flips come first: what is cut off is what did not change.
    let rows: Vec<&TaskRow> = comparison.rows.iter().collect();
    blocks.push(Block::Table(task_table(comparison, &rows, look)));
    if rows.len() > look.rows {
        blocks.push(text(Paint::Faint, &format!("and {}", plural(rows.len() - look.rows, "more task"))));
    }
    let verb = if same == 1 { "is" } else { "are" };
    blocks.push(text(
        Paint::Plain,
        &format!("{} {verb} solved equally often on every side", plural(same, "task")),
    ));
    let why = comparison.left_out.iter().map(|one| (one.task.as_str(), one.reason.clone()));
    blocks.extend(listed("left out", look.rows, why));
    blocks
}

/// More sides than this stand below each other.
const ABREAST: usize = 4;

/// Sides beside each other while there are few: then every number fits. Many stand below each other.
fn side_table(sides: &[SideSummary]) -> Grid {
    let rows: Vec<(String, Vec<(&'static str, Cell)>)> =
        sides.iter().map(|side| (side.label.clone(), side_numbers(side))).collect();
    if sides.len() > ABREAST {
        return table_of(rows);
    }
    let mut columns = vec![Column::word("", 0)];
    columns.extend(sides.iter().map(|side| Column::side(&side.label)));
    let mut grid = Grid::new(columns);
    for at in 0..rows[0].1.len() {
        let name = rows[0].1[at].0;
        let cells: Vec<Cell> = rows.iter().map(|(_, row)| row[at].1.clone()).collect();
        let optional = name == "pass@k" || name == "$/task" || name == "tokens/resolved";
        if !optional || cells.iter().any(|cell| cell.text() != UNKNOWN) {
            grid.push(std::iter::once(Cell::new(name)).chain(cells).collect());
        }
    }
    grid
}

fn side_numbers(side: &SideSummary) -> Vec<(&'static str, Cell)> {
    let own = |(name, value): (&'static str, String)| (name, Cell::new(&value));
    let mut row: Vec<(&'static str, Cell)> = numbers(&side.summary).into_iter().map(own).collect();
    let (change, better, worse) = match side.rate_change {
        None => (Cell::new("base"), String::new(), String::new()),
        Some(change) => {
            let paint = match change {
                change if change > 0.0 => Paint::Good,
                change if change < 0.0 => Paint::Bad,
                _ => Paint::Plain,
            };
            let points = Cell::painted(&format!("{:+.0}pp", change * 100.0), paint);
            (points, side.better.to_string(), side.worse.to_string())
        }
    };
    row.insert(2, ("change", change));
    row.push(("better", Cell::new(&better)));
    row.push(("worse", Cell::new(&worse)));
    // What a sentence says of each in a report stands side by side here.
    let (cost, tokens) = (&side.summary.cost_usd, &side.summary.tokens);
    let usd = |value: Option<f64>| Cell::new(&or_unknown(value, show::usd));
    let count = |value: Option<f64>| Cell::new(&or_unknown(value, |value| show::count(value.round() as u64)));
    row.push(("$/task", usd(cost.per_task)));
    row.push(("tokens/resolved", count(tokens.per_solved_task)));
    let unknown = &side.summary.unknown;
    for (name, count) in [
        ("unknown cost", unknown.cost_usd),
        ("unknown tokens", unknown.tokens),
        ("unknown diff", unknown.diff),
    ] {
        row.push((name, Cell::new(&count.to_string())));
    }
    row
}

fn difference_table(comparison: &Comparison) -> Grid {
    let sides = &comparison.sides;
    let abreast = sides.len() <= ABREAST;
    let mut columns = vec![Column::name("what differs")];
    if abreast {
        columns.extend(sides.iter().map(|side| Column::side(&side.label)));
    } else {
        columns.extend([Column::name("variant"), Column::prose("value", 0)]);
    }
    let mut grid = Grid::new(columns);
    for difference in &comparison.differences {
        let values = difference.values.iter().map(|value| match value {
            serde_json::Value::Null => Cell::new(UNKNOWN),
            serde_json::Value::String(text) => Cell::new(text),
            other => Cell::new(&other.to_string()),
        });
        if abreast {
            grid.push(std::iter::once(Cell::new(&difference.setting)).chain(values).collect());
        } else {
            for (side, value) in sides.iter().zip(values) {
                grid.push(vec![Cell::new(&difference.setting), Cell::new(&side.label), value]);
            }
        }
    }
    if comparison.differences.is_empty() {
        grid.push(vec![Cell::new("nothing on record")]);
    }
    grid
}

fn task_table(comparison: &Comparison, rows: &[&TaskRow], look: &Look) -> Grid {
    let sides = &comparison.sides;
    let abreast = sides.len() <= ABREAST;
    // Where there is room, what each side's attempts cost and took stands beside what they solved.
    let room = look.columns() >= 34 + 24 * sides.len();
    let mut columns = vec![Column::name("task"), Column::word("change", 0)];
    if abreast {
        columns.extend(sides.iter().map(|side| Column::side(&side.label)));
    } else {
        columns.extend([Column::name("variant"), Column::number("resolved", 0)]);
        columns.extend([Column::number("$", 1), Column::number("tokens", 2), Column::number("time", 3)]);
        columns.push(Column::number("lines", 4));
    }
    let mut grid = Grid::new(columns);
    for row in rows.iter().take(look.rows) {
        let change = match row.change {
            Change::Worse => Cell::painted("worse", Paint::Bad),
            Change::Better => Cell::painted("better", Paint::Good),
            Change::Same => Cell::new("same"),
        };
        if abreast {
            let cells = row.cells.iter().map(|cell| match room {
                true => Cell::new(&format!("{} {} {}", solved(cell), cost(cell), time(cell))),
                false => Cell::new(&solved(cell)),
            });
            grid.push([Cell::new(&row.task), change].into_iter().chain(cells).collect());
        } else {
            for (side, cell) in sides.iter().zip(&row.cells) {
                let (task, variant) = (Cell::new(&row.task), Cell::new(&side.label));
                let numbers = [solved(cell), cost(cell), tokens(cell), time(cell), lines(cell)];
                let numbers = numbers.iter().map(|number| Cell::new(number));
                grid.push([task, change.clone(), variant].into_iter().chain(numbers).collect());
            }
        }
    }
    grid
}

fn solved(cell: &TaskCell) -> String {
    format!("{}/{}", cell.resolved, cell.n)
}

fn cost(cell: &TaskCell) -> String {
    or_unknown(cell.cost_usd, show::usd)
}

fn tokens(cell: &TaskCell) -> String {
    or_unknown(cell.tokens, |tokens| show::count(tokens.round() as u64))
}

fn time(cell: &TaskCell) -> String {
    or_unknown(cell.duration_ms, |ms| show::duration(ms.round() as u64))
}

fn lines(cell: &TaskCell) -> String {
    or_unknown(cell.lines, |lines| format!("{lines:.0}"))
}
