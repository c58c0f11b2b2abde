#!/bin/sh
# Compares /app/answers.txt line by line with the expected answers.
export LC_ALL=C
out=/logs/verifier
mkdir -p "$out"
passed=0
total=0
tests=""
result() { # name, 0 or 1 for passed
    total=$((total + 1))
    if [ "$2" = 1 ]; then s=passed; passed=$((passed + 1)); else s=failed; fi
    echo "$s $1"
    tests="$tests${tests:+,}{\"name\":\"$1\",\"status\":\"$s\",\"duration\":0}"
}
answers=$(mktemp)
[ -f /app/answers.txt ] && [ ! -L /app/answers.txt ] && head -c 4000 /app/answers.txt > "$answers"
n=0
while IFS= read -r want; do
    n=$((n + 1))
    got=$(sed -n "${n}p" "$answers")
    if [ "$got" = "$want" ]; then ok=1; else ok=0; echo "line $n is: $got"; fi
    result "${want%%=*}" "$ok"
done < /tests/expected.txt
if [ "$(wc -l < "$answers")" -eq "$n" ]; then ok=1; else ok=0; echo "answers.txt does not have $n lines"; fi
result no_other_lines "$ok"
now=$(cd /app && find logs -type f | sort | xargs cksum 2>&1)
if [ "$now" = "$(cat /tests/logs.cksum)" ]; then ok=1; else ok=0; echo "the logs were changed"; fi
result logs_unchanged "$ok"
failed=$((total - passed))
cat > "$out/ctrf.json" <<JSON
{"results":{"tool":{"name":"starter"},"summary":{"tests":$total,"passed":$passed,"failed":$failed,"pending":0,"skipped":0,"other":0,"start":0,"stop":0},"tests":[$tests]}}
JSON
if [ "$failed" = 0 ]; then echo 1; else echo 0; fi > "$out/reward.txt"
