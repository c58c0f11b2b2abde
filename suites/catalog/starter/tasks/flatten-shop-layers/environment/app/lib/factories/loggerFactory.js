"use strict";

class NullLogger {
  write() {}
}

class CallbackLogger {
  constructor(callback) {
    this.callback = callback;
  }

  write(line) {
    this.callback(line);
  }
}

class LoggerFactory {
  constructor(options) {
    this.options = options;
  }

  create() {
    return this.options.log ? new CallbackLogger(this.options.log) : new NullLogger();
  }
}

module.exports = { LoggerFactory };
