#!/bin/sh
# Prints how many lines of code there are in src/ (neither blank nor only a comment) and how many characters they have, blanks apart.
cd "$(dirname "$0")" || exit 1
find src -name '*.rs' -exec cat {} + | grep -v -e '^[[:space:]]*$' -e '^[[:space:]]*//' >/tmp/size.$$
echo "$(wc -l </tmp/size.$$ | tr -d ' ') lines, $(tr -d ' \t\n' </tmp/size.$$ | wc -m | tr -d ' ') characters"
rm -f /tmp/size.$$
