#!/bin/sh
# A few short texts, and some thousand words that repeat.
failed=0
input=$(mktemp)
check() {
    want=$(printf "$1")
    shift
    got=$(timeout 5 ./build/wc-words "$@" <"$input" 2>&1)
    [ "$got" = "$want" ] || { echo "wc-words $*: expected:"; echo "$want"; echo "got:"; echo "$got"; failed=1; }
}
printf 'The cat, the dog\nand THE bird. A dog!\n' >"$input"
check '6 distinct words\n3\t1\tthe\n2\t1\tdog\n1\t1\tcat\n1\t2\tand\n1\t2\tbird\n1\t2\ta'
check '6 distinct words\n3\t1\tthe\n2\t1\tdog' -m 2
check '6 distinct words\n3\t1\tthe' -n 1
: >"$input"
check '0 distinct words'
awk 'BEGIN { for (i = 0; i < 30000; i++) print "w" (i * i) % 100 }' >"$input"
check '22 distinct words\n3000\t1\tw0\n3000\t6\tw25\n1200\t2\tw1' -n 3
rm -f "$input"
[ $failed = 0 ] && echo "all good"
exit $failed
