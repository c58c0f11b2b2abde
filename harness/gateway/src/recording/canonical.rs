//! What two requests have in common that were made by the same agent in the same place at different times: keys in order,
//! and ids, dates, clocks and the like replaced by what they are.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::wire::Operation;

/// A request, as far as it decides what is answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The wire that it came on.
    pub wire: &'a str,
    /// What is asked.
    pub operation: Operation,
    /// The model.
    pub model: &'a str,
    /// Whether the answer streams.
    pub stream: bool,
    /// Its body, without secrets.
    pub body: &'a [u8],
}

/// What a request is found by again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The digest of the canonical form.
    pub form: [u8; 16],
    /// Of how its conversation began: sub-agents and side requests of one trial are threads of their own.
    pub thread: u64,
    /// Of wire, operation and framing: an answer of another kind could not be read.
    pub kind: u64,
}

/// Members of the outermost object that name a session, and never what is asked.
const VOLATILE: &[&str] = &[
    "client_metadata",
    "conversation_id",
    "internal_chat_message_metadata_passthrough",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "session_id",
    "user",
];
/// Members that do so wherever they stand.
const VOLATILE_ANYWHERE: &[&str] = &["internal_chat_message_metadata_passthrough"];
/// Where conversations are kept, by wire.
const CONVERSATIONS: &[&str] = &["messages", "input", "contents"];
/// What stands before them.
const PREFACES: &[&str] = &["system", "instructions", "systemInstruction", "system_instruction"];
/// Milliseconds since 1970 in this century.
const MOMENTS_MS: std::ops::Range<u64> = 946_684_800_000..4_102_444_800_000;

/// What changes from run to run in a text. The order counts: the first that fits is taken.
static CHANGING: LazyLock<Regex> = LazyLock::new(|| {
    let months = "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)";
    let weekday = "(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? +)?";
    let clock = "[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: [AP]M)?";
    let zone = "(?:Z| ?[+-][0-9]{2}:?[0-9]{2}| UTC| GMT)?";
    let pattern = [
        r"(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)".to_owned(),
        r"(?P<id>\b(?:msg|call|toolu|srvtoolu|fc|fco|ctc|ctco|rs|resp|req|ws|run|gen|chatcmpl)[_-][A-Za-z0-9_-]{6,})".to_owned(),
        r"(?P<line>\b(?:Chunk ID|Wall time|Process ID|PID|Session ID|Request ID): *[^\n]*)".to_owned(),
        format!(r"(?P<date>\b[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{clock}{zone})?\b|\b[0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{4}}\b|\b{weekday}{months} +[0-9]{{1,2}}(?:,? +(?:[0-9]{{4}}\b|{clock}{zone}))*|\b{weekday}[0-9]{{1,2}} {months} [0-9]{{4}}(?: {clock}{zone})?)"),
        format!(r"(?P<clock>\b{clock}{zone}\b)"),
        r"(?P<port>\b(?:127\.0\.0\.1|localhost|\[::1\]):[0-9]{2,5}\b)".to_owned(),
        r"(?P<took>\b(?:[0-9]+m)?[0-9]+\.[0-9]+ ?(?:ns|µs|us|ms|s|secs?|seconds?)\b)".to_owned(),
        r#"(?P<measured>\b(?:duration|elapsed|took)(?:_?(?:ns|us|ms|s|sec|seconds))?["']?[:=]? *[0-9]+(?:\.[0-9]+)?(?:[eE]-?[0-9]+)?)"#.to_owned(),
        // What programs call a file that nobody is to name: mktemp, Python, Rust, Node.
        r"(?P<tmp>/tmp/(?:\.?tmp[._-]?[A-Za-z0-9_]{6,12}|[A-Za-z0-9_]+[.-][A-Za-z0-9]{6,12})\b)".to_owned(),
    ]
    .join("|");
    Regex::new(&pattern).expect("the pattern is a constant that a test compiles")
});

