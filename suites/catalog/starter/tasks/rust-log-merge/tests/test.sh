#!/bin/bash
# Compiles src/main.rs and compares outputs, byte by byte.
NAMES="stable_ties empty_files no_final_newline crlf tabs_and_blanks any_bytes last_count unsorted_files unreadable_files bad_use
dashes closed_output simple_merge standard_input many_records"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"

dir=$(mktemp -d)
cp -RL /app/src "$dir/src" 2>/dev/null
cd "$dir" || exit 1
export CARGO_PKG_NAME=logmerge CARGO_PKG_VERSION=0.1.0
timeout 100 rustc --edition 2021 --crate-name logmerge --cap-lints warn -C opt-level=2 -o prog src/main.rs >log 2>&1 || { tail -n 30 log; exit 1; }
mkdir w && cd w || exit 1

f() { printf "$2" >"$1"; }
# t NAME STATUS OUTPUT ARGUMENT...: standard input is the file `in` (empty unless written before).
: >in
t() {
    local name=$1 status=$2 rc
    printf "$3" >../want
    shift 3
    timeout 10 ../prog "$@" <in >../got 2>../err
    rc=$?
    if grep -q panicked ../err; then fail "$name" "panic, for: $*"
    elif [ $rc != "$status" ]; then fail "$name" "exit status $rc instead of $status, for: $*"
    elif ! cmp -s ../want ../got; then fail "$name" "wrong output for: $*"; diff -a ../want ../got | cut -c 1-80 | head -n 5
    elif [ "$status" != 0 ] && [ ! -s ../err ]; then fail "$name" "no message, for: $*"
    else pass "$name" >/dev/null
    fi
}
says() { grep -q "$2" ../err || fail "$1" "message is '$(head -c 200 ../err)'"; }

f a '1 a1\n3 a3\n    more\n5 a5\n'
f b '2 b2\n4 b4\n'
t simple_merge 0 '1 a1\n2 b2\n3 a3\n    more\n4 b4\n5 a5\n' a b
t simple_merge 0 '1 a1\n3 a3\n    more\n5 a5\n' a
t simple_merge 0 '3 a3\n    more\n4 b4\n5 a5\n' -n 3 b a
cp a in
t standard_input 0 '1 a1\n2 b2\n3 a3\n    more\n4 b4\n5 a5\n' b -
: >in

f s1 '1 a\n2 b\n2 c\n2 d\n3 e\n'
f s2 '0 f\n2 g\n2 h\n3 i\n3 j\n'
f s3 '2 k\n3 l\n'
t stable_ties 0 '0 f\n1 a\n2 b\n2 c\n2 d\n2 g\n2 h\n2 k\n3 e\n3 i\n3 j\n3 l\n' s1 s2 s3
t stable_ties 0 '0 f\n1 a\n2 k\n2 g\n2 h\n2 b\n2 c\n2 d\n3 l\n3 i\n3 j\n3 e\n' s3 s2 s1
t stable_ties 0 '2 k\n2 k\n3 l\n3 l\n' s3 s3
awk 'BEGIN { for (i = 0; i < 900; i++) printf "%03d x%d\n", i / 9, i }' >long1
awk 'BEGIN { for (i = 0; i < 900; i++) printf "%03d y%d\n", i / 9, i }' >long2
t stable_ties 0 "$(awk 'BEGIN { for (k = 0; k < 100; k++) { for (i = 9 * k; i < 9 * k + 9; i++) printf "%03d y%d\\n", k, i
    for (i = 9 * k; i < 9 * k + 9; i++) printf "%03d x%d\\n", k, i } }')" long2 long1

: >e1; f e2 '\n\n\r\n\n'; f e3 '    only\n\tcontinued\n'
t empty_files 0 '' e1
t empty_files 0 '' e1 e2 e3 e1
t empty_files 0 '1 a1\n2 b2\n3 a3\n    more\n4 b4\n5 a5\n' e1 a e2 b e3
t empty_files 0 '' -
f e4 '  lost\n1 a\n\n  kept\n\n\n2 b\n\n'
t empty_files 0 '1 a\n  kept\n2 b\n' e4

f n1 '1 a\n4 d'; f n2 '2 b\n3 c\n   end'
t no_final_newline 0 '1 a\n2 b\n3 c\n   end\n4 d\n' n1 n2
t no_final_newline 0 '1 a\n2 b\n3 c\n   end\n4 d\n' n2 n1
t no_final_newline 0 '3 c\n   end\n' -n 1 n2
f n3 '3 c\r'
t no_final_newline 0 '3 c\r\n' n3

