"use strict";

const { unescape } = require("./escapes");
const { readValue } = require("./values");

function sectionName(line) {
  const inner = line.slice(1, line.indexOf("]")).trim();
  const match = inner.match(/^(\S+)\s+"(.*)"$/);
  return match ? match[1] + " " + unescape(match[2]) : inner;
}

function parse(text) {
  const data = {};
  let section = "";
  text.split("\n").forEach((raw, at) => {
    const line = raw.trim();
    if (line === "" || line.startsWith(";") || line.startsWith("#")) return;
    if (line.startsWith("[")) {
      section = sectionName(line);
      if (!data[section]) data[section] = {};
      return;
    }
    const [left, right] = line.split("=");
    if (right === undefined) throw new SyntaxError("line " + (at + 1) + ": expected key = value");
    const key = left.trim();
    if (!data[section]) data[section] = {};
    if (key.endsWith("[]")) {
      const name = key.slice(0, -2).trim();
      if (!data[section][name]) data[section][name] = [];
      data[section][name].push(readValue(right));
    } else {
      data[section][key] = readValue(right);
    }
  });
  return data;
}

module.exports = { parse };
