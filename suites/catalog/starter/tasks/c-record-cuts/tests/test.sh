#!/bin/sh
# Compiles the library with the hidden tests, plainly and, where the compiler has it, with the address sanitizer.
UNITS="good_files cut_at_every_byte changed_bytes varint_limits text_lengths list_counts nesting references trailing_bytes
nothing_left_allocated dump_any_text"
NAMES="$UNITS program_prints program_refuses"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"

dir=$(mktemp -d)
cp -RL /app/src "$dir/src" 2>/dev/null
cd "$dir" || exit 1
wrap=-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=strdup,--wrap=strndup
lib=$(ls src/*.c | grep -v '^src/main\.c$')
build() { timeout 60 gcc -std=gnu11 -O1 -g -w -Isrc "$@" "$here/hidden.c" $lib $wrap; }
build -o plain || exit 1
builds=plain
# The sanitizer needs a library that not every compiler brings along.
echo 'int main(void){return 0;}' >probe.c
if gcc -fsanitize=address probe.c -o probe 2>/dev/null && ./probe 2>/dev/null && build -fsanitize=address -o asan; then
    builds="plain asan"
fi
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
for name in $UNITS; do
    bad=
    for b in $builds; do
        out=$( (ulimit -s 8192; [ "$b" = asan ] || ulimit -v 1000000; timeout 15 "./$b" "$name") 2>&1)
        rc=$?
        [ "$rc" = 0 ] && [ "$(printf '%s\n' "$out" | tail -n 1)" = "done $name" ] || bad="$bad $b build, exit $rc: $(printf '%s\n' "$out" | head -n 4)"
    done
    if [ -z "$bad" ]; then pass "$name"; else fail "$name" "$bad"; fi
done

timeout 60 gcc -std=gnu11 -O1 -w -o rpk src/*.c || exit 1
printf 'RPK1\003\001\254\002\002\005hello\003\002\001\007\004\001' >good
if [ "$(timeout 5 ./rpk good)" = "$(printf 'int 300\ntext "hello"\nlist 2\n  int 7\n  ref 1 (text)')" ]; then
    pass program_prints
else
    fail program_prints "wrong output for a good file"
fi
refuses=yes
: >bad0
printf 'RPK1' >bad1
printf 'RPK1\002\001\005\003\002\001\007\004' >bad2
printf 'RPK1\002\001\005\001\006\377' >bad3
printf 'RPK1\001\003\377\377\377\377\017' >bad4
for bad in bad0 bad1 bad2 bad3 bad4; do
    timeout 5 ./rpk $bad >out 2>err
    rc=$?
    [ $rc = 2 ] && [ ! -s out ] && [ -s err ] || { refuses=no; fail program_refuses "$bad: exit status $rc"; }
done
[ $refuses = no ] || pass program_refuses
