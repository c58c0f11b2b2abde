"""Google's own library, streaming and not. Prints what it understood, one JSON line a call."""
import json
import os

from google import genai
from google.genai import types

client = genai.Client(api_key="virtual", http_options=types.HttpOptions(base_url=os.environ["BASE"]))
schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
bash = types.FunctionDeclaration(name="bash", description="runs", parameters=schema)
config = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[bash])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def tell(api, chunks):
    parts = [part for chunk in chunks for part in (chunk.candidates[0].content.parts or []) if chunk.candidates]
    text = "".join(part.text for part in parts if part.text and not part.thought)
    command = [part.function_call.args["command"] for part in parts if part.function_call][0]
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
    output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    print(json.dumps({"api": api, "text": text, "command": command, "input": usage.prompt_token_count, "output": output}))


tell("generate", [client.models.generate_content(model="asked", contents="hello", config=config)])
tell("generate stream", list(client.models.generate_content_stream(model="asked", contents="hello", config=config)))
