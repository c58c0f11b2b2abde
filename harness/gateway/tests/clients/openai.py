"""OpenAI's own library, on both of its APIs, streaming and not. Prints what it understood, one JSON line a call."""
import json
import os

import openai

client = openai.OpenAI(base_url=os.environ["BASE"] + "/v1", api_key="virtual", max_retries=0)
schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


def tell(api, text, command, usage):
    print(json.dumps({"api": api, "text": text, "command": command, "input": usage[0], "output": usage[1]}))


tools = [{"type": "function", "name": "bash", "description": "runs", "parameters": schema}]


def responses(api, answer):
    calls = [json.loads(item.arguments)["command"] for item in answer.output if item.type == "function_call"]
    tell(api, answer.output_text, calls[0], (answer.usage.input_tokens, answer.usage.output_tokens))


responses("responses", client.responses.create(model="asked", input="hello", tools=tools))
with client.responses.stream(model="asked", input="hello", tools=tools) as stream:
    said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    final = stream.get_final_response()
assert said == final.output_text, said
responses("responses stream", final)

tools = [{"type": "function", "function": {"name": "bash", "parameters": schema}}]
messages = [{"role": "user", "content": "hello"}]
answer = client.chat.completions.create(model="asked", messages=messages, tools=tools)
message = answer.choices[0].message
command = json.loads(message.tool_calls[0].function.arguments)["command"]
tell("chat", message.content, command, (answer.usage.prompt_tokens, answer.usage.completion_tokens))
for options in ({"include_usage": True}, None):
    further = {"stream_options": options} if options else {}
    text, arguments, usage = "", "", None
    for chunk in client.chat.completions.create(model="asked", messages=messages, tools=tools, stream=True, **further):
        usage = chunk.usage or usage
        # As strict clients do: without usage asked for, every chunk has a choice.
        assert options or chunk.choices
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                arguments += call.function.arguments or ""
    assert (usage is not None) == (options is not None)
    counts = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
    tell("chat stream", text, json.loads(arguments)["command"], counts)
