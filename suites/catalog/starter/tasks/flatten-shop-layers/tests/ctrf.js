// Runs named checks; writes ctrf.json and reward.txt.
"use strict";
const fs = require("fs");
const os = require("os");
const path = require("path");
const { spawnSync } = require("child_process");

const OUT = "/logs/verifier";

function write(status) {
  const tests = [...status].map(([name, s]) => ({ name, status: s, duration: 0 }));
  const passed = tests.filter((t) => t.status === "passed").length;
  const summary = { tests: tests.length, passed, failed: tests.length - passed, pending: 0, skipped: 0, other: 0, start: 0, stop: 0 };
  fs.mkdirSync(OUT, { recursive: true });
  fs.writeFileSync(OUT + "/ctrf.json", JSON.stringify({ results: { tool: { name: "starter" }, summary, tests } }) + "\n");
  fs.writeFileSync(OUT + "/reward.txt", (passed === tests.length ? 1 : 0) + "\n");
}

function main(checks) {
  const status = new Map(Object.keys(checks).map((name) => [name, "failed"]));
  write(status);
  for (const name of status.keys()) {
    try {
      checks[name]();
      status.set(name, "passed");
      console.log("PASS", name);
    } catch (e) {
      console.log("FAIL", name, "-", String((e && e.message) || e).slice(0, 600));
    }
  }
  write(status);
}

function copyOfProject(from = "/app") {
  const to = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "t-")), "app");
  fs.cpSync(from, to, { recursive: true, filter: (f) => path.basename(f) !== ".git" });
  return to;
}

const BOOT = `
const fs = require("fs"), path = require("path"), [root, code] = process.argv.slice(1);
const load = require("module").createRequire(path.join(root, "x.js"));
const data = JSON.parse(fs.readFileSync(0, "utf8"));
const stringify = JSON.stringify, write = fs.writeSync;
new Function("data", "load", "return (async () => {" + code + "})()")(data, load).then(
  (out) => { write(3, stringify(out === undefined ? null : out)); process.exit(0); },
  (e) => { console.error(e); process.exit(1); });
`;

// Runs code in a new process; it sees data and load() and its answer is what it returns.
function child(root, code, data = null, seconds = 10) {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "t-")), "answer");
  const fd = fs.openSync(file, "w");
  const p = spawnSync(process.execPath, ["-e", BOOT, root, code], {
    cwd: root, input: JSON.stringify(data), stdio: ["pipe", "pipe", "pipe", fd], timeout: seconds * 1000, killSignal: "SIGKILL",
    env: { PATH: process.env.PATH, HOME: "/" } });
  fs.closeSync(fd);
  const text = fs.readFileSync(file, "utf8");
  if (text === "") {
    throw new Error("no answer" + (p.error ? " (" + p.error.code + ")" : "") + ": " + String(p.stderr).slice(-400));
  }
  return JSON.parse(text);
}

function same(got, want, what = "") {
  const sorted = (key, v) => (v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v);
  const [g, w] = [got, want].map((x) => JSON.stringify(x, sorted));
  if (g !== w) throw new Error(`${what} got ${g}, want ${w}`);
}

module.exports = { main, child, copyOfProject, same };
