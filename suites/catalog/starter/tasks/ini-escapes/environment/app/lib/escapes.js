"use strict";

function escape(text) {
  return text.replace(/"/g, '\\"').replace(/\n/g, "\\n").replace(/\t/g, "\\t");
}

function unescape(text) {
  return text.replace(/\\n/g, "\n").replace(/\\t/g, "\t").replace(/\\r/g, "\r")
    .replace(/\\"/g, '"').replace(/\\;/g, ";").replace(/\\#/g, "#").replace(/\\\\/g, "\\");
}

module.exports = { escape, unescape };
