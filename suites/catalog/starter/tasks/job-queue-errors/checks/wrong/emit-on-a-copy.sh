#!/bin/sh
# Copies the list before emitting and goes no further.
set -e
cat > lib/emitter.js <<'JS'
"use strict";

class Emitter {
  constructor() {
    this.listeners = new Map();
  }

  add(name, fn, once) {
    if (!this.listeners.has(name)) this.listeners.set(name, []);
    this.listeners.get(name).push({ fn, once, live: true });
    return this;
  }

  on(name, fn) {
    return this.add(name, fn, false);
  }

  once(name, fn) {
    return this.add(name, fn, true);
  }

  off(name, fn) {
    const entry = (this.listeners.get(name) || []).find((e) => e.fn === fn);
    if (entry) this.remove(name, entry);
    return this;
  }

  remove(name, entry) {
    entry.live = false;
    const list = this.listeners.get(name);
    if (list.includes(entry)) list.splice(list.indexOf(entry), 1);
  }

  emit(name, ...args) {
    const list = [...(this.listeners.get(name) || [])];
    const errors = [];
    for (const entry of list) {
      if (entry.once) this.remove(name, entry);
      try {
        entry.fn(...args);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
    return list.length > 0;
  }
}

module.exports = { Emitter };
JS
cat > lib/waiting.js <<'JS'
"use strict";

// The waiting jobs, in the order in which they start. Ids grow, so they tell who came first.
class Waiting {
  constructor() {
    this.items = [];
  }

  get length() {
    return this.items.length;
  }

  add(item) {
    let at = this.items.findIndex((o) => o.priority < item.priority || (o.priority === item.priority && o.id > item.id));
    if (at < 0) at = this.items.length;
    this.items.splice(at, 0, item);
  }

  take() {
    return this.items.shift();
  }
}

module.exports = { Waiting };
JS
cat > queue.tail <<'JS'
  tell(name, ...args) {
    try {
      this.emit(name, ...args);
    } catch (error) {
      try {
        this.emit("listenerError", error);
      } catch (_) {
        // dropped, as promised
      }
    }
  }

  async run(item) {
    this.running++;
    item.tries++;
    this.tell("start", item.id);
    try {
      const value = await item.job();
      this.finish(() => {
        this.tell("done", item.id, value);
        item.resolve(value);
      });
    } catch (error) {
      if (item.tries <= this.retries) {
        this.finish(() => this.waiting.add(item));
      } else {
        this.finish(() => {
          this.tell("failed", item.id, error);
          item.reject(error);
        });
      }
    }
  }

  finish(end) {
    this.running--;
    end();
    this.next();
    if (this.running === 0 && this.waiting.length === 0) this.tell("idle");
  }
}

module.exports = { Queue };
JS
sed -i '/^  run(item) {/,$d' lib/queue.js
cat queue.tail >> lib/queue.js
rm queue.tail
cat > lib/settle.js <<'JS'
"use strict";

async function settle(queue, jobs) {
  const ends = await Promise.allSettled(jobs.map((job) => queue.push(job)));
  return ends.map((end) => (end.status === "fulfilled" ? { ok: true, value: end.value } : { ok: false, error: end.reason }));
}

module.exports = { settle };
JS
