#!/bin/sh
# Measures src/ and compares the crate with the code as it was.
NAMES="few_lines few_characters labels_parse_same logfmt_parse_same header_parse_same writers_same public_interface lines_not_too_long"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
export LC_ALL=C

dir=$(mktemp -d)
cp -RL /app/src "$dir/src" 2>/dev/null
cp "$here/driver.rs" "$dir/" && cp -R "$here/reference" "$dir/reference"
cd "$dir" || exit 1

find src -name '*.rs' -exec cat {} + | grep -v -e '^[[:space:]]*$' -e '^[[:space:]]*//' >code
lines=$(wc -l <code)
characters=$(tr -d ' \t\n' <code | tr -d '\200-\277' | wc -c)
long=$(grep -nE '^.{121}' code | cut -c 1-60)
other=$(find src ! -type d ! -name '*.rs')
[ ! -f /app/build.rs ] || other="$other build.rs"
[ "$(grep -vc '^[[:space:]]*$' /app/Cargo.toml)" -gt 0 ] && ! grep -qE '^\[(build-|dev-)?dependencies|^build' /app/Cargo.toml || other="$other dependencies"
[ ! -s code ] || [ -n "$other" ] || [ "$lines" -gt 340 ] || pass few_lines
[ ! -s code ] || [ -n "$other" ] || [ "$characters" -gt 7500 ] || pass few_characters
echo "     $lines lines, $characters characters; other files: ${other:-none}"
if [ -z "$long" ]; then pass lines_not_too_long; else fail lines_not_too_long "$long"; fi

# Only rustc, so that nothing but src/ takes part.
timeout 60 rustc --edition 2021 --crate-type rlib --crate-name attrs -F unsafe-code --cap-lints warn -C opt-level=1 src/lib.rs >log 2>&1 || { tail -n 30 log; exit 1; }
timeout 60 rustc --edition 2021 --cap-lints allow -C opt-level=1 --extern attrs=libattrs.rlib -o driver driver.rs >log 2>&1 || { tail -n 30 log; exit 1; }
timeout 30 ./driver >out 2>&1
grep -v '^done ' out | cut -c 1-300 | head -n 12
for name in labels_parse_same logfmt_parse_same header_parse_same writers_same public_interface; do
    if grep -qx "done $name" out; then pass $name; else fail $name "see above"; fi
done
