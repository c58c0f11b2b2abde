# Sourced by test.sh. `check NAME COMMAND…` runs one hidden test; `finish` writes ctrf.json and reward.txt.
# Names hold letters, digits, dots, dashes and underscores only: they stand in task.toml as they stand here.
logs=/logs/verifier
total=0
passed=0
rows=

check() {
    name=$1
    shift
    total=$((total + 1))
    # In a subshell, so that a test that exits or changes folder harms no other.
    if ( "$@" ); then
        status=passed
        passed=$((passed + 1))
    else
        status=failed
    fi
    echo "$status: $name"
    rows="$rows${rows:+,}{\"name\":\"$name\",\"status\":\"$status\",\"duration\":0}"
}

finish() {
    mkdir -p "$logs"
    printf '{"results":{"tool":{"name":"sh"},"summary":{"tests":%d,"passed":%d,"failed":%d,"pending":0,"skipped":0,"other":0,"start":0,"stop":0},"tests":[%s]}}\n' \
        "$total" "$passed" "$((total - passed))" "$rows" > "$logs/ctrf.json"
    if [ "$total" -gt 0 ] && [ "$passed" -eq "$total" ]; then
        echo 1 > "$logs/reward.txt"
    else
        echo 0 > "$logs/reward.txt"
    fi
}
