"use strict";
// Prints the number of files and tokens in lib/. Comments and white space are free; a string is one token.
const fs = require("fs");
const path = require("path");

function files(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    return entry.isDirectory() ? files(name) : [name];
  });
}

const TOKEN = /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|[\p{L}\p{N}_$#]+|[^\s]/gu;

function tokens(text) {
  return (text.match(TOKEN) || []).filter((t) => !t.startsWith("//") && !t.startsWith("/*")).length;
}

const found = files(path.join(__dirname, "lib")).sort();
let total = 0;
for (const file of found) {
  const count = tokens(fs.readFileSync(file, "utf8"));
  total += count;
  console.log(String(count).padStart(5), path.relative(__dirname, file));
}
console.log(String(total).padStart(5), "tokens in", found.length, "files");
