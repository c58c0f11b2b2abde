#!/bin/bash
# Compiles src/main.rs with checks and with optimization; every sheet goes through both.
NAMES="grouping unary_and_power comparisons remainder_sign ends_of_the_range overflow first_error syntax_errors
order_of_evaluation defined_twice cycles same_in_release simple_sheets unknown_and_uses"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"

dir=$(mktemp -d)
cp -RL /app/src "$dir/src" 2>/dev/null
cd "$dir" || exit 1
export CARGO_PKG_NAME=sheet CARGO_PKG_VERSION=0.3.0
compile() { timeout 100 rustc --edition 2021 --crate-name sheet -F unsafe-code --cap-lints warn "$@" src/main.rs >log 2>&1 || { tail -n 30 log; exit 1; }; }
compile -C debug-assertions=on -C opt-level=0 -o checked
compile -C opt-level=2 -o released

# t NAME SHEET OUTPUT [STATUS]: both builds must print this; blanks around lines of SHEET and OUTPUT do not count.
lines() { printf '%b\n' "$1" | sed -e 's/^ *//' -e 's/ *$//' -e '/^$/d'; }
released_ok=yes
t() {
    local name=$1 want got status rc
    want=$(lines "$3")
    status=$(case $want in *" ! "*) echo 1 ;; *) echo 0 ;; esac)
    got=$(lines "$2" | timeout 10 ./checked 2>err)
    rc=$?
    if [ "$got" = "$want" ] && [ $rc = "$status" ]; then
        pass "$name" >/dev/null
    else
        fail "$name" "exit status $rc, for: $(lines "$2" | head -n 3 | cut -c 1-100)"
        diff <(echo "$want") <(echo "$got") | cut -c 1-100 | head -n 6
        head -n 2 err
    fi
    [ "$(lines "$2" | timeout 10 ./released 2>/dev/null)" = "$want" ] || released_ok=no
}
# e NAME EXPRESSION RESULT: a single formula; RESULT is "= VALUE" or "! ERROR".
e() { t "$1" "x = $2" "x $3"; }
repeat() { printf "%0.s$1" $(seq "$2"); }

e grouping '10 - 4 - 3' '= 3'
e grouping '10 - 4 + 3 - 2' '= 7'
e grouping '100 / 5 / 2 * 3' '= 30'
e grouping '100 % 7 * 3' '= 6'
e grouping '7 * 100 % 3' '= 1'
e grouping '2 + 3 * 4 - 5 * 6 / 7' '= 10'
e grouping '(2 + 3) * (4 - (5 - 6))' '= 25'
e grouping "1 $(repeat '- 1 ' 900)" '= -899'
e grouping "$(repeat '(' 400) 7 $(repeat ')' 400)" '= 7'
e unary_and_power '-2 ^ 2' '= -4'
e unary_and_power '(-2) ^ 2' '= 4'
e unary_and_power '2 ^ 3 ^ 2' '= 512'
e unary_and_power '--3' '= 3'
e unary_and_power '- - - 3' '= -3'
e unary_and_power '2 * -3' '= -6'
e unary_and_power '2 - -3' '= 5'
e unary_and_power '-3 * 2 - -1' '= -5'
e unary_and_power '2 ^ -0' '= 1'
e unary_and_power '2 ^ --3' '= 8'
e unary_and_power '-2 ^ --2 * 3' '= -12'
e unary_and_power '2 ^ -1' '! negative exponent'
e unary_and_power '2 ^ -2 ^ 2' '! negative exponent'
e unary_and_power '0 ^ 0' '= 1'
e unary_and_power "$(repeat - 501)5" '= -5'
e comparisons '1 + 1 = 2' '= 1'
e comparisons '3 > 2 + 2' '= 0'
e comparisons '(1 < 2) < 3' '= 1'
e comparisons '5 - 3 - 1 < 2' '= 1'
e comparisons '1 < 2 < 3' '! syntax'
e comparisons '1 = 1 = 1' '! syntax'
e comparisons '(3 > 2 > 1)' '! syntax'
e remainder_sign '-7 % 3' '= -1'
e remainder_sign '(-7) % 3' '= -1'
e remainder_sign '7 % -3' '= 1'
e remainder_sign '(0 - 7) % (0 - 3)' '= -1'
e remainder_sign '-7 / 2' '= -3'
e remainder_sign '(0 - 9) % 3' '= 0'
e ends_of_the_range '9223372036854775807' '= 9223372036854775807'
e ends_of_the_range '-9223372036854775808' '= -9223372036854775808'
e ends_of_the_range '-9223372036854775807 - 1' '= -9223372036854775808'
e ends_of_the_range '-9223372036854775808 + 9223372036854775807' '= -1'
e ends_of_the_range '-9223372036854775808 % -1' '= 0'
e ends_of_the_range '-9223372036854775808 / 1' '= -9223372036854775808'
e ends_of_the_range '1 + -9223372036854775808' '= -9223372036854775807'
e ends_of_the_range '(-2) ^ 63' '= -9223372036854775808'
e ends_of_the_range '1 ^ 9223372036854775807' '= 1'
e ends_of_the_range '(-1) ^ 9223372036854775807' '= -1'
e ends_of_the_range '(-1) ^ 4294967296' '= 1'
e ends_of_the_range '0 ^ 4294967296' '= 0'
e ends_of_the_range '000000000000000000000000000012' '= 12'
t ends_of_the_range 'm = -9223372036854775808\ny = m < 0\nz = m % -1' 'm = -9223372036854775808\ny = 1\nz = 0'
e overflow '9223372036854775808' '! overflow'
e overflow '99999999999999999999999999' '! overflow'
e overflow '-9223372036854775809' '! overflow'
e overflow '9223372036854775807 + 1' '! overflow'
e overflow '-9223372036854775808 - 1' '! overflow'
e overflow '9223372036854775807 + 1 - 1' '! overflow'
e overflow '--9223372036854775808' '! overflow'
e overflow '-9223372036854775808 / -1' '! overflow'
e overflow '-9223372036854775808 * -1' '! overflow'
e overflow '4294967296 * 4294967296' '! overflow'
e overflow '4294967296 * 4294967296 * 0' '! overflow'
e overflow '2 ^ 63' '! overflow'
e overflow '2 ^ 4294967296' '! overflow'
e overflow '2 ^ 4294967297' '! overflow'
e overflow '(-2) ^ 64' '! overflow'
e overflow '3 ^ 9223372036854775807' '! overflow'
t overflow 'a = 2 ^ 62 * 2\nb = a + 1\nc = 3' 'a ! overflow\nb ! uses a\nc = 3'
e first_error '1 / 0 + 9 ^ 99' '! division by zero'
e first_error '9 ^ 99 + 1 / 0' '! overflow'
e first_error '(2 ^ -1) * (1 % 0)' '! negative exponent'
e first_error '1 % 0' '! division by zero'
e first_error '1 % 0 - 2 ^ -1' '! division by zero'
t first_error 'a = 1 / 0\nb = 2 ^ 99 + a + nope + gone\nc = 1 / 0 + a\nd = 0 * a' 'a ! division by zero\nb ! unknown nope\nc ! uses a\nd ! uses a'
for bad in '' ' ' '1 +' '* 2' '+ 3' '(1' '1)' '()' '((2)' '(1 + 2' '1 2' '2 (3)' '1 + * 2' '2 ^' '^ 2' '-' '1 -' 'a b' '1 < ' '3 $ 4' '_a' '1 < = 2' ')(' '\\303\\244'; do
    e syntax_errors "$bad" '! syntax'
