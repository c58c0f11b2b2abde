#!/bin/bash
# Text that sorts by itself instead of seconds, one small pipeline for each answer.
set -eu
export LC_ALL=C TZ=UTC
dir=$(mktemp -d)
{ cat logs/web*/access.log logs/web*/access.log.1; find logs -name '*.gz' -exec gzip -dc {} +; } > "$dir/all"
# stamps like 22/Mar/2024:09:15:02 +0100, each converted once by date
sed 's/^[^[]*\[\([^]]*\)\].*/\1/' "$dir/all" > "$dir/stamps"
sed 's#^\(..\)/Mar/2024:#2024-03-\1 #' "$dir/stamps" | date -f - +%s > "$dir/epochs"
sed 's/^::ffff://; s/ - - \[[^]]*\] "[A-Z]* / /; s/ HTTP[^"]*" / /; s/ "[^"]*" "[^"]*"$//; s/?[^ ]*//' "$dir/all" | paste -d' ' "$dir/epochs" - | sort -n > "$dir/flat"
# flat: epoch address path status bytes ms
awk '$4 == 503 { print $1 }' "$dir/flat" | awk 'NR > 1 && $1 - p > 60 { print p - s, s, p; s = $1 } NR == 1 { s = $1 } { p = $1 } END { print p - s, s, p }' | sort -n | tail -1 > "$dir/longest"
read -r _ start end < "$dir/longest"
before=$((start - 600))
ip=$(awk -v a=$before -v b="$start" '$1 >= a && $1 < b { s[$2] += $6 } END { for (i in s) print s[i], i }' "$dir/flat" | sort -rn | sed -n '1s/.* //p')
top=$(awk -v a=$before -v b="$start" -v ip="$ip" '$1 >= a && $1 < b && $2 == ip { s[$3] += $6 } END { for (i in s) print s[i], i }' "$dir/flat" | sort -rn | head -1)
hit() { awk -v a="$start" -v b="$end" '$4 == 503 && $1 >= a && $1 <= b { print $2 }' "$dir/flat"; }
{
    echo "outage_start=$(date -d "@$start" +%Y-%m-%dT%H:%M:%SZ)"
    echo "outage_end=$(date -d "@$end" +%Y-%m-%dT%H:%M:%SZ)"
    echo "failed_requests=$(hit | wc -l | tr -d ' ')"
    echo "affected_clients=$(hit | sort -u | wc -l | tr -d ' ')"
    echo "culprit_ip=$ip"
    echo "culprit_path=${top#* }"
    echo "culprit_ms=${top%% *}"
} > answers.txt
