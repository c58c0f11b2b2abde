"use strict";

const { Emitter } = require("./emitter");
const { Waiting } = require("./waiting");

class Queue extends Emitter {
  constructor({ concurrency = 1, retries = 0 } = {}) {
    super();
    this.concurrency = concurrency;
    this.retries = retries;
    this.running = 0;
    this.paused = false;
    this.waiting = new Waiting();
    this.nextId = 1;
  }

  push(job, { priority = 0 } = {}) {
    return new Promise((resolve, reject) => {
      this.waiting.add({ id: this.nextId++, job, priority, tries: 0, resolve, reject });
      queueMicrotask(() => this.next());
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
    while (!this.paused && this.running < this.concurrency && this.waiting.length > 0) {
      this.run(this.waiting.take());
    }
  }

  run(item) {
    this.running++;
    item.tries++;
    this.emit("start", item.id);
    const result = item.job();
    Promise.resolve(result).then(
      (value) => this.finish(item, null, value),
      (error) => this.finish(item, error),
    );
  }

  finish(item, error, value) {
    this.running--;
    if (error && item.tries <= this.retries) {
      this.waiting.add(item);
      return this.next();
    }
    if (this.waiting.length === 0) this.emit("idle");
    if (error) {
      this.emit("failed", item.id, error);
      item.reject(error);
    } else {
      this.emit("done", item.id, value);
      item.resolve(value);
    }
    this.next();
  }
}

module.exports = { Queue };
