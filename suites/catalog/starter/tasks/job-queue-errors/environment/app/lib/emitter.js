"use strict";

class Emitter {
  constructor() {
    this.listeners = {};
  }

  on(name, fn) {
    if (!this.listeners[name]) this.listeners[name] = [];
    this.listeners[name].push(fn);
    return this;
  }

  once(name, fn) {
    const wrapper = (...args) => {
      this.off(name, wrapper);
      fn(...args);
    };
    return this.on(name, wrapper);
  }

  off(name, fn) {
    const list = this.listeners[name] || [];
    const at = list.indexOf(fn);
    if (at >= 0) list.splice(at, 1);
    return this;
  }

  emit(name, ...args) {
    const list = this.listeners[name] || [];
    for (let i = 0; i < list.length; i++) {
      list[i](...args);
    }
    return list.length > 0;
  }
}

module.exports = { Emitter };
