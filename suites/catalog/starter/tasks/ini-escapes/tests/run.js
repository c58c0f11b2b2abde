"use strict";
const { main, child, copyOfProject, same } = require("/tests/ctrf.js");

const ROOT = copyOfProject();
// Objects are compared as lists of entries, so that their prototype does not matter.
const PRE = `
const { parse, stringify } = load("./lib");
const flat = (d) => Object.keys(d).map((s) => [s, Object.keys(d[s]).map((k) => [k, d[s][k]])]);
const build = (entries) => { const d = {}; const put = (o, k, v) => Object.defineProperty(o, k, { value: v, enumerable: true, writable: true, configurable: true });
  for (const [s, keys] of entries) { put(d, s, {}); for (const [k, v] of keys) put(d[s], k, v); } return d; };
const attempt = (f) => { try { return f(); } catch (e) { return [e.name, e.message.split(":")[0]]; } };
`;
const parse = (...texts) => child(ROOT, PRE + "return data.map((t) => attempt(() => flat(parse(t))))", texts);

function values(pairs) {
  const got = parse(...pairs.map(([text]) => "k = " + text + "\n"));
  pairs.forEach(([text, want], n) => same(got[n], [["", [["k", want]]]], `value ${JSON.stringify(text)}:`));
}

function broken(...texts) {
  const got = parse(...texts.map((t) => "a = 1\n" + t + "\nb = 2\n"));
  texts.forEach((t, n) => same(got[n], ["SyntaxError", "line 2"], JSON.stringify(t)));
}

function roundTrip(...list) {
  const got = child(ROOT, PRE + "return data.map((d) => attempt(() => flat(parse(stringify(build(d))))))", list);
  const bySection = (d) => (Array.isArray(d) && Array.isArray(d[0]) ? [...d].sort() : d);
  list.forEach((d, n) => same(bySection(got[n]), bySection(d)));
}

const ODD = ["", " ", " a", "a ", "a;b", "a ;b", "; a", "#a", "a #b", "\\", "\\\\", "\\n", "C:\\new\\temp", "a\nb", "a\r\nb", "\t", "tab\there", '"', '"a"', 'a "b" c', '"', '\\"',
  "a=b", "=", "[x]", "a\\;b", "ends with \\", "é \u00a0", "\u00a0x", "true", "a\\", "\\;", "\\ ;", "a\\\nb", "\\\\\t"];