impl Asked<'_> {
    /// The key that it is found by.
    pub fn key(&self) -> Key {
        let form = self.form();
        let digest = blake3::hash(form.to_string().as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_bytes()[..16]);
        let begin = Value::from(vec![Value::from(self.wire), Value::from(self.model), beginning(&form)]);
        let kind = format!("{} {:?} {}", self.wire, self.operation, self.stream);
        Key { form: short, thread: word(begin.to_string().as_bytes()), kind: word(kind.as_bytes()) }
    }

    /// The canonical form. A body that is no JSON is itself.
    pub fn form(&self) -> Value {
        let body = match serde_json::from_slice::<Value>(self.body) {
            Ok(body) => normal(body, &mut Names::default(), 0),
            Err(_) => Value::from(String::from_utf8_lossy(self.body)),
        };
        let mut all = Map::new();
        all.insert("body".to_owned(), body);
        all.insert("model".to_owned(), self.model.into());
        all.insert("operation".to_owned(), format!("{:?}", self.operation).into());
        all.insert("stream".to_owned(), self.stream.into());
        all.insert("wire".to_owned(), self.wire.into());
        Value::Object(all)
    }
}

/// A canonical form without what an agent's tools answered: what is left is the agent's own.
pub(super) fn said(mut form: Value) -> Value {
    if let Some(body) = form.get_mut("body") {
        for name in CONVERSATIONS {
            let items = body.get_mut(*name).and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(forget_outputs);
        }
    }
    form
}

/// Takes the answers of tools out of one item of a conversation, on whichever wire.
fn forget_outputs(item: &mut Value) {
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let forget = |item: &mut Value, key: &str| {
        if let Some(output) = item.get_mut(key) {
            *output = Value::from("<output>");
        }
    };
    if text(item, "type").is_some_and(|kind| kind.ends_with("_call_output")) {
        forget(item, "output");
    }
    if text(item, "role").is_some_and(|role| matches!(role.as_str(), "tool" | "function")) {
        forget(item, "content");
    }
    for part in ["content", "parts"] {
        for part in item.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
            if text(part, "type").as_deref() == Some("tool_result") {
                forget(part, "content");
            }
            if let Some(answer) = part.get_mut("functionResponse") {
                forget(answer, "response");
            }
        }
    }
}

/// How a conversation begins, by its canonical form.
fn beginning(form: &Value) -> Value {
    let Some(Value::Object(body)) = form.get("body") else { return Value::Null };
    let mut begin = Vec::new();
    for name in PREFACES {
        begin.extend(body.get(*name).cloned());
    }
    for name in CONVERSATIONS {
        match body.get(*name) {
            Some(Value::Array(list)) => begin.extend(list.iter().take(2).cloned()),
            Some(other) => begin.push(other.clone()),
            None => {}
        }
    }
    Value::Array(begin)
}

/// The ids met so far, numbered: which of them are the same is a part of what is asked.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn number(&mut self, name: &str) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

fn normal(value: Value, names: &mut Names, depth: usize) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(String, Value)> = map.into_iter().collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            let kept = members.into_iter().filter(|(key, _)| {
                let volatile = depth == 0 && VOLATILE.contains(&key.as_str());
                !volatile && !VOLATILE_ANYWHERE.contains(&key.as_str())
            });
            let kept = kept.map(|(key, value)| {
                // Items of a conversation have names that a client makes up, and nothing refers to.
                let named = depth == 2 && key == "id";
                let value = if named && value.is_string() {
                    Value::from("<id>")
                } else {
                    normal(value, names, depth + 1)
                };
                (key, value)
            });
            Value::Object(kept.collect())
        }
        Value::Array(list) => {
            Value::Array(list.into_iter().map(|value| normal(value, names, depth + 1)).collect())
        }
        Value::String(text) => Value::String(normal_text(text, names)),
        Value::Number(number) if number.as_u64().is_some_and(|number| MOMENTS_MS.contains(&number)) => {
            Value::from("<time>")
        }
        other => other,
    }
}

