"use strict";

// The waiting jobs, in the order in which they start.
class Waiting {
  constructor() {
    this.items = [];
  }

  get length() {
    return this.items.length;
  }

  add(item) {
    let at = this.items.findIndex((other) => other.priority <= item.priority);
    if (at < 0) at = this.items.length;
    this.items.splice(at, 0, item);
  }

  take() {
    return this.items.shift();
  }
}

module.exports = { Waiting };
