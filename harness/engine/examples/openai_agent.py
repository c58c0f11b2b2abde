#!/usr/bin/env python3
"""A whole coding agent in one file, for any OpenAI-compatible endpoint (Chat Completions with tools).

It lives on the host and needs nothing but Python 3.8: `harness` starts it once a trial and serves it the sandbox over JSON
lines, so nothing is installed in the task's image and no key enters a sandbox.

    harness run suite --agent command --model openai-chat/MODEL \
        --agent-set host='python3 openai_agent.py'

The harness reads OPENAI_API_KEY and OPENAI_BASE_URL; the agent gets addresses and keys of the harness's own in their place.

Protocol 1. The harness writes one line with the task; the agent writes one line a call and reads one line an answer:

    -> {"type":"task","protocol":1,"task":...,"instruction":...,"workdir":...,"timeout_sec":...,"model":...}
    <- {"id":1,"call":"exec","command":"make test","timeout_sec":60}
    -> {"id":1,"ok":{"exit_code":0,"signal":null,"timed_out":false,"stdout":"...","stderr":"..."}}
    <- {"id":2,"call":"read","path":"a.txt"}                 -> {"id":2,"ok":{"text":"..."}}   or {"base64":"..."}
    <- {"id":3,"call":"write","path":"a.txt","text":"..."}   -> {"id":3,"ok":{}}              or {"id":3,"error":"..."}
    <- {"call":"report","usage":{"output_tokens":5},"cost_usd":0.01}     what it used so far in all
    <- {"call":"log","text":"..."}
    <- {"call":"done","status":"finished"}                   or "gave_up", with "message"
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

MAX_STEPS = int(os.environ.get("AGENT_MAX_STEPS", "50"))
MAX_OUTPUT = 20_000  # characters of a command's output that the model sees
SYSTEM = (
    "You are a coding agent in a sandbox. Work on the task with the tools, check your work by running it, "
    "and answer without a tool call when you are done."
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "bash",
            "description": "Run a shell command in the working folder and see its output.",
            "parameters": {
                "type": "object",
                "properties": {"cmd": {"type": "string"}, "timeout_sec": {"type": "number"}},
                "required": ["cmd"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "write",
            "description": "Write a file, whole.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
                "required": ["path", "content"],
            },
        },
    },
]


class Harness:
    """The other end of stdin and stdout."""

    def __init__(self):
        self.last_id = 0

    def say(self, **line):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def call(self, name, **arguments):
        self.last_id += 1
        self.say(id=self.last_id, call=name, **arguments)
        answer = sys.stdin.readline()
        if not answer:
            sys.exit("the harness is gone")
        return json.loads(answer)


def cut(text):
    if len(text) <= MAX_OUTPUT:
        return text
    half = MAX_OUTPUT // 2
    return text[:half] + f"\n[... {len(text) - MAX_OUTPUT} characters left out ...]\n" + text[-half:]


def use(harness, name, arguments):
    """Carries out one tool call and says what the model shall see of it."""
    if name == "bash" and isinstance(arguments.get("cmd"), str):
        answer = harness.call("exec", command=arguments["cmd"], timeout_sec=arguments.get("timeout_sec") or 120)
        if "error" in answer:
            return "error: " + answer["error"]
        ok = answer["ok"]
        ended = "timed out" if ok["timed_out"] else f"exit code {ok['exit_code']}"
        return cut(ok["stdout"] + ok["stderr"]) + f"\n[{ended}]"
    if name == "write" and isinstance(arguments.get("path"), str) and isinstance(arguments.get("content"), str):
        answer = harness.call("write", path=arguments["path"], text=arguments["content"])
        return "error: " + answer["error"] if "error" in answer else "written"
    return f"error: there is no tool {name!r} with these arguments; there are bash(cmd) and write(path, content)"


def complete(messages, model):
    """One answer of the model; waits and tries again where the server asks for it."""
    base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
    body = json.dumps({"model": model, "messages": messages, "tools": TOOLS}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "")}
    for attempt in range(6):
        request = urllib.request.Request(base + "/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504) or attempt == 5:
                raise
            after = error.headers.get("Retry-After", "")
            time.sleep(min(float(after) if after.isdigit() else 2.0**attempt, 60))


def add(used, usage):
    """Adds one answer's usage, in buckets that exclude each other."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    used["requests"] += 1
    used["uncached_input_tokens"] += (usage.get("prompt_tokens") or 0) - cached
    used["cache_read_tokens"] += cached
    used["output_tokens"] += usage.get("completion_tokens") or 0
    used["reasoning_tokens"] += reasoning


def main():
    harness = Harness()
    task = json.loads(sys.stdin.readline())
    model = task.get("model") or os.environ.get("OPENAI_MODEL") or sys.exit("name a model: --model, or OPENAI_MODEL")
    model = model.split("/", 1)[-1]  # PROVIDER/MODEL
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{task['instruction']}\n\nThe working folder is {task['workdir']}."},
    ]
    used = dict.fromkeys(
        ["requests", "uncached_input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens"], 0
    )
    for _ in range(MAX_STEPS):
        answer = complete(messages, model)
        if answer.get("usage"):
            add(used, answer["usage"])
            harness.say(call="report", usage=used)
        message = answer["choices"][0]["message"]
        messages.append(message)
        calls = message.get("tool_calls") or []
        if message.get("content"):
            harness.say(call="log", text=message["content"])
        if not calls:
            return harness.say(call="done", status="finished")
        for call in calls:
            try:
                arguments = json.loads(call["function"]["arguments"] or "{}")
                seen = use(harness, call["function"]["name"], arguments if isinstance(arguments, dict) else {})
            except ValueError as error:
                seen = f"error: the arguments are not JSON: {error}"
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": seen})
    harness.say(call="done", status="gave_up", message=f"no end after {MAX_STEPS} steps")


if __name__ == "__main__":
    main()
