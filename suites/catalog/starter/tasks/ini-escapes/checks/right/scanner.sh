#!/bin/sh
# One scanner that goes through a line sign by sign, instead of regular expressions.
set -e
rm lib/escapes.js lib/values.js
cat > lib/parser.js <<'JS'
"use strict";

const ESCAPES = new Map([["\\", "\\"], ['"', '"'], ["n", "\n"], ["t", "\t"], ["r", "\r"], [";", ";"], ["#", "#"]]);
const blank = (sign) => sign === undefined || sign.trim() === "";

class Line {
  constructor(text, number) {
    this.text = text;
    this.at = 0;
    this.number = number;
  }

  fail(what) {
    throw new SyntaxError(`line ${this.number}: ${what}`);
  }

  get sign() {
    return this.text[this.at];
  }

  skip() {
    while (this.at < this.text.length && blank(this.sign)) this.at++;
  }

  one() {
    const sign = this.text[this.at++];
    if (sign !== "\\") return sign;
    const found = ESCAPES.get(this.text[this.at++]);
    if (found === undefined) this.fail("unknown escape");
    return found;
  }

  quoted() {
    let value = "";
    this.at++;
    while (this.sign !== '"') {
      if (this.at >= this.text.length) this.fail("quote not closed");
      value += this.one();
    }
    this.at++;
    return value;
  }

  end() {
    this.skip();
    if (this.at < this.text.length && this.sign !== ";" && this.sign !== "#") this.fail("text after the end");
  }

  value() {
    this.skip();
    if (this.sign === '"') {
      const value = this.quoted();
      this.end();
      return value;
    }
    let value = "";
    let kept = 0;
    while (this.at < this.text.length) {
      const comment = this.sign === ";" || this.sign === "#";
      if (comment && (value === "" || blank(this.text[this.at - 1]))) break;
      const plainBlank = blank(this.sign);
      value += this.one();
      if (!plainBlank) kept = value.length;
    }
    return value.slice(0, kept);
  }

  section() {
    this.at++;
    let name = "";
    let sub = null;
    while (this.sign !== "]") {
      if (this.at >= this.text.length) this.fail("section not closed");
      if (sub !== null && !blank(this.sign)) this.fail("text after the quote");
      if (this.sign === '"') {
        if (!blank(this.text[this.at - 1]) || /\s/.test(name.trim())) this.fail("quote inside a name");
        sub = this.quoted();
      } else {
        name += this.sign;
        this.at++;
      }
    }
    this.at++;
    this.end();
    return sub === null ? name.trim() : name.trim() + " " + sub;
  }
}

const own = (object, name, value) => Object.defineProperty(object, name, { value, enumerable: true, writable: true, configurable: true });

function parse(text) {
  const data = Object.create(null);
  let section = "";
  const keysOf = () => {
    if (!(section in data)) data[section] = Object.create(null);
    return data[section];
  };
  text.split("\n").forEach((raw, index) => {
    const line = new Line(raw.trim(), index + 1);
    if (line.text === "" || ";#".includes(line.sign)) return;
    if (line.sign === "[") {
      section = line.section();
      keysOf();
      return;
    }
    line.at = line.text.indexOf("=") + 1;
    if (line.at === 0) line.fail("no equals sign");
    const key = line.text.slice(0, line.at - 1).trim();
    const value = line.value();
    if (!key.endsWith("[]")) {
      own(keysOf(), key, value);
      return;
    }
    const name = key.slice(0, -2).trim();
    if (!Array.isArray(keysOf()[name])) own(keysOf(), name, []);
    keysOf()[name].push(value);
  });
  return data;
}

module.exports = { parse };
JS
cat > lib/writer.js <<'JS'
"use strict";

const NAMES = { "\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"' };
const quote = (text) => '"' + [...text].map((sign) => NAMES[sign] || sign).join("") + '"';

function header(section) {
  const [word, ...rest] = section.split(" ");
  if (word === "" || /[\s"[\]]/.test(word)) throw new TypeError("cannot write section " + quote(section));
  return "[" + word + (rest.length ? " " + quote(rest.join(" ")) : "") + "]\n";
}

function body(keys) {
  return Object.entries(keys).map(([key, value]) => {
    const fits = key && key.trim() === key && !/[=\n\r]/.test(key) && !"[;#".includes(key[0]) && !key.endsWith("[]");
    if (!fits) throw new TypeError("cannot write key " + quote(key));
    return [].concat(value).map((v) => key + (Array.isArray(value) ? "[]" : "") + " = " + quote(v) + "\n").join("");
  }).join("");
}

function stringify(data) {
  const entries = Object.entries(data);
  const first = entries.filter(([name]) => name === "").map(([, keys]) => body(keys));
  return first.concat(entries.filter(([name]) => name !== "").map(([name, keys]) => header(name) + body(keys))).join("");
}

module.exports = { stringify };
JS
