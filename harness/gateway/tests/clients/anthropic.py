"""Anthropic's own library, streaming and not. Prints what it understood, one JSON line a call."""
import json
import os

import anthropic

client = anthropic.Anthropic(base_url=os.environ["BASE"], api_key="virtual", max_retries=0)
schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
asked = {
    "model": "asked",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [{"name": "bash", "input_schema": schema}],
}


def tell(api, message):
    text = "".join(block.text for block in message.content if block.type == "text")
    command = [block.input["command"] for block in message.content if block.type == "tool_use"][0]
    usage = message.usage
    entered = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    print(json.dumps({"api": api, "text": text, "command": command, "input": entered, "output": usage.output_tokens}))


tell("messages", client.messages.create(**asked))
with client.messages.stream(**asked) as stream:
    said = "".join(stream.text_stream)
    final = stream.get_final_message()
assert said in "".join(block.text for block in final.content if block.type == "text"), said
tell("messages stream", final)
assert client.messages.count_tokens(model="asked", messages=asked["messages"]).input_tokens > 0
