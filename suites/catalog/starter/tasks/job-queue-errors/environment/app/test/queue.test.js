"use strict";
const test = require("node:test");
const assert = require("node:assert");
const { Emitter, Queue, settle } = require("../lib");

const later = (ms, value) => new Promise((resolve) => setTimeout(() => resolve(value), ms));

test("values come back", async () => {
  const queue = new Queue({ concurrency: 2 });
  assert.deepStrictEqual(await Promise.all([queue.push(() => later(5, "a")), queue.push(() => "b")]), ["a", "b"]);
});

test("a job that throws rejects", async () => {
  const queue = new Queue();
  await assert.rejects(queue.push(() => { throw new Error("broken"); }), /broken/);
  assert.strictEqual(await queue.push(() => 2), 2);
});

test("settle keeps the order of the jobs", async () => {
  const queue = new Queue({ concurrency: 2 });
  assert.deepStrictEqual(await settle(queue, [() => later(20, 1), () => later(1, 2)]), [{ ok: true, value: 1 }, { ok: true, value: 2 }]);
});

test("first come, first served", async () => {
  const queue = new Queue();
  const order = [];
  await Promise.all([1, 2, 3].map((n) => queue.push(() => order.push(n))));
  assert.deepStrictEqual(order, [1, 2, 3]);
});

test("a once listener does not hide the next one", () => {
  const emitter = new Emitter();
  const seen = [];
  emitter.once("x", () => seen.push("once"));
  emitter.on("x", () => seen.push("on"));
  emitter.emit("x");
  emitter.emit("x");
  assert.deepStrictEqual(seen, ["once", "on", "on"]);
});
