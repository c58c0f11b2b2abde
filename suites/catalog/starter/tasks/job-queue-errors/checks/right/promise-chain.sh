#!/bin/sh
# Ids of registrations instead of marks, a linear search for the next job, promise chains instead of await.
set -e
cat > lib/emitter.js <<'JS'
"use strict";

class Emitter {
  #entries = [];

  #add(entry) {
    this.#entries = this.#entries.concat(entry);
    return this;
  }

  on(name, fn) {
    return this.#add({ name, fn });
  }

  once(name, fn) {
    return this.#add({ name, fn, once: true });
  }

  off(name, fn) {
    const first = this.#entries.find((e) => e.name === name && e.fn === fn);
    this.#entries = this.#entries.filter((e) => e !== first);
    return this;
  }

  emit(name, ...args) {
    let thrown = null;
    const now = this.#entries.filter((e) => e.name === name);
    for (const entry of now) {
      if (!this.#entries.includes(entry)) continue;
      if (entry.once) this.#entries = this.#entries.filter((e) => e !== entry);
      try {
        entry.fn(...args);
      } catch (error) {
        thrown = thrown || { error };
      }
    }
    if (thrown) throw thrown.error;
    return now.length > 0;
  }
}

module.exports = { Emitter };
JS
rm lib/waiting.js
cat > lib/queue.js <<'JS'
"use strict";

const { Emitter } = require("./emitter");

class Queue extends Emitter {
  constructor({ concurrency = 1, retries = 0 } = {}) {
    super();
    Object.assign(this, { concurrency, retries, running: 0, paused: false, waiting: [], nextId: 1 });
  }

  push(job, { priority = 0 } = {}) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ id: this.nextId++, job, priority, tries: 0, resolve, reject });
      Promise.resolve().then(() => this.next());
    });
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
    this.next();
  }

  next() {
    while (!this.paused && this.running < this.concurrency && this.waiting.length) {
      this.waiting.sort((a, b) => b.priority - a.priority || a.id - b.id);
      this.start(this.waiting.shift());
    }
  }

  report(...event) {
    try {
      this.emit(...event);
    } catch (error) {
      try {
        this.emit("listenerError", error);
      } catch {
        return;
      }
    }
  }

  start(item) {
    this.running += 1;
    item.tries += 1;
    this.report("start", item.id);
    new Promise((resolve) => resolve((0, item.job)())).then(
      (value) => this.end(() => {
        this.report("done", item.id, value);
        item.resolve(value);
      }),
      (error) => this.end(() => {
        if (item.tries <= this.retries) {
          this.waiting.push(item);
          return;
        }
        this.report("failed", item.id, error);
        item.reject(error);
      }),
    );
  }

  end(conclude) {
    this.running -= 1;
    conclude();
    this.next();
    if (!this.running && !this.waiting.length) this.report("idle");
  }
}

module.exports = { Queue };
JS
cat > lib/settle.js <<'JS'
"use strict";

exports.settle = (queue, jobs) =>
  Promise.all(jobs.map((job) => queue.push(job).then((value) => ({ ok: true, value }), (error) => ({ ok: false, error }))));
JS
