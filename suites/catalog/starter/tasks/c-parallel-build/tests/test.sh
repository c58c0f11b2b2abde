#!/bin/sh
# Builds copies of the project in fresh folders, with a compiler that keeps a log and a generator that does so too.
NAMES="clean_serial clean_parallel single_targets generator_once incremental_sources incremental_headers incremental_data
incremental_version incremental_generator nothing_to_do failed_generator clean_removes_all gentab_output"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
top=$(mktemp -d)
cp "$here/cc" "$top/cc" && chmod 755 "$top/cc"
export CC_LOG="$top/cc.log" GEN_LOG="$top/gen.log" SLOW=
unset MAKEFLAGS MFLAGS MAKELEVEL

fresh() {
    dir=$(mktemp -d "$top/tree.XXXXXX") && cp -R /app/. "$dir/" && cd "$dir" || exit 1
    rm -rf build gen .git
    cp -R "$here/pristine/." . && cp "$here/gentab.c" tools/gentab.c
    age
}
# Files made from now on are newer than all that there are.
age() { sleep 0.03; }
mk() {
    : >"$CC_LOG"
    : >"$GEN_LOG"
    timeout 30 make CC="$top/cc" "$@" >"$top/out" 2>&1
}
# compiled: the source files that the last make compiled, in alphabetical order.
compiled() { grep -v -e ' -MM* ' "$CC_LOG" | grep -o '[a-z_]*\.c\b' | sort | uniq | tr '\n' ' '; }
why() { echo "$1"; tail -n 5 "$top/out" | sed 's/^/    /'; return 1; }
conv() { [ "$(./build/conv $1 2>&1)" = "$2" ] || why "conv $1: '$(./build/conv $1 2>&1)', not '$2'"; }
works() { conv "3 mi km" "4.82803 km" && conv "1.5 min s" "90 s" && conv "1 kg lb" "2.20462 lb" && conv "--version" "conv 1.4.0, 11 units"; }
only() { [ "$(compiled)" = "$1" ] || why "compiled '$(compiled)', not '$1'"; }
# A finished build, made once and copied with its times.
built() {
    [ -d "$top/built" ] || { (fresh && mk -j2 && cp -a . "$top/built") || why "build fails" || return 1; }
    dir=$(mktemp -d "$top/tree.XXXXXX") && cp -a "$top/built/." "$dir/" && cd "$dir" && age
}
runs() { [ "$(wc -l <"$GEN_LOG")" -eq "$1" ] || why "generator ran $(wc -l <"$GEN_LOG") times, not $1"; }
redo() { mk "$@" || why "make $* fails"; }

clean_serial() { fresh; redo -j1 && works; }

clean_parallel() {
    for SLOW in gentab.c "main.c units.c" ""; do
        fresh
        redo -j8 && works || return 1
    done
}

single_targets() {
    for target in build/units.o build/main.o build/units_table.o build/gentab build/libunits.a gen/units_table.c gen/version.h; do
        fresh
        redo "$target" || return 1
        [ -s "$target" ] || why "$target was not made" || return 1
    done
    grep -q '1\.4\.0' gen/version.h || why "gen/version.h lacks the version"
}

generator_once() {
    fresh; redo -j8 && runs 1 || return 1
    fresh; redo -j8 gen/units_table.h gen/units_table.c && runs 1 || return 1
    built || return 1
    echo "yd length 0.9144" >>data/units.txt
    redo -j8 && runs 1
}

incremental_sources() {
    built || return 1
    sed -i 's/%\.\*g %s/%.*g [%s]/' src/format.c
    redo && only "format.c " && conv "3 mi km" "4.82803 [km]" || return 1
    age
    sed -i 's/return value \* from/return 2 * value * from/' src/units.c
    redo -j4 && only "units.c " && conv "3 mi km" "9.65606 [km]" || return 1
    age
    sed -i 's/"conv %s, %d units/"convert %s, %d units/' src/main.c
    redo && only "main.c " && conv --version "convert 1.4.0, 11 units" && runs 0
}

