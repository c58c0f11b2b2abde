// Anthropic's own library for Node, streaming and not. Prints what it understood, one JSON line a call.
import { createRequire } from "node:module";
const require = createRequire(process.env.NODE_PATH + "/");
const Anthropic = require("@anthropic-ai/sdk").default ?? require("@anthropic-ai/sdk");

const client = new Anthropic({ baseURL: process.env.BASE, apiKey: "virtual", maxRetries: 0 });
const schema = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
const asked = {
  model: "asked",
  max_tokens: 1000,
  messages: [{ role: "user", content: "hello" }],
  tools: [{ name: "bash", input_schema: schema }],
};
const tell = (api, { content, usage }) => {
  const text = content.filter((block) => block.type === "text").map((block) => block.text).join("");
  const { command } = content.find((block) => block.type === "tool_use").input;
  const input = usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  console.log(JSON.stringify({ api, text, command, input, output: usage.output_tokens }));
};
tell("messages", await client.messages.create(asked));
tell("messages stream", await client.messages.stream(asked).finalMessage());