done
t syntax_errors 'a = (b\nb = 1\nc = a' 'a ! syntax\nb = 1\nc ! uses a'

t order_of_evaluation 'c = b\nb = a\na = 1\nd = 2' 'a = 1\nb = 1\nc = 1\nd = 2'
t order_of_evaluation 'x = b + d\na = c\nb = 1\nc = 2\nd = 3\ne = 4' 'b = 1\nc = 2\na = 2\nd = 3\nx = 4\ne = 4'
t order_of_evaluation 'a = z + nope\nb = 1\nz = 5' 'b = 1\nz = 5\na ! unknown nope'
t order_of_evaluation "$(for i in $(seq 300); do printf 'v%d = v%d + 1\\n' "$i" $((i + 1)); done)v301 = 0" \
    "$(for i in $(seq 301 -1 1); do printf 'v%d = %d\\n' "$i" $((301 - i)); done)"
t defined_twice 'a = 1\nb = 2\na = 3' 'a = 3\nb = 2'
t defined_twice 'a = b\nb = 2\na = 3\nb = a\na = 7' 'a = 7\nb = 7'
t defined_twice 'a = (\nb = 2\na = 3' 'a = 3\nb = 2'
t defined_twice 'a = 1\nb = 2\na = )' 'a ! syntax\nb = 2'
t cycles 'a = b\nb = a\nc = a + 1\nd = c' 'a ! cycle\nb ! cycle\nc ! uses a\nd ! uses c'
t cycles 'd = c\nc = a + 1\na = b\nb = a\ne = 1' 'a ! cycle\nc ! uses a\nd ! uses c\nb ! cycle\ne = 1'
t cycles 'a = a + 1\nb = 1' 'a ! cycle\nb = 1'
t cycles 'x = y\ny = z + k\nz = x\nk = 5\nm = k + z' 'x ! cycle\ny ! cycle\nz ! cycle\nk = 5\nm ! uses z'
t cycles 'a = b + nope\nb = a\nc = b + nope' 'a ! cycle\nb ! cycle\nc ! unknown nope'
t cycles 'p = q\nq = p\nlink = p + r\nr = s\ns = r\n' 'p ! cycle\nq ! cycle\nr ! cycle\nlink ! uses p\ns ! cycle'

t simple_sheets '# comment\nb = a * 2\na = 20 + 1\nnothing here\n9x = 4' 'a = 21\nb = 42'
t simple_sheets 'x_1 = (1 + 2) * 3\ny = x_1 > 8\nz = 2 ^ 10' 'x_1 = 9\ny = 1\nz = 1024'
t simple_sheets '' ''
t simple_sheets 'a = 1 / 0\nb = 2 ^ (0 - 1)' 'a ! division by zero\nb ! negative exponent'
t unknown_and_uses 'a = 1 / 0\nb = a + 1\nc = nope\nd = c * b' 'a ! division by zero\nb ! uses a\nc ! unknown nope\nd ! uses c'
t unknown_and_uses 'c = nope + gone' 'c ! unknown nope'
if [ $released_ok = yes ]; then pass same_in_release; else fail same_in_release "some outputs of the optimized build are wrong"; fi
awk '{ print }' "$results" | sort | uniq -c | sort -rn | sed 's/^/   /'
