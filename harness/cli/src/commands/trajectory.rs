//! `harness show trial --trajectory`: what an agent and its model said and did, for people, as events, or as ATIF.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use harness_agent::events::{self, Line};
use harness_agent::rebuilt::{Exchanged, conversations};
use harness_agent::{atif, show};
use harness_core::TrialId;
use harness_gateway::recording::Recording;
use reports::grid::Paint;
use reports::results::TrialRow;
use reports::story::without_escapes;
use reports::text::{clean, wrap};
use serde_json::{Value, json};

use super::{Context, report};
use crate::exit::{Exit, Failure};
use crate::printer;

/// Most of a trajectory that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Most of a text of somebody else's trajectory that is shown.
const SHOWN: usize = 1200;

/// A conversation, and what it is of.
struct Conversation {
    /// A step of the task, or which of the conversations on the wire; empty where there is one.
    title: String,
    content: Content,
}

enum Content {
    Events(Vec<Line>),
    /// As the agent left it.
    Atif(Value),
}

/// Shows the trajectory of one trial.
pub fn show(context: &Context, run: &str, trial: &str) -> Result<Exit, Failure> {
    let format = match context.format.as_deref() {
        None | Some("table") => "table",
        Some("json") => "json",
        Some("atif") => "atif",
        Some(other) => {
            let message = format!("a trajectory has no format {other:?}");
            return Err(Failure::new(Exit::Usage, message).hint("use --format table, json or atif"));
        }
    };
    let folder = report::folder(context, run);
    let results = report::read(&folder)?;
    let id = super::show::find(&results, trial)?;
    let of = |row: &&TrialRow| {
        row.task == id.task.as_str() && row.variant == id.variant.as_str() && row.attempt == id.attempt
    };
    let row = results.trials.iter().find(of);
    let agent = results.variants.iter().find(|variant| variant.name == id.variant.as_str());
    let agent = agent.map_or("", |variant| variant.agent.as_str());
    let (source, found) = find(&folder, &id)?;
    match format {
        "json" => {
            let each = |one: &Conversation| match &one.content {
                Content::Events(lines) => json!({"title": one.title, "events": lines}),
                Content::Atif(document) => json!({"title": one.title, "trajectory": document}),
            };
            let all: Vec<Value> = found.iter().map(each).collect();
            printer::raw(&harness_core::journal::line(
                &json!({"trial": id.path(), "source": source, "conversations": all}),
            ));
        }
        "atif" => {
            let facts = atif::Facts {
                session_id: &id.path(),
                cost_usd: row.and_then(|row| row.cost).map(harness_core::NanoUsd::as_usd),
                costs_usd: &[],
            };
            printer::raw(&harness_core::journal::line(&exported(found, agent, &facts)));
        }
        _ => {
            let said = match source {
                "wire" => "made from the requests and answers that the run recorded",
                "agent" => "as the agent itself left it",
                _ => "from the agent's own events",
            };
            printer::data(&told(&found, &format!("{} · {agent} · {said}", id.path())));
        }
    }
    Ok(Exit::Completed)
}

/// The trajectory and where it comes from: the core's events, what another agent left, or what went over the wire.
fn find(folder: &Path, id: &TrialId) -> Result<(&'static str, Vec<Conversation>), Failure> {
    let dir = folder.join("trials").join(id.path());
    let mut own = Vec::new();
    for (title, file) in files(&dir, "events", "jsonl") {
        // What an earlier try wrote into the same file is there too, and told in its order.
        let lines: Vec<Line> = events::read(&text(&dir.join(file))?).collect();
        own.push(Conversation { title, content: Content::Events(lines) });
    }
    if own.iter().any(|one| matches!(&one.content, Content::Events(lines) if !lines.is_empty())) {
        return Ok(("events", own));
    }
    let mut left = Vec::new();
    for (title, file) in files(&dir, "trajectory", "json") {
        // An agent may leave anything; what is no JSON is none.
        let Ok(document) = serde_json::from_str::<Value>(&text(&dir.join(file))?) else { continue };
        left.push(Conversation { title, content: Content::Atif(document) });
    }
    if !left.is_empty() {
        return Ok(("agent", left));
    }
    let recorded = recorded(folder, id)?;
    if !recorded.is_empty() {
        return Ok(("wire", recorded));
    }
    Err(Failure::new(Exit::Usage, format!("no trajectory of {} is kept", id.path()))
        .hint("of an agent that keeps none, a run with --record has what its model was asked and answered"))
}

/// `NAME.EXT` and `NAME-STEP.EXT` with the step, as they were made.
fn files(dir: &Path, name: &str, extension: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let about = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let file = entry.file_name().into_string().ok()?;
            let rest = file.strip_suffix(extension)?.strip_suffix('.')?.strip_prefix(name)?;
            let title = if rest.is_empty() { "" } else { rest.strip_prefix('-')? };
            Some((about.created().or_else(|_| about.modified()).ok(), (title.to_owned(), file.clone())))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, file)| file).collect()
}

