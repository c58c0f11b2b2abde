"use strict";
const test = require("node:test");
const assert = require("node:assert");
const { parse, stringify } = require("../lib");

const plain = (value) => JSON.parse(JSON.stringify(value));

test("sections, keys, lists", () => {
  const text = "a = 1\n; comment\n[s]\nb = two words\nl[] = x\nl[] = y\n[s]\nc = 3\n";
  assert.deepStrictEqual(plain(parse(text)), { "": { a: "1" }, s: { b: "two words", l: ["x", "y"], c: "3" } });
});

test("a quoted value may hold a semicolon", () => {
  assert.deepStrictEqual(plain(parse('a = "x;y"')), { "": { a: "x;y" } });
});

test("an equals sign in a value", () => {
  assert.deepStrictEqual(plain(parse("url = http://h/?a=b=c")), { "": { url: "http://h/?a=b=c" } });
});

test("a path survives", () => {
  const data = { paths: { temp: "C:\\new\\temp" } };
  assert.deepStrictEqual(plain(parse(stringify(data))), data);
});

test("a line without equals sign", () => {
  assert.throws(() => parse("a = 1\nnonsense"), /^SyntaxError: line 2:/);
});
