"use strict";

const { unescape } = require("./escapes");

// Reads what stands behind the equals sign.
function readValue(text) {
  text = text.trim();
  const comment = text.search(/[;#]/);
  if (comment >= 0) text = text.slice(0, comment).trim();
  if (text.startsWith('"') && text.endsWith('"')) text = text.slice(1, -1);
  return unescape(text);
}

module.exports = { readValue };
