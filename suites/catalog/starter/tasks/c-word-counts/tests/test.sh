#!/bin/sh
# Compiles the sources and compares outputs; the big inputs are made here, each with a limit of 5 seconds.
NAMES="distinct_400k spread_400k similar_400k long_words ties_keep_order options letters_and_bytes line_numbers"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"

dir=$(mktemp -d)
cp -RL /app/src "$dir/src" 2>/dev/null
cd "$dir" || exit 1
timeout 60 gcc -std=gnu11 -O2 -w -o prog src/*.c || { echo "does not compile"; exit 1; }
mkdir empty && cd empty || exit 1

# same NAME [OPTIONS]: the program's output for ../in must be ../want.
same() {
    name=$1
    shift
    timeout 5 ../prog "$@" <../in >../got 2>../err
    rc=$?
    if [ $rc = 124 ]; then fail "$name" "not done after 5 seconds"
    elif [ $rc != 0 ]; then fail "$name" "exit status $rc: $(head -c 300 ../err)"
    elif cmp -s ../want ../got; then pass "$name"
    else fail "$name" "output differs ($*): $(diff ../want ../got | cut -c 1-100 | head -n 6)"
    fi
}

printf 'zz b a c b a zz zz\nd c e f g h i j k l m n o\n p q r s t u v w x y\n' >../in
printf '%s\n' '25 distinct words' >../want
{ printf '3\t1\tzz\n'; for w in b a c; do printf '2\t1\t%s\n' $w; done
  for w in d e f g h i j k l m n o; do printf '1\t2\t%s\n' $w; done
  for w in p q r s t u v w x y; do printf '1\t3\t%s\n' $w; done; } >>../want
sed -i '1s/.*/26 distinct words/' ../want
same ties_keep_order

printf 'one two two three three three four four four four one five\n' >../in
printf '5 distinct words\n4\t1\tfour\n3\t1\tthree\n2\t1\tone\n2\t1\ttwo\n1\t1\tfive\n' >../want
same options
sed '3,$d' ../want >../w && mv ../w ../want
same options -n 1
printf '5 distinct words\n4\t1\tfour\n3\t1\tthree\n2\t1\tone\n' >../want
same options -m 2 -n 3
printf '5 distinct words\n' >../want
same options -m 9
printf '5 distinct words\n4\t1\tfour\n3\t1\tthree\n' >../want
../prog -m 3 ../in >../got; cmp ../want ../got || fail options "a file as argument"
../prog -n >/dev/null 2>&1 </dev/null; [ $? = 2 ] || fail options "-n without a number must exit with 2"
../prog -x >/dev/null 2>&1 </dev/null; [ $? = 2 ] || fail options "-x must exit with 2"
../prog ../missing >/dev/null 2>&1; [ $? = 1 ] || fail options "a missing file must exit with 1"

printf "don't DON'T Don\000t \303\204pfel \303\244PFEL \303\204PFEL x_y x-Y 7up 7UP\377 a\177b" >../in
printf "11 distinct words\n2\t1\tdon't\n2\t1\t\303\204pfel\n2\t1\tx\n2\t1\ty\n1\t1\tdon\n1\t1\tt\n1\t1\t\303\244pfel\n1\t1\t7up\n1\t1\t7up\377\n1\t1\ta\n1\t1\tb\n" >../want
same letters_and_bytes

printf '\n\nfirst\r\n\n second first\nthird' >../in
printf '3 distinct words\n2\t3\tfirst\n1\t5\tsecond\n1\t6\tthird\n' >../want
same line_numbers

# All different, in an order that is neither rising nor falling.
awk 'BEGIN { for (i = 1; i <= 400000; i++) print "n" (i * 7919) % 400009 }' >../in
awk 'BEGIN { print "400000 distinct words"; for (i = 1; i <= 400000; i++) print "1\t" i "\tn" (i * 7919) % 400009 }' >../want
same distinct_400k

# Frequencies 1 to 4, spread over all words: word i appears 1 + i % 4 times, first on line i.
awk 'BEGIN { for (r = 0; r < 4; r++) for (i = 1; i <= 400000; i++) if (i % 4 >= r) print "v" i; else if (r) print "" }' >../in
awk 'BEGIN { print "400000 distinct words"; for (r = 3; r >= 0; r--) for (i = 1; i <= 400000; i++) if (i % 4 == r) print r + 1 "\t" i "\tv" i }' >../want
same spread_400k

# Words of equal length that differ in few letters, and whose letters add up to the same.
awk 'BEGIN {
    for (i = 1; i <= 400000; i++) {
        a = b = ""; n = i
        for (k = 0; k < 6; k++) { d = n % 10 + 1; n = int(n / 10); a = a substr("abcdefghij", d, 1); b = b substr("jihgfedcba", d, 1) }
        print "shared" a b "shared"
    } }' >../in
awk 'BEGIN { print "400000 distinct words" } { print "1\t" NR "\t" $0 }' ../in >../want
same similar_400k

# Some words of megabytes, one of which differs from another only in its last letter.
long() { head -c 3000000 /dev/zero | tr '\000' "$1"; }
{ long A; printf 'x '; long a; printf 'y\n'; long B; printf ' '; long a; printf 'X'; } >../in
{ printf '3 distinct words\n2\t1\t'; long a; printf 'x\n1\t1\t'; long a; printf 'y\n1\t2\t'; long b; printf '\n'; } >../want
same long_words