fn text(file: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Unexpected, format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(failed)?;
    open.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn recorded(folder: &Path, id: &TrialId) -> Result<Vec<Conversation>, Failure> {
    let place = folder.join("recording");
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let failed =
        |error: std::io::Error| Failure::new(Exit::Unexpected, format!("{}: {error}", place.display()));
    let recording = Recording::open(&place).map_err(failed)?;
    let kept = recording.exchanges(&id.path(), MAX_BYTES as usize).map_err(failed)?;
    let exchanged = kept.iter().filter(|one| one.generates).map(|one| Exchanged {
        wire: &one.wire,
        at_ms: one.at_ms,
        took_ms: one.took_ms,
        model: &one.model,
        request: &one.asked,
        content_type: one
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value.as_str()),
        answer: &one.answered,
        usage: one.cost.usage.unwrap_or_default(),
    });
    let all = conversations(exchanged);
    let several = all.len() > 1;
    let title = |at: usize| if several { format!("conversation {}", at + 1) } else { String::new() };
    Ok(all
        .into_iter()
        .enumerate()
        .map(|(at, lines)| Conversation { title: title(at), content: Content::Events(lines) })
        .collect())
}

/// One document; of several conversations the first, with the others in its `extra`.
fn exported(found: Vec<Conversation>, agent: &str, facts: &atif::Facts<'_>) -> Value {
    let mut documents = found.into_iter().filter_map(|one| match one.content {
        Content::Events(lines) => {
            let mut document = atif::trajectory(lines, facts)?;
            if agent != "core" {
                document["agent"]["name"] = json!(agent);
            }
            if !one.title.is_empty() {
                document["trajectory_id"] = json!(format!("{}/{}", facts.session_id, one.title));
            }
            Some(document)
        }
        Content::Atif(document) => Some(document),
    });
    let mut first = documents.next().unwrap_or(Value::Null);
    let others: Vec<Value> = documents.collect();
    if !others.is_empty() {
        first["extra"]["other_trajectories"] = Value::Array(others);
    }
    first
}

/// For people: every line fits, and none can move a cursor.
fn told(found: &[Conversation], title: &str) -> String {
    let color = printer::colour(&std::io::stdout());
    let room = printer::width().clamp(40, 200);
    let mut out = String::new();
    let mut say = |paint: Paint, line: &str| {
        let bare = without_escapes(line);
        let body = bare.trim_start_matches(' ');
        let indent = (bare.len() - body.len()).min(8);
        for part in wrap(&clean(body), room - indent) {
            let part = paint.on(&part, color);
            let _ = writeln!(out, "{}", format!("{}{part}", " ".repeat(indent)).trim_end());
        }
        if body.is_empty() {
            out.push('\n');
        }
    };
    say(Paint::Strong, title);
    for one in found {
        if !one.title.is_empty() {
            say(Paint::Plain, "");
            say(Paint::Strong, &format!("═══ {}", one.title));
        }
        let text = match &one.content {
            Content::Events(lines) => lines.iter().map(show::line).collect::<String>(),
            Content::Atif(document) => steps(document),
        };
        for line in text.lines() {
            let paint = match line {
                line if line.starts_with("──") => Paint::Strong,
                line if line.starts_with("! ") => Paint::Odd,
                line if line.starts_with("    ") => Paint::Faint,
                _ => Paint::Plain,
            };
            say(paint, line);
        }
    }
    out
}

/// The steps of a trajectory that another program wrote; what is not as the format has it is passed over.
fn steps(document: &Value) -> String {
    let mut text = String::new();
    let mut block = |by: &str, body: &str| {
        for line in cut(body.trim_end()).lines() {
            let _ = writeln!(text, "{by}{line}");
        }
    };
    for step in document["steps"].as_array().into_iter().flatten() {
        block("── ", step["source"].as_str().unwrap_or("unknown"));
        if let Some(thinking) = step["reasoning_content"].as_str() {
            block("  ", &format!("thinks: {thinking}"));
        }
        block("  ", &content(&step["message"]));
        for call in step["tool_calls"].as_array().into_iter().flatten() {
            block("  → ", call["function_name"].as_str().unwrap_or("a tool"));
            block("    ", &call["arguments"].to_string());
        }
        for result in step["observation"]["results"].as_array().into_iter().flatten() {
            block("  ← ", "result");
            block("    ", &content(&result["content"]));
        }
    }
    text
}

/// A text, or the texts of a list of parts.
fn content(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| part["text"].as_str().unwrap_or("[not a text]"));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// First and last part of a long text.
fn cut(text: &str) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let first: String = text.chars().take(SHOWN / 2).collect();
    let last: String = text.chars().skip(length - SHOWN / 2).collect();
    format!("{first}\n[… {} characters left out …]\n{last}", length - SHOWN / 2 * 2)
}
