#!/bin/sh
# Finds comments by the sign alone, as soon as the value is not quoted.
set -e
cat > lib/escapes.js <<'JS'
"use strict";

const PAIRS = { "\\": "\\", '"': '"', n: "\n", t: "\t", r: "\r", ";": ";", "#": "#" };

function escape(text) {
  return text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n").replace(/\t/g, "\\t").replace(/\r/g, "\\r");
}

function unescape(text) {
  return text.replace(/\\([^]?)/g, (_, sign) => {
    if (!Object.prototype.hasOwnProperty.call(PAIRS, sign)) throw new SyntaxError("unknown escape \\" + sign);
    return PAIRS[sign];
  });
}

module.exports = { escape, unescape };
JS
cat > lib/values.js <<'JS'
"use strict";

const { unescape } = require("./escapes");

// What follows a complete element: nothing or a comment.
function checkRest(text) {
  if (!/^\s*([;#].*)?$/s.test(text)) throw new SyntaxError("unexpected text: " + text.trim());
}

// Reads what stands behind the equals sign.
function readValue(text) {
  text = text.trim();
  if (text.startsWith('"')) {
    const match = text.match(/^"((?:\\.|[^"\\])*)"/s);
    if (!match) throw new SyntaxError("the quote is not closed");
    checkRest(text.slice(match[0].length));
    return unescape(match[1]);
  }
  return unescape(text.replace(/(^|[^\\])[;#].*$/s, "$1").trim());
}

module.exports = { checkRest, readValue };
JS
cat > lib/parser.js <<'JS'
"use strict";

const { unescape } = require("./escapes");
const { checkRest, readValue } = require("./values");

function sectionName(line) {
  const match = line.match(/^\[((?:[^\]"]|"(?:\\.|[^"\\])*")*)\]/s);
  if (!match) throw new SyntaxError("the section is not closed");
  checkRest(line.slice(match[0].length));
  const inner = match[1].trim();
  if (!inner.includes('"')) return inner;
  const parts = inner.match(/^([^\s"]*)\s+"((?:\\.|[^"\\])*)"$/s);
  if (!parts) throw new SyntaxError("malformed section");
  return parts[1] + " " + unescape(parts[2]);
}

function child(map, name, fresh) {
  if (!map.has(name)) map.set(name, fresh);
  return map.get(name);
}

// An object whose own properties are the entries, whatever their names.
function toObject(map) {
  return Object.fromEntries(map);
}

function parse(text) {
  const sections = new Map();
  let section = "";
  text.split(/\r?\n/).forEach((raw, at) => {
    const line = raw.trim();
    if (line === "" || line.startsWith(";") || line.startsWith("#")) return;
    try {
      if (line.startsWith("[")) {
        section = sectionName(line);
        child(sections, section, new Map());
        return;
      }
      const equals = line.indexOf("=");
      if (equals < 0) throw new SyntaxError("expected key = value");
      const key = line.slice(0, equals).trim();
      const value = readValue(line.slice(equals + 1));
      const keys = child(sections, section, new Map());
      if (key.endsWith("[]")) {
        const name = key.slice(0, -2).trim();
        if (!Array.isArray(keys.get(name))) keys.set(name, []);
        keys.get(name).push(value);
      } else {
        keys.set(key, value);
      }
    } catch (error) {
      throw new SyntaxError("line " + (at + 1) + ": " + error.message);
    }
  });
  return toObject(new Map([...sections].map(([name, keys]) => [name, toObject(keys)])));
}

module.exports = { parse };
JS
cat > lib/writer.js <<'JS'
"use strict";

const { escape } = require("./escapes");

function header(section) {
  const blank = section.indexOf(" ");
  const word = blank < 0 ? section : section.slice(0, blank);
  if (!/^[^\s"[\]]+$/.test(word)) throw new TypeError("not a section: " + JSON.stringify(section));
  if (blank < 0) return "[" + section + "]";
  return "[" + word + ' "' + escape(section.slice(blank + 1)) + '"]';
}

function checkKey(key) {
  if (key === "" || key !== key.trim() || /[=\r\n]|^[[;#]|\[\]$/.test(key)) throw new TypeError("not a key: " + JSON.stringify(key));
}

function stringify(data) {
  const lines = [];
  const sections = Object.keys(data).sort((a, b) => (b === "") - (a === ""));
  for (const section of sections) {
    if (section !== "") lines.push(header(section));
    for (const key of Object.keys(data[section])) {
      checkKey(key);
      const value = data[section][key];
      if (Array.isArray(value)) {
        for (const item of value) lines.push(key + '[] = "' + escape(item) + '"');
      } else {
        lines.push(key + ' = "' + escape(value) + '"');
      }
    }
  }
  return lines.join("\n") + "\n";
}

module.exports = { stringify };
JS
