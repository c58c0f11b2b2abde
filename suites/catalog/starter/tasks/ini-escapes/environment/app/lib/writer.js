"use strict";

const { escape } = require("./escapes");

function header(section) {
  const blank = section.indexOf(" ");
  if (blank < 0) return "[" + section + "]";
  return "[" + section.slice(0, blank) + ' "' + escape(section.slice(blank + 1)) + '"]';
}

function stringify(data) {
  const lines = [];
  for (const section in data) {
    if (section !== "") lines.push(header(section));
    for (const key in data[section]) {
      const value = data[section][key];
      if (Array.isArray(value)) {
        for (const item of value) lines.push(key + "[] = " + escape(item));
      } else {
        lines.push(key + " = " + escape(value));
      }
    }
  }
  return lines.join("\n") + "\n";
}

module.exports = { stringify };
