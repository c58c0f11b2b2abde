// OpenAI's own library for Node, on both of its APIs, streaming and not. Prints what it understood, one JSON line a call.
import { createRequire } from "node:module";
const require = createRequire(process.env.NODE_PATH + "/");
const OpenAI = require("openai").default ?? require("openai");

const client = new OpenAI({ baseURL: process.env.BASE + "/v1", apiKey: "virtual", maxRetries: 0 });
const parameters = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
const tell = (api, text, command, input, output) => console.log(JSON.stringify({ api, text, command, input, output }));

let tools = [{ type: "function", name: "bash", parameters, strict: false }];
const responses = (api, answer) => {
  const call = answer.output.find((item) => item.type === "function_call");
  tell(api, answer.output_text, JSON.parse(call.arguments).command, answer.usage.input_tokens, answer.usage.output_tokens);
};
responses("responses", await client.responses.create({ model: "asked", input: "hello", tools }));
responses("responses stream", await client.responses.stream({ model: "asked", input: "hello", tools }).finalResponse());

tools = [{ type: "function", function: { name: "bash", parameters } }];
const messages = [{ role: "user", content: "hello" }];
const chat = (api, answer) => {
  const { content, tool_calls } = answer.choices[0].message;
  const { prompt_tokens, completion_tokens } = answer.usage;
  tell(api, content, JSON.parse(tool_calls[0].function.arguments).command, prompt_tokens, completion_tokens);
};
chat("chat", await client.chat.completions.create({ model: "asked", messages, tools }));
const stream = client.chat.completions.stream({ model: "asked", messages, tools, stream_options: { include_usage: true } });
chat("chat stream", await stream.finalChatCompletion());