main({
  sections_and_lists() {
    same(parse("a = 1\r\n; c\r\n # d\r\n\r\n[s]\r\n b=two words \r\nl[] = x\r\nl [] = y\r\n[ t ]\n[s]\nc = 3\nc = 4\n"),
      [[["", [["a", "1"]]], ["s", [["b", "two words"], ["l", ["x", "y"]], ["c", "4"]]], ["t", []]]]);
  },
  plain_values() {
    values([["x", "x"], ["  two  words ", "two  words"], ["", ""], ['"x"', "x"], ['" x "', " x "], ['""', ""]]);
  },
  missing_equals_sign() {
    broken("nonsense");
  },
  equals_signs_in_values() {
    values([["a=b", "a=b"], ["=", "="], ["http://h/?a=b=c#d", "http://h/?a=b=c#d"], ['"a = b"', "a = b"]]);
  },
  comments_after_values() {
    values([["a ; b", "a"], ["a\t# b", "a"], ["a;b", "a;b"], ["a#b ;c", "a#b"], ["; x", ""], ["#x", ""], ["a  ;", "a"], ["a ;b # c", "a"]]);
  },
  quotes_and_comments() {
    values([['"a ; b"', "a ; b"], ['"a" ; b', "a"], ['"a"#b', "a"], ['"a ; b" # "c"', "a ; b"], ['"#"', "#"], ['a "b ; c"', 'a "b']]);
  },
  quotes_inside_other_values() {
    values([['a "b" c', 'a "b" c'], ['a"', 'a"'], ['a \\"b\\"', 'a "b"']]);
  },
  escapes_in_order() {
    values([["C:\\\\new\\\\temp", "C:\\new\\temp"], ["\\\\n", "\\n"], ["a\\nb\\tc\\rd", "a\nb\tc\rd"], ['"\\\\"', "\\"], ['"\\\\\\""', '\\"'], ['"a\\"b"', 'a"b'], ["\\\\\\\\n", "\\\\n"], ["\\\\;x", "\\;x"], ["a\\\\\\nb", "a\\\nb"]]);
  },
  escaped_comment_signs() {
    values([["a \\; b", "a ; b"], ["\\# a", "# a"], ["a \\\\ ; b", "a \\"], ["a \\# b # c", "a # b"], ['"a \\; b"', "a ; b"], ["\\;", ";"]]);
  },
  escaped_white_space_stays() {
    values([["a\\n", "a\n"], ["\\ta\\t", "\ta\t"], ["\\n ; c", "\n"]]);
  },
  malformed_lines() {
    broken('k = "a', 'k = "a\\"', 'k = "a" b', 'k = "a" "b"', "k = \\x", 'k = "\\q"', "k = a\\", "k = C:\\dir", '[s "a]', "[s", '[s "a" b]', "[s] x", '[s "\\q"]');
    broken('k = "a" b ; c');
  },
  section_names() {
    same(parse('[a "b]c"]\nk = 1\n', '[a "x \\"y\\" \\\\n"] ; c\nk = 1\n', "[a]#c\nk = 1\n", '[ a   "b ; c" ]\nk = 1\n', "[a b]\nk=1\n").map((d) => d[0][0]),
      ["a b]c", 'a x "y" \\n', "a", "a b ; c", "a b"]);
    same(parse('[a "b"]\nx = 1\n[a b]\ny = 2\n'), [[["a b", [["x", "1"], ["y", "2"]]]]]);
  },
  names_of_object_properties() {
    same(parse("constructor = 1\n[toString]\nvalueOf[] = 1\n__proto__ = 2\n[__proto__]\nx = 3\nhasOwnProperty = 4\n"),
      [[["", [["constructor", "1"]]], ["toString", [["valueOf", ["1"]], ["__proto__", "2"]]], ["__proto__", [["x", "3"], ["hasOwnProperty", "4"]]]]]);
    same(child(ROOT, PRE + "parse('[__proto__]\\npolluted = 1\\n'); return [{}.polluted === undefined, Object.prototype.polluted === undefined]"), [true, true]);
  },
  lists_replace_and_are_replaced() {
    same(parse("a[] = 1\na = 2\n", "a = \"\"\na[] = ;x\na[] = y\n").map((d) => d[0][1])[0], [["a", "2"]]);
    same(parse("a[] = ;x\na[] = \"\"\n"), [[["", [["a", ["", ""]]]]]]);
  },
  round_trip_of_values() {
    roundTrip(...ODD.map((v) => [["s", [["k", v]]]]), ...ODD.map((v) => [["", [["k", v], ["l", [v, "x", v]]]]]));
  },
  round_trip_of_sections() {
    roundTrip(...["a b", "a b]c", 'a "b"', "a  b", "a ", "#x", ";", "\\", "a \nb", "a \\n", "a;b", "a \tb", "é", "a [x]", "a \\", "a\\n \u00a0", 'a \\"'].map((s) => [[s, [["k", "v"]]]]));
    roundTrip([["empty", []], ["full", [["k", "v"]]]]);
    roundTrip([["s", [["k", "1"]]], ["", [["first", "2"]]]]);
    roundTrip([["__proto__", [["__proto__", "v"], ["constructor", ["a"]]]]]);
  },
  sections_that_cannot_be_written() {
    const got = child(ROOT, PRE + "return data.map((s) => attempt(() => stringify({ [s]: { k: 'v' } }))[0])", ["a]b", "[a", '"', " a", "a\nb", "a\tb", "\u00a0", 'a"b c']);
    same(got, Array(8).fill("TypeError"));
  },
  keys_that_cannot_be_written() {
    const got = child(ROOT, PRE + "return data.map((k) => attempt(() => stringify({ s: { [k]: 'v' } }))[0])", ["", "a=b", "a\nb", "a\rb", " a", "a ", "[a", ";a", "#a", "a[]"]);
    same(got, Array(10).fill("TypeError"));
    roundTrip([["s", [["a b", "1"], ["a;b", "2"], ["a#", "3"], ["a[b]", "4"], ['"q"', "5"], ["\\", "6"], ["a ;b", "7"]]]]);
  },
});
