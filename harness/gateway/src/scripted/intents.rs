//! What a turn means, put into whichever tools the request offers: every agent calls its shell differently, and a script should
//! play with all of them.

use serde_json::{Map, Value, json};

use super::conversation::{Conversation, Tool, ToolKind};
use super::script::{Edit, Turn};
use crate::tokens;

/// The command that mini-swe-agent takes for the end.
pub(crate) const LAST_COMMAND: &str = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT";

/// A part of what the model says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Text(String),
    Call { name: String, kind: ToolKind, input: Value },
}

impl Block {
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Block::Text(text) => tokens::count(text),
            Block::Call { name, input, .. } => tokens::count(name) + tokens::count(&input.to_string()),
        }
    }
}

/// Names of shells, without what is no letter, the likeliest first.
const SHELLS: &[&str] = &[
    "bash",
    "shell",
    "localshell",
    "execcommand",
    "runshellcommand",
    "executebash",
    "shellcommand",
    "runcommand",
    "executecommand",
    "containerexec",
    "terminal",
    "exec",
    "run",
    "command",
];
/// Names of a shell's command in its input.
const COMMANDS: &[&str] = &["command", "cmd", "script", "commands", "code", "keystrokes"];
const PATHS: &[&str] = &["file_path", "path", "filePath", "absolute_path", "filename", "file"];
const CONTENTS: &[&str] = &["content", "file_text", "contents", "new_content", "text"];
const OLDS: &[&str] = &["old_string", "old_str", "oldString", "old_text", "search"];
const NEWS: &[&str] = &["new_string", "new_str", "newString", "new_text", "replace"];
/// Names of tools that end an agent's work.
const ENDS: &[&str] =
    &["submit", "finish", "taskcomplete", "completetask", "attemptcompletion", "finaloutput", "done"];
/// Names that an answer to "what happened" goes by in them.
const RESULTS: &[&str] = &["result", "message", "summary", "output", "answer", "text"];

/// The turn as text and calls.
pub(crate) fn blocks(turn: &Turn, conversation: &Conversation, textual: bool) -> Vec<Block> {
    let tools = &conversation.tools;
    let mut blocks: Vec<Block> = turn.say.iter().map(|say| Block::Text(say.clone())).collect();
    let shell = |command: &str| match shell(tools) {
        Some(tool) => run(tool, command),
        None if textual => Block::Text(format!("```bash\n{command}\n```")),
        None => Block::Text(command.to_owned()),
    };
    if let Some(run) = &turn.run {
        blocks.extend(run.commands().iter().map(|command| shell(command)));
    }
    if let Some(edit) = &turn.edit {
        blocks.push(self::edit(tools, edit).unwrap_or_else(|| shell(&edit_by_shell(edit))));
    }
    if let Some(finish) = &turn.finish {
        blocks.extend(self::finish(conversation, finish, &shell));
    }
    if blocks.is_empty() {
        // A turn that is nothing but a fault, after the fault.
        blocks.push(Block::Text(String::new()));
    }
    blocks
}

/// As much of what would have been said as the cap lets through.
pub(crate) fn beginning(blocks: &[Block], cap: u64) -> String {
    let text: String = blocks
        .iter()
        .map(|block| match block {
            Block::Text(text) => text.clone(),
            Block::Call { input, .. } => input.to_string(),
        })
        .collect();
    text.chars().take(usize::try_from(cap).unwrap_or(usize::MAX).saturating_mul(3)).collect()
}

fn letters(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_ascii_alphanumeric())
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// The first tool by the order of the names, not of the tools.
fn by_name<'a>(tools: &'a [Tool], names: &[&str]) -> Option<&'a Tool> {
    names.iter().find_map(|name| tools.iter().find(|tool| letters(&tool.name) == *name))
}

fn shell(tools: &[Tool]) -> Option<&Tool> {
    tools.iter().find(|tool| tool.kind == ToolKind::LocalShell).or_else(|| by_name(tools, SHELLS)).or_else(
        || {
            tools
                .iter()
                .find(|tool| property(tool, &COMMANDS[..2]).is_some() && property(tool, PATHS).is_none())
        },
    )
}

