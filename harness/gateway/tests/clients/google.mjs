// Google's own library for Node, streaming and not. Prints what it understood, one JSON line a call.
import { createRequire } from "node:module";
const require = createRequire(process.env.NODE_PATH + "/");
const { GoogleGenAI } = require("@google/genai");

const client = new GoogleGenAI({ apiKey: "virtual", httpOptions: { baseUrl: process.env.BASE } });
const parameters = { type: "OBJECT", properties: { command: { type: "STRING" } }, required: ["command"] };
const config = { tools: [{ functionDeclarations: [{ name: "bash", description: "runs", parameters }] }] };
const tell = (api, chunks) => {
  const parts = chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []);
  const text = parts.filter((part) => part.text && !part.thought).map((part) => part.text).join("");
  const { command } = parts.find((part) => part.functionCall).functionCall.args;
  const usage = chunks.map((chunk) => chunk.usageMetadata).filter(Boolean).at(-1);
  const output = (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0);
  console.log(JSON.stringify({ api, text, command, input: usage.promptTokenCount, output }));
};
const asked = { model: "asked", contents: "hello", config };
tell("generate", [await client.models.generateContent(asked)]);
const chunks = [];
for await (const chunk of await client.models.generateContentStream(asked)) chunks.push(chunk);
tell("generate stream", chunks);