incremental_headers() {
    built || return 1
    sed -i 's/FORMAT_DIGITS 6/FORMAT_DIGITS 4/' include/format.h
    redo -j4 && only "format.c main.c " && conv "3 mi km" "4.828 km" && runs 0 || return 1
    age
    touch include/units.h
    redo && only "format.c main.c units.c units_table.c " || return 1
    # A header that comes later.
    echo '#define SCALE 3' >src/scale.h
    sed -i -e '1i #include "scale.h"' -e 's/return value \*/return SCALE * value */' src/units.c
    redo && conv "1 km m" "3000 m" || return 1
    age
    echo '#define SCALE 5' >src/scale.h
    redo && only "units.c " && conv "1 km m" "5000 m"
}

incremental_data() {
    built || return 1
    echo "yd length 0.9144" >>data/units.txt
    redo -j4 && conv "1 yd ft" "3 ft" && conv --version "conv 1.4.0, 12 units" || return 1
    age
    sed -i 's/0\.9144/0.5/' data/units.txt
    redo && conv "1 yd m" "0.5 m"
}

incremental_version() {
    built || return 1
    echo 1.5.0 >VERSION
    redo -j4 && only "main.c " && runs 0 && conv --version "conv 1.5.0, 11 units"
}

incremental_generator() {
    built || return 1
    sed -i 's/name, dimension, factor);/name, dimension, factor * (count == 1 ? 7 : 1));/' tools/gentab.c
    redo -j4 && runs 1 && conv "1 km m" "7000 m"
}

nothing_to_do() {
    built || return 1
    redo -j4 && only "" && runs 0 || return 1
    [ ! -s "$CC_LOG" ] || why "the compiler was called" || return 1
    touch "$top/later"
    redo || return 1
    [ -z "$(find build gen -type f -newer "$top/later")" ] || why "made again: $(find build gen -type f -newer "$top/later")" || return 1
    mk -q || why "make -q says that there is something to do"
}

failed_generator() {
    for jobs in 1 8; do
        fresh
        cp data/units.txt "$top/good"
        { head -n 4 "$top/good"; echo "broken length"; } >data/units.txt
        for again in 1 2 3; do
            ! mk -j$jobs || why "make -j$jobs number $again succeeds with bad data" || return 1
        done
        cat "$top/good" >data/units.txt
        redo -j$jobs && works || return 1
        age
        echo "yd length nonsense" >>data/units.txt
        for again in 1 2 3; do
            ! mk -j$jobs || why "later, make -j$jobs number $again succeeds with bad data" || return 1
        done
        { cat "$top/good"; echo "yd length 0.9144"; } >data/units.txt
        redo -j$jobs && conv "1 yd ft" "3 ft" || return 1
    done
}

clean_removes_all() {
    fresh
    before=$(find . | sort)
    redo -j4 && redo clean || return 1
    [ "$(find . | sort)" = "$before" ] || why "left after make clean: $(find . -newer VERSION | tr '\n' ' ')"
}

gentab_output() {
    mkdir "$top/gen" && gcc -w -o "$top/gentab" /app/tools/gentab.c || return 1
    "$top/gentab" /app/data/units.txt "$top/gen/t.h" "$top/gen/t.c" >/dev/null || return 1
    [ "$(cat "$top/gen/t.h")" = "#define UNITS_COUNT 11" ] && grep -q '{"mi", "length", 1609.34' "$top/gen/t.c" || return 1
    for file in include/units.h include/format.h data/units.txt tools/gentab.c VERSION; do
        cmp "$here/pristine/$file" "/app/$file" || return 1
    done
}

for name in $NAMES; do
    SLOW=
    if out=$($name 2>&1); then pass "$name"; else fail "$name" "$out"; fi
done
