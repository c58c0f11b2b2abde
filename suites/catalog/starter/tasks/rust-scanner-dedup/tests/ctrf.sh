# Sourced by test.sh: pass NAME, fail NAME WHY; the verdict on $NAMES is written when the script ends.
results=$(mktemp)
pass() { printf 'passed %s\n' "$1" >>"$results"; printf 'ok   %s\n' "$1"; }
fail() { n=$1; shift; printf 'failed %s\n' "$n" >>"$results"; printf 'FAIL %s: %s\n' "$n" "$*"; }
finish() {
    mkdir -p /logs/verifier
    awk -v names="$NAMES" '
        { seen[$2] = 1; if ($1 != "passed") bad[$2] = 1 }
        END {
            n = split(names, name, " ")
            for (i = 1; i <= n; i++) {
                ok = (name[i] in seen) && !(name[i] in bad); p += ok
                list = list (i > 1 ? "," : "") "\n{\"name\":\"" name[i] "\",\"status\":\"" (ok ? "passed" : "failed") "\",\"duration\":0}"
            }
            printf "{\"results\":{\"tool\":{\"name\":\"starter\"},\"summary\":{\"tests\":%d,\"passed\":%d,\"failed\":%d,", n, p, n - p
            printf "\"pending\":0,\"skipped\":0,\"other\":0,\"start\":0,\"stop\":0},\"tests\":[%s]}}\n", list
            print (p == n) ? 1 : 0 >"/logs/verifier/reward.txt"
        }' "$results" >/logs/verifier/ctrf.json
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
