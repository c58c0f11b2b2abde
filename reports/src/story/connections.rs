//! The connections of a trial, for people: what was asked for once or many times, in which phase, and what became of it.

use std::collections::BTreeMap;

use harness_core::{Connection, ConnectionResult, Connections, Phase};

use super::Page;
use crate::grid::Paint;
use crate::show;

/// Most lines that are told.
const MAX_LINES: usize = 30;

/// What makes two connections one line.
type Key<'a> = (Option<Phase>, ConnectionResult, &'a str, u16, Option<&'a str>);

/// Several of one kind.
#[derive(Default)]
struct Line {
    times: usize,
    sent: Option<u64>,
    received: Option<u64>,
}

/// Tells of them.
pub(super) fn tell(page: &mut Page, tried: &Connections) {
    let known = tried.connections.len();
    let of = |result| tried.connections.iter().filter(|one| one.result == result).count();
    let mut summary = format!(
        "{}: {} let through, {} refused, {} failed",
        show::plural(known, "connection"),
        of(ConnectionResult::Allowed),
        of(ConnectionResult::Refused),
        of(ConnectionResult::Failed)
    );
    if tried.left_out > 0 {
        summary.push_str(&format!("; {} more are counted only", tried.left_out));
    }
    page.say(Paint::Plain, 2, &summary);
    let mut order: Vec<Key<'_>> = Vec::new();
    let mut lines: BTreeMap<Key<'_>, Line> = BTreeMap::new();
    for one in &tried.connections {
        let key = key(one);
        let line = lines.entry(key).or_insert_with(|| {
            order.push(key);
            Line::default()
        });
        line.times += 1;
        line.sent = plus(line.sent, one.sent_bytes);
        line.received = plus(line.received, one.received_bytes);
    }
    for key in order.iter().take(MAX_LINES) {
        let paint = if key.1 == ConnectionResult::Allowed { Paint::Plain } else { Paint::Odd };
        page.say(paint, 4, &told(key, &lines[key]));
    }
    if order.len() > MAX_LINES {
        page.say(Paint::Plain, 4, &format!("… {} more; --format json tells all", order.len() - MAX_LINES));
    }
}

fn key(one: &Connection) -> Key<'_> {
    (one.phase, one.result, one.host.as_str(), one.port, one.reason.as_deref())
}

/// What is unknown once is unknown in all.
fn plus(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    Some(sum.unwrap_or(0).saturating_add(more?))
}

fn told((phase, result, host, port, reason): &Key<'_>, line: &Line) -> String {
    let phase = phase.map(|phase| format!("{phase}: ")).unwrap_or_default();
    let host = if host.is_empty() { "(not said where)".to_owned() } else { format!("{host}:{port}") };
    let times = if line.times > 1 { format!(" {} times", line.times) } else { String::new() };
    let word = match result {
        ConnectionResult::Allowed => "let through",
        ConnectionResult::Refused => "refused",
        ConnectionResult::Failed => "failed",
    };
    let bytes = match (line.sent, line.received) {
        (Some(sent), Some(received)) if *result == ConnectionResult::Allowed => {
            format!(", {} out, {} in", show::bytes(sent), show::bytes(received))
        }
        _ => String::new(),
    };
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{phase}{host} {word}{times}{bytes}{reason}")
}