/// The tool's own name for one of these.
fn property<'a>(tool: &Tool, names: &[&'a str]) -> Option<&'a str> {
    let properties = tool.schema.get("properties")?;
    names.iter().copied().find(|name| properties.get(name).is_some())
}

fn run(tool: &Tool, command: &str) -> Block {
    let input = match tool.kind {
        ToolKind::LocalShell => json!(["bash", "-lc", command]),
        // Codex runs JavaScript in which its tools are functions.
        ToolKind::Text => json!(format!("text(await tools.exec_command({}));\n", json!({"cmd": command}))),
        ToolKind::Function => {
            let name = property(tool, COMMANDS).unwrap_or("command");
            let is_list = tool.schema["properties"][name]["type"] == "array";
            let value = if is_list { json!(["bash", "-lc", command]) } else { json!(command) };
            filled(tool, vec![(name, value)])
        }
    };
    Block::Call { name: tool.name.clone(), kind: tool.kind, input }
}

/// An input with these members, and something for every other one that the tool requires.
fn filled(tool: &Tool, members: Vec<(&str, Value)>) -> Value {
    let mut input: Map<String, Value> =
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let required = tool.schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if input.contains_key(name) {
            continue;
        }
        let schema = &tool.schema["properties"][name];
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str),
            kind => kind.as_str(),
        };
        let first = schema.get("enum").and_then(|values| values.get(0));
        let value = first.cloned().unwrap_or_else(|| match kind.map(str::to_ascii_lowercase).as_deref() {
            Some("boolean") => json!(false),
            Some("integer" | "number") if name.contains("timeout") => json!(60),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("as the script says"),
        });
        input.insert(name.to_owned(), value);
    }
    Value::Object(input)
}

/// The edit by a tool that can do it; `None` leaves it to the shell.
fn edit(tools: &[Tool], edit: &Edit) -> Option<Block> {
    let call = |tool: &Tool, input| Block::Call { name: tool.name.clone(), kind: tool.kind, input };
    let replaces = edit.old.as_deref().zip(edit.new.as_deref());
    for tool in tools {
        // Anthropic's own editor comes without a schema.
        let own_editor = tool.schema.is_null() && tool.name.starts_with("str_replace_based_edit");
        let commands = &tool.schema["properties"]["command"]["enum"];
        let is_editor =
            own_editor || commands.as_array().is_some_and(|all| all.contains(&json!("str_replace")));
        if is_editor {
            let members = match (replaces, &edit.content) {
                (Some((old, new)), _) => {
                    json!({"command": "str_replace", "path": edit.path, "old_str": old, "new_str": new})
                }
                (None, content) => json!({"command": "create", "path": edit.path, "file_text": content}),
            };
            return takes(tool, "path", &edit.path).then(|| call(tool, members));
        }
    }
    for tool in tools.iter().filter(|tool| tool.kind == ToolKind::Function) {
        let Some(path) = property(tool, PATHS).filter(|path| takes(tool, path, &edit.path)) else { continue };
        let members = match (replaces, property(tool, OLDS).zip(property(tool, NEWS))) {
            (Some((old, new)), Some((old_name, new_name))) => {
                vec![(path, json!(edit.path)), (old_name, json!(old)), (new_name, json!(new))]
            }
            (None, None) => match property(tool, CONTENTS) {
                Some(name) => vec![(path, json!(edit.path)), (name, json!(edit.content))],
                None => continue,
            },
            _ => continue,
        };
        return Some(call(tool, filled(tool, members)));
    }
    let patch = tools.iter().find(|tool| letters(&tool.name) == "applypatch")?;
    let input = match patch.kind {
        ToolKind::Function => {
            filled(patch, vec![(property(patch, &["input", "patch"])?, json!(patch_of(edit)))])
        }
        _ => json!(patch_of(edit)),
    };
    Some(call(patch, input))
}

/// Whether a tool takes this path: some take none but those from the root, and say so.
fn takes(tool: &Tool, property: &str, path: &str) -> bool {
    let told = tool.schema["properties"][property]["description"].as_str().unwrap_or_default();
    path.starts_with('/')
        || !(property.contains("absolute") || told.to_ascii_lowercase().contains("absolute"))
}

