"use strict";
const { main, child, copyOfProject, same } = require("/tests/ctrf.js");

const ROOT = copyOfProject();
const PRE = `
const { Emitter, Queue, settle } = load("./lib");
const later = (ms, value) => new Promise((resolve) => setTimeout(() => resolve(value), ms));
const fail = (ms, error) => new Promise((_, reject) => setTimeout(() => reject(error), ms));
const log = [];
const say = (text) => () => { log.push(text); };
const outcome = (promise) => promise.then((v) => ["ok", v === undefined ? "undefined" : v], (e) => ["error", e === undefined ? "undefined" : e instanceof Error ? e.message : e]);
const within = (promise) => Promise.race([promise, later(1500, "hangs")]);
const watch = (queue, ...names) => { for (const n of names) queue.on(n, (...a) => log.push([n, ...a].join(" "))); };
`;
const ask = (code) => child(ROOT, PRE + code);

main({
  values_and_rejections() {
    same(ask(`const q = new Queue({ concurrency: 2 });
      return Promise.all([q.push(() => later(5, "a")), q.push(() => "b"), q.push(() => fail(1, new Error("c")))].map(outcome))`),
      [["ok", "a"], ["ok", "b"], ["error", "c"]]);
  },
  at_most_concurrency() {
    same(ask(`const q = new Queue({ concurrency: 3 }); let now = 0, most = 0;
      await Promise.all([...Array(10)].map((_, n) => q.push(async () => { most = Math.max(most, ++now); await later(n % 3); now--; })));
      return [most, now]`), [3, 0]);
  },
  pause_and_resume() {
    same(ask(`const q = new Queue(); q.pause(); const p = q.push(say("ran")); await later(10); log.push("resume"); q.resume(); await p; return log`),
      ["resume", "ran"]);
  },
  never_starts_inside_push() {
    same(ask(`const q = new Queue(); const p = q.push(say("job")); log.push("pushed"); await p; return log`), ["pushed", "job"]);
  },
  priority_order() {
    same(ask(`const q = new Queue();
      await Promise.all([["a", 0], ["b", 2], ["c", -1], ["d", 1]].map(([t, priority]) => q.push(say(t), { priority }))); return log`), ["b", "d", "a", "c"]);
  },
  equal_priorities_in_order() {
    same(ask(`const q = new Queue({ concurrency: 2 });
      await Promise.all([["a", 0], ["b", 1], ["c", 0], ["d", 1], ["e", 0], ["f", 1]].map(([t, priority]) => q.push(say(t), { priority }))); return log`),
      ["b", "d", "f", "a", "c", "e"]);
  },
  throwing_job_rejects() {
    same(ask(`const q = new Queue();
      const all = [() => { throw new Error("x"); }, () => 1, () => { throw undefined; }, () => 2].map((j) => outcome(q.push(j)));
      return within(Promise.all(all))`), [["error", "x"], ["ok", 1], ["error", "undefined"], ["ok", 2]]);
  },
  falsy_rejections_are_failures() {
    same(ask(`const q = new Queue(); watch(q, "done", "failed");
      const all = [undefined, null, 0, "", false].map((v) => outcome(q.push(() => Promise.reject(v))));
      return within(Promise.all(all).then((r) => [r, log]))`),
      [[["error", "undefined"], ["error", null], ["error", 0], ["error", ""], ["error", false]],
        ["failed 1 ", "failed 2 ", "failed 3 0", "failed 4 ", "failed 5 false"]]);
  },
  falsy_rejections_are_retried() {
    same(ask(`const q = new Queue({ retries: 2 }); let n = 0;
      return within(outcome(q.push(() => (++n < 3 ? Promise.reject() : n))))`), ["ok", 3]);
  },
  throwing_job_is_retried() {
    same(ask(`const q = new Queue({ retries: 1 }); watch(q, "start", "failed"); let n = 0;
      const r = await within(outcome(q.push(() => { n++; throw new Error("t" + n); }))); return [r, n, log]`),
      [["error", "t2"], 2, ["start 1", "start 1", "failed 1 Error: t2"]]);
  },
  retry_keeps_its_place() {
    same(ask(`const q = new Queue({ retries: 2 }); let n = 0;
      const all = [q.push(() => { log.push("a" + ++n); if (n < 3) return fail(2, new Error("x")); }), q.push(say("b")), q.push(say("low"), { priority: -1 })];
      setTimeout(() => all.push(q.push(say("high"), { priority: 1 })), 0); await within(Promise.all(all)); await later(20); return log`),
      ["a1", "high", "a2", "a3", "b", "low"]);
  },
  retries_of_several_keep_their_places() {
    same(ask(`const q = new Queue({ concurrency: 2, retries: 1 }); const seen = {};
      const job = (t, ms) => () => { log.push(t); if (!seen[t]) { seen[t] = 1; return fail(ms, "x"); } return later(30); };
      const all = [q.push(job("a", 20)), q.push(job("b", 20)), q.push(say("c")), q.push(say("d"))];
      setTimeout(() => q.pause(), 5); setTimeout(() => q.resume(), 50); await within(Promise.all(all)); return log`),
      ["a", "b", "a", "b", "c", "d"]);
  },
  settle_keeps_order() {
    same(ask(`const q = new Queue({ concurrency: 3 });
      return settle(q, [() => later(30, 1), () => fail(15, "two"), () => later(1, 3), () => { throw "four"; }])`),
      [{ ok: true, value: 1 }, { ok: false, error: "two" }, { ok: true, value: 3 }, { ok: false, error: "four" }]);
    same(ask(`return settle(new Queue(), [])`), []);
  },
  idle_comes_last_and_once() {
    same(ask(`const q = new Queue({ concurrency: 2 }); watch(q, "start", "done", "failed", "idle");
      const all = [() => later(200, "v"), () => later(1, "w"), () => fail(1, "e")].map((j) => outcome(q.push(j)));
      await within(Promise.all(all)); await later(10); return log`),
      ["start 1", "start 2", "done 2 w", "start 3", "failed 3 e", "done 1 v", "idle"]);
  },
  idle_after_failure_and_retry() {
    same(ask(`const q = new Queue({ retries: 1 }); watch(q, "start", "failed", "idle");
      await within(outcome(q.push(() => fail(1, "e")))); await later(10); return log`), ["start 1", "start 1", "failed 1 e", "idle"]);
  },
  throwing_listener_changes_nothing() {
    same(ask(`const q = new Queue();
      for (const n of ["start", "done", "failed", "idle"]) q.on(n, () => { throw new Error("in " + n); });
      q.on("listenerError", (e) => { log.push(e.message); throw new Error("again"); });
      const r = await within(Promise.all([outcome(q.push(() => 1)), outcome(q.push(() => fail(1, "f"))), outcome(q.push(() => 3))]));
      await later(10); return [r, log]`),
      [[["ok", 1], ["error", "f"], ["ok", 3]], ["in start", "in done", "in start", "in failed", "in start", "in done", "in idle"]]);
  },
  throwing_listener_without_listener_error() {
    same(ask(`const q = new Queue(); q.on("start", () => { throw new Error("s"); }); q.on("done", () => { throw new Error("d"); });
      return within(Promise.all([outcome(q.push(() => 1)), outcome(q.push(() => 2))]))`), [["ok", 1], ["ok", 2]]);
  },
  listeners_in_order() {
    same(ask(`const e = new Emitter(); e.on("x", (a, b) => log.push(a + b)).on("x", say("2")).on("y", say("y")); e.emit("x", 1, 2); e.emit("none"); return log`), [3, "2"]);
  },
  once_does_not_skip() {
    same(ask(`const e = new Emitter(); e.once("x", say("a")); e.once("x", say("b")); e.on("x", say("c")); e.emit("x"); e.emit("x"); return log`),
      ["a", "b", "c", "c"]);
  },
  once_is_removed_before_its_call() {
    same(ask(`const e = new Emitter(); e.once("x", () => { log.push("a"); if (log.length < 3) e.emit("x"); }); e.emit("x"); return log`), ["a"]);
  },
  off_removes_once() {
    same(ask(`const e = new Emitter(); const f = say("f"); e.once("x", f); e.off("x", f); e.emit("x"); return log`), []);
  },
  off_removes_earliest_registration_only() {
    same(ask(`const e = new Emitter(); const f = say("f"); e.once("x", f); e.on("x", say("g")); e.on("x", f); e.off("x", f); e.emit("x"); e.emit("x"); return log`),
      ["g", "f", "g", "f"]);
    same(ask(`const e = new Emitter(); const f = say("f"); e.on("x", f); e.on("x", f); e.emit("x"); e.off("x", f); e.emit("x"); return log`), ["f", "f", "f"]);
  },
  added_during_emit_waits() {
    same(ask(`const e = new Emitter(); let n = 0; e.on("x", () => { if (n++ < 5) e.on("x", say("new")); }); e.emit("x"); log.push("|"); e.emit("x"); return log`),
      ["|", "new"]);
  },
  removed_during_emit_is_not_called() {
    same(ask(`const e = new Emitter(); const c = say("c"); e.on("x", () => e.off("x", c)); e.on("x", say("b")); e.on("x", c); e.emit("x"); return log`), ["b"]);
    same(ask(`const e = new Emitter(); const a = () => { log.push("a"); e.off("x", a); }; e.on("x", a); e.on("x", say("b")); e.emit("x"); e.emit("x"); return log`), ["a", "b", "b"]);
  },
  throwing_listener_stops_no_other() {
    same(ask(`const e = new Emitter(); e.on("x", () => { throw new Error("1"); }); e.on("x", say("b")); e.on("x", () => { throw new Error("2"); }); e.on("x", say("d"));
      try { e.emit("x"); log.push("silent"); } catch (err) { log.push(err.message); } return log`), ["b", "d", "1"]);
    same(ask(`const e = new Emitter(); e.on("x", () => { throw undefined; }); e.on("x", say("b"));
      try { e.emit("x"); log.push("silent"); } catch (err) { log.push("thrown"); } return log`), ["b", "thrown"]);
  },
});