fn normal_text(text: String, names: &mut Names) -> String {
    // Binary parts have none of it, and are long.
    if text.len() > 4096 && !text.bytes().any(|byte| byte == b' ' || byte == b'\n') {
        return text;
    }
    let changed = CHANGING.replace_all(&text, |found: &Captures<'_>| {
        let name = |group| found.name(group).map(|found| found.as_str());
        if let Some(id) = name("uuid").or(name("id")) {
            return format!("<id {}>", names.number(id));
        }
        if let Some(line) = name("line") {
            let label = line.split(':').next().unwrap_or_default();
            return format!("{label}: <any>");
        }
        if let Some(measured) = name("measured") {
            let label = measured.split(|c: char| !c.is_ascii_alphabetic() && c != '_').next();
            return format!("{} <took>", label.unwrap_or_default());
        }
        if let Some(file) = name("tmp") {
            // A word is a name that somebody chose; chance has capitals or digits in it.
            let chance = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            let is_chance = file.rsplit(['.', '-', '/']).next().is_some_and(|end| end.contains(chance));
            return if is_chance { format!("<file {}>", names.number(file)) } else { file.to_owned() };
        }
        if let Some(port) = name("port") {
            let host = port.rsplit_once(':').map_or(port, |(host, _)| host);
            return format!("{host}:<port>");
        }
        let kind = ["date", "clock", "took"].into_iter().find(|kind| name(kind).is_some());
        format!("<{}>", kind.unwrap_or("any"))
    });
    match changed {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(changed) => changed,
    }
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(body: &Value) -> Key {
        let body = body.to_string();
        Asked {
            wire: "openai",
            operation: Operation::Generate,
            model: "m",
            stream: true,
            body: body.as_bytes(),
        }
        .key()
    }

    fn text(text: &str) -> String {
        normal_text(text.to_owned(), &mut Names::default())
    }

    #[test]
    fn key_is_the_same_whatever_changes_between_two_runs_of_one_agent() {
        let one = json!({"model": "m", "prompt_cache_key": "019a", "client_metadata": {"x": 1}, "input": [
            {"id": "msg_0123456789", "role": "user", "content": "Today is 2026-11-21. Port 127.0.0.1:4010"},
            {"type": "function_call", "call_id": "call_AbCdEf123", "arguments": "{\"cmd\":\"ls -l\"}"},
            {"type": "function_call_output", "call_id": "call_AbCdEf123",
                "output": "Chunk ID: 4f2a1c\nWall time: 0.0512 seconds\n-rw-r--r-- 1 root root 5 Nov 21 20:34 a\nok in 0.13s"}]});
        let other = json!({"input": [
            {"content": "Today is 2027-01-02. Port 127.0.0.1:55123", "role": "user", "id": "msg_99999999999"},
            {"call_id": "call_ZZZZZZ999", "type": "function_call", "arguments": "{\"cmd\":\"ls -l\"}"},
            {"type": "function_call_output", "call_id": "call_ZZZZZZ999",
                "output": "Chunk ID: 111111\nWall time: 11.1 seconds\n-rw-r--r-- 1 root root 5 Jan  2 03:04 a\nok in 2.99s"}],
            "model": "m", "prompt_cache_key": "77"});
        assert_eq!(key(&one), key(&other));
        // Which call an output belongs to is not volatile.
        let mut swapped = other.clone();
        swapped["input"][2]["call_id"] = json!("call_other9999");
        assert_ne!(key(&swapped).form, key(&other).form);
        assert_eq!(key(&swapped).thread, key(&other).thread);
        let mut said = other;
        said["input"][0]["content"] = json!("Tomorrow is 2027-01-02.");
        assert_ne!(key(&said).thread, key(&one).thread);
    }

    #[test]
    fn normal_text_replaces_what_changes_and_nothing_else() {
        for (said, expected) in [
            ("It is Saturday, November 21, 2026, 10:15 PM.", "It is <date>."),
            ("Date: Sat, 21 Nov 2026 20:34:25 GMT", "Date: <date>"),
            ("at 2026-11-21T20:34:25.123Z, or 2026-11-21", "at <date>, or <date>"),
            ("drwx 2 u u 40 Nov  1 09:10 src", "drwx 2 u u 40 <date> src"),
            ("3 passed in 0.12s; real\t0m0.012s", "3 passed in <took>; real\t<took>"),
            (
                "id 123e4567-e89b-12d3-a456-426614174000 again 123e4567-e89b-12d3-a456-426614174000",
                "id <id 1> again <id 1>",
            ),
            (
                "May I call you? call_me maybe, 3.5 stars, v1.2.3, 10:1",
                "May I call you? call_me maybe, 3.5 stars, v1.2.3, 10:1",
            ),
            ("fn main() { let x = 2026; }", "fn main() { let x = 2026; }"),
            ("  duration_ms: 11.168944\n# duration_ms 220.07", "  duration_ms <took>\n# duration_ms <took>"),
            ("{\"elapsed\": 3, \"took\": 12}", "{\"elapsed <took>, \"took <took>}"),
            ("it took 3 turns and a long duration", "it took <took> turns and a long duration"),
            ("/tmp/tmp.WmR0gIGHe6 and /tmp/tmp.WmR0gIGHe6/a", "<file 1> and <file 1>/a"),
            ("/tmp/tmpab12_x9/x /tmp/.tmpQx12Zy /tmp/work-Ab3dE9", "<file 1>/x <file 2> <file 3>"),
            ("/tmp/settings.config /tmp/tmp-folder /tmp/a", "/tmp/settings.config /tmp/tmp-folder /tmp/a"),
        ] {
            assert_eq!(text(said), expected, "{said}");
        }
    }

    #[test]
    fn said_leaves_out_what_tools_answered_on_every_wire_and_nothing_else() {
        for (list, output) in [
            ("input", json!({"type": "function_call_output", "call_id": "c", "output": "OUT"})),
            ("input", json!({"type": "custom_tool_call_output", "call_id": "c", "output": "OUT"})),
            ("messages", json!({"role": "tool", "tool_call_id": "c", "content": "OUT"})),
            (
                "messages",
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "OUT"}]}),
            ),
            (
                "contents",
                json!({"role": "user", "parts": [{"functionResponse": {"name": "bash", "response": {"output": "OUT"}}}]}),
            ),
        ] {
            let form = |output: &Value, text: &str| {
                let body = json!({list: [{"role": "user", "content": text}, output]}).to_string();
                let asked = Asked {
                    wire: "w",
                    operation: Operation::Generate,
                    model: "m",
                    stream: true,
                    body: body.as_bytes(),
                };
                said(asked.form())
            };
            let other: Value = serde_json::from_str(&output.to_string().replace("OUT", "ANOTHER")).unwrap();
            assert_eq!(form(&output, "a"), form(&other, "a"), "{output}");
            assert_ne!(form(&output, "a"), form(&output, "b"));
            let call: Value =
                serde_json::from_str(&output.to_string().replace("\"c\"", "\"d\"").replace("bash", "sh"))
                    .unwrap();
            assert_ne!(form(&output, "a"), form(&call, "a"), "{output}");
        }
    }

    #[test]
    fn form_of_what_is_no_json_is_itself() {
        let asked =
            |body| Asked { wire: "google", operation: Operation::Generate, model: "m", stream: false, body };
        assert_eq!(asked(b"no json").form()["body"], json!("no json"));
        assert_ne!(asked(b"one").key().form, asked(b"two").key().form);
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        asked(&deep).key();
    }
}