fn patch_of(edit: &Edit) -> String {
    let lines =
        |sign: char, text: &str| -> String { text.lines().map(|line| format!("{sign}{line}\n")).collect() };
    let body = match (&edit.content, &edit.old, &edit.new) {
        (Some(content), ..) => format!("*** Add File: {}\n{}", edit.path, lines('+', content)),
        (None, old, new) => format!(
            "*** Update File: {}\n@@\n{}{}",
            edit.path,
            lines('-', old.as_deref().unwrap_or_default()),
            lines('+', new.as_deref().unwrap_or_default())
        ),
    };
    format!("*** Begin Patch\n{body}*** End Patch")
}

/// The edit as a command that works in any POSIX shell.
fn edit_by_shell(edit: &Edit) -> String {
    let path = quoted(&edit.path);
    match (&edit.content, &edit.old, &edit.new) {
        (Some(content), ..) => {
            format!("mkdir -p \"$(dirname {path})\" && printf '%s' {} > {path}", quoted(content))
        }
        (None, old, new) => format!(
            "OLD={} NEW={} awk 'BEGIN {{ RS = \"\\001\" }} {{ at = index($0, ENVIRON[\"OLD\"]); if (!at) exit 1; \
             printf \"%s%s%s\", substr($0, 1, at - 1), ENVIRON[\"NEW\"], substr($0, at + length(ENVIRON[\"OLD\"])) }}' \
             {path} > {path}.new && cat {path}.new > {path} && rm {path}.new",
            quoted(old.as_deref().unwrap_or_default()),
            quoted(new.as_deref().unwrap_or_default())
        ),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn finish(conversation: &Conversation, text: &str, shell_of: &dyn Fn(&str) -> Block) -> Vec<Block> {
    if let Some(tool) = by_name(&conversation.tools, ENDS).filter(|tool| tool.kind == ToolKind::Function) {
        let members = property(tool, RESULTS).map(|name| (name, json!(text))).into_iter().collect();
        let input = filled(tool, members);
        return vec![Block::Call { name: tool.name.clone(), kind: tool.kind, input }];
    }
    let mut blocks = vec![Block::Text(text.to_owned())];
    if conversation.ends_by_command {
        blocks.push(shell_of(&format!("echo {LAST_COMMAND}")));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, properties: Value) -> Tool {
        let required: Vec<String> =
            properties.as_object().unwrap().keys().filter(|key| !key.starts_with("opt")).cloned().collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        Tool { name: name.to_owned(), kind: ToolKind::Function, schema }
    }

    fn played(turn: &str, tools: Vec<Tool>) -> Vec<Block> {
        let script = super::super::Script::parse(&format!("[[turn]]\n{turn}"), "t").unwrap();
        blocks(&script.turns[0], &Conversation { tools, ..Conversation::default() }, false)
    }

    fn input(blocks: &[Block]) -> (&str, &Value) {
        match blocks {
            [Block::Call { name, input, .. }] => (name, input),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn run_finds_each_agents_shell_and_fills_in_what_it_requires() {
        let text = json!({"type": "string"});
        let claude = tool("Bash", json!({"command": text, "optDescription": text}));
        assert_eq!(
            input(&played("run = \"ls\"", vec![tool("Read", json!({"file_path": text})), claude])),
            ("Bash", &json!({"command": "ls"}))
        );
        let gemini =
            tool("run_shell_command", json!({"command": text, "is_background": {"type": "boolean"}}));
        assert_eq!(
            input(&played("run = \"ls\"", vec![gemini])).1,
            &json!({"command": "ls", "is_background": false})
        );
        let codex = tool("exec_command", json!({"cmd": text}));
        assert_eq!(input(&played("run = \"ls\"", vec![codex])).1, &json!({"cmd": "ls"}));
        let old_codex = tool("shell", json!({"command": {"type": "array"}}));
        assert_eq!(
            input(&played("run = \"ls\"", vec![old_codex])).1,
            &json!({"command": ["bash", "-lc", "ls"]})
        );
        let openhands = tool(
            "terminal",
            json!({"command": text, "security_risk": {"type": "string", "enum": ["LOW", "HIGH"]}}),
        );
        assert_eq!(
            input(&played("run = \"ls\"", vec![openhands])).1,
            &json!({"command": "ls", "security_risk": "LOW"})
        );
        let strange = tool("do_it", json!({"cmd": text}));
        assert_eq!(input(&played("run = \"ls\"", vec![strange])), ("do_it", &json!({"cmd": "ls"})));
        let custom = Tool { name: "exec".to_owned(), kind: ToolKind::Text, schema: Value::Null };
        assert!(input(&played("run = \"ls\"", vec![custom])).1.as_str().unwrap().contains(r#"{"cmd":"ls"}"#));
        assert_eq!(played("run = [\"a\", \"b\"]", vec![tool("bash", json!({"command": text}))]).len(), 2);
    }

    #[test]
    fn edit_finds_each_agents_editor_or_goes_by_the_shell() {
        let text = json!({"type": "string"});
        let write = || {
            tool(
                "Write",
                json!({"file_path": {"type": "string", "description": "The absolute path"}, "content": text}),
            )
        };
        let bash = || tool("Bash", json!({"command": text}));
        let absolute = played("edit = { path = \"/w/a\", content = \"x\" }", vec![bash(), write()]);
        assert_eq!(input(&absolute), ("Write", &json!({"file_path": "/w/a", "content": "x"})));
        let relative = played("edit = { path = \"a\", content = \"it's\" }", vec![write(), bash()]);
        assert_eq!(input(&relative).0, "Bash");
        let replace = tool("replace", json!({"file_path": text, "old_string": text, "new_string": text}));
        let replaced = played("edit = { path = \"a\", old = \"x\", new = \"y\" }", vec![write(), replace]);
        assert_eq!(
            input(&replaced),
            ("replace", &json!({"file_path": "a", "old_string": "x", "new_string": "y"}))
        );
        let editor = tool(
            "str_replace_editor",
            json!({"command": {"type": "string", "enum": ["view", "create", "str_replace"]}, "path": text}),
        );
        let edited = played("edit = { path = \"/a\", old = \"x\", new = \"y\" }", vec![editor]);
        assert_eq!(input(&edited).1["command"], "str_replace");
        let patch = Tool { name: "apply_patch".to_owned(), kind: ToolKind::Text, schema: Value::Null };
        let patched = played("edit = { path = \"a\", content = \"x\\ny\\n\" }", vec![patch]);
        assert_eq!(input(&patched).1, "*** Begin Patch\n*** Add File: a\n+x\n+y\n*** End Patch");
    }

    #[test]
    fn edit_by_shell_does_what_it_says_in_a_real_shell() {
        let folder = std::env::temp_dir().join(format!("harness-gateway-edit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("sub/it's a file.txt");
        let edit = |content: Option<&str>, old: Option<&str>, new: Option<&str>| Edit {
            path: path.to_string_lossy().into_owned(),
            content: content.map(str::to_owned),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let sh = |command: &str| {
            std::process::Command::new("sh").arg("-c").arg(command).status().unwrap().success()
        };
        assert!(sh(&edit_by_shell(&edit(Some("one 'two'\n%s \\ three\n"), None, None))));
        assert!(sh(&edit_by_shell(&edit(None, Some("'two'\n%s \\"), Some("2\n\\n&\n")))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one 2\n\\n&\n three\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn finish_uses_the_agents_own_way_to_end() {
        let text = json!({"type": "string"});
        assert_eq!(played("finish = \"ok\"", vec![]), [Block::Text("ok".to_owned())]);
        let ended = played("finish = \"ok\"", vec![tool("task_complete", json!({"summary": text}))]);
        assert_eq!(input(&ended), ("task_complete", &json!({"summary": "ok"})));
        let script = super::super::Script::parse("[[turn]]\nfinish = \"ok\"", "t").unwrap();
        let mini = Conversation {
            tools: vec![tool("bash", json!({"command": text}))],
            ends_by_command: true,
            turns: 0,
        };
        let said = blocks(&script.turns[0], &mini, false);
        assert!(
            matches!(&said[1], Block::Call { input, .. } if input["command"] == format!("echo {LAST_COMMAND}"))
        );
    }
}
