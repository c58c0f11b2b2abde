#!/bin/sh
# Compiles the library with the hidden tests, once plainly and once with the address sanitizer where there is one.
NAMES="ring_linear ring_wrapped_write ring_wrapped_read ring_full_capacity ring_peek_wrapped
strbuf_text strbuf_keeps_nul strbuf_stays_terminated strbuf_compare_nul lines_simple lines_partial lines_across_wrap lines_with_nul"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"

dir=$(mktemp -d)
cp -RL /app/include /app/src "$dir" 2>/dev/null
cd "$dir" || exit 1
build() { timeout 60 gcc -std=gnu11 -O1 -g -w -Iinclude "$@" "$here/hidden.c" src/*.c; }
build -o plain || exit 1
builds=plain
# The sanitizer needs a library that not every compiler brings along.
echo 'int main(void){return 0;}' >probe.c
if gcc -fsanitize=address probe.c -o probe 2>/dev/null && ./probe 2>/dev/null && build -fsanitize=address -o asan; then
    builds="plain asan"
fi
for name in $NAMES; do
    bad=
    for b in $builds; do
        out=$(ASAN_OPTIONS=detect_leaks=0 timeout 20 "./$b" "$name" 2>&1)
        rc=$?
        [ "$rc" = 0 ] && [ "$(printf '%s\n' "$out" | tail -n 1)" = "done $name" ] || bad="$bad $b build, exit $rc: $(printf '%s\n' "$out" | head -n 4)"
    done
    if [ -z "$bad" ]; then pass "$name"; else fail "$name" "$bad"; fi
done