f c1 '1 a\r\n  more\r\n\r\n2\r\n3 x\ry\r\r\n'; f c2 '2 b\n2\n3 z\n'
t crlf 0 '1 a\n  more\n2\n3 x\ry\r\n' c1
t crlf 0 '1 a\n  more\n2\n2 b\n2\n3 x\ry\r\n3 z\n' c1 c2
t crlf 0 '1 a\n  more\n2 b\n2\n2\n3 z\n3 x\ry\r\n' c2 c1

f t1 '1\ta\n\tat tab\n3\tc\n   \n \t\n'; f t2 '1 b\n2\n10 x\n'
t tabs_and_blanks 1 '' t1 t2
f t2 '1 b\n10 x\n2\n'
t tabs_and_blanks 0 '1\ta\n\tat tab\n1 b\n10 x\n2\n3\tc\n   \n \t\n' t1 t2
f t3 '1\v2 a\n1\v3 b\n'; f t4 '1 z\n1\f0 y\n'
t tabs_and_blanks 0 '1 z\n1\v2 a\n1\v3 b\n1\f0 y\n' t3 t4

f x1 '1 \377\376\000end\n2\200 b\n'; f x2 '1 \303\244\n2\177 c\n2\303 d\n'
t any_bytes 0 '1 \377\376\000end\n1 \303\244\n2\177 c\n2\200 b\n2\303 d\n' x1 x2

t last_count 0 '4 b4\n5 a5\n' -n 2 a b
t last_count 0 '' -n 0 a b
t last_count 0 '1 a1\n2 b2\n3 a3\n    more\n4 b4\n5 a5\n' -n 5 a b
t last_count 0 '1 a1\n2 b2\n3 a3\n    more\n4 b4\n5 a5\n' -n 99 a b
t last_count 0 '2 b2\n4 b4\n' b -n 99
t last_count 0 '' -n 7 e1
t last_count 0 '4 b4\n5 a5\n' a -n 2 b

f u1 '1 a\n\n2 b\n  more\n1 c\n0 d\n'; f u2 '5 a\n4 b\n'
t unsorted_files 1 '' u1; says unsorted_files '^logmerge: u1:5: not sorted$'
t unsorted_files 1 '' a u2 u1; says unsorted_files '^logmerge: u2:2: not sorted$'
t unsorted_files 1 '' u1 u2 a; says unsorted_files '^logmerge: u1:5: not sorted$'
t unsorted_files 1 '' -n 0 u2
cp u2 in; t unsorted_files 1 '' a -; says unsorted_files '^logmerge: -:2: not sorted$'; : >in

t unreadable_files 1 '' missing; says unreadable_files '^logmerge: missing: '
t unreadable_files 1 '' a missing b; says unreadable_files '^logmerge: missing: '
mkdir folder; t unreadable_files 1 '' a folder; says unreadable_files '^logmerge: folder: '

t bad_use 2 ''
t bad_use 2 '' -n
t bad_use 2 '' -n 3
t bad_use 2 '' -n x a
t bad_use 2 '' -n -1 a
t bad_use 2 '' -n '' a
t bad_use 2 '' -x a
t bad_use 2 '' a --unknown
t bad_use 2 '' --

f -n '1 minus\n'; f -x '2 x\n'; f ./-- '3 dashes\n'
t dashes 0 '1 minus\n2 x\n' -- -x -n
t dashes 0 '3 dashes\n' -- --
t dashes 0 '2 x\n' -n 1 -- -n -x
t dashes 0 '1 minus\n' ./-n
printf '1 in\n' >in
t dashes 0 '1 in\n2 b2\n4 b4\n' -- b -
: >in

awk 'BEGIN { for (i = 0; i < 150000; i++) printf "%07d one\n", 2 * i }' >m1
awk 'BEGIN { for (i = 0; i < 150000; i++) printf "%07d two\n", 2 * i + i % 2 }' >m2
awk 'BEGIN { for (i = 0; i < 150000; i++) { if (i % 2) printf "%07d one\n%07d two\n", 2 * i, 2 * i + 1; else printf "%07d one\n%07d two\n", 2 * i, 2 * i } }' >../want
timeout 10 ../prog m1 m2 >../got 2>../err && cmp -s ../want ../got && pass many_records >/dev/null || fail many_records "wrong, or more than 10 seconds"
timeout 10 ../prog m1 m2 2>../err | head -n 1 >/dev/null
if [ "${PIPESTATUS[0]}" != 124 ] && ! grep -q panicked ../err; then pass closed_output >/dev/null; else fail closed_output "$(head -c 300 ../err)"; fi
sort "$results" | uniq -c | sed 's/^/   /'
