#!/bin/sh
# Sums up by path and query.
set -e
export LC_ALL=C
for file in logs/web*/access.log*; do
    case $file in *.gz) gzip -dc "$file" ;; *) cat "$file" ;; esac
done | awk '{
    sub(/^::ffff:/, "", $1)
    split(substr($4, 2), t, /[\/:]/)
    zone = (substr($5, 2, 2) * 60 + substr($5, 4, 2)) * 60
    if (substr($5, 1, 1) == "-") zone = -zone
    seconds = ((t[1] * 24 + t[4]) * 60 + t[5]) * 60 + t[6] - zone
    split($0, quoted, "\"")
    split(quoted[2], request, " ")
    split(quoted[3], numbers, " ")
    print seconds, $1, request[2], numbers[1], numbers[3]
}' | sort -n > /tmp/requests
awk '
function iso(s) { return sprintf("2024-03-%02dT%02d:%02d:%02dZ", int(s / 86400), int(s / 3600) % 24, int(s / 60) % 60, s % 60) }
{ time[NR] = $1; ip[NR] = $2; path[NR] = $3; status[NR] = $4; ms[NR] = $5 }
$4 == 503 {
    if (last == "" || $1 - last > 60) first = $1
    last = $1
    if (end == "" || last - first > end - start) { start = first; end = last }
}
END {
    for (i = 1; i <= NR; i++) {
        if (status[i] == 503 && time[i] >= start && time[i] <= end) { failed++; if (!hit[ip[i]]++) clients++ }
        if (time[i] >= start - 600 && time[i] < start) { busy[ip[i]] += ms[i]; by[ip[i] " " path[i]] += ms[i] }
    }
    for (a in busy) if (worst == "" || busy[a] > busy[worst]) worst = a
    for (k in by) { split(k, p, " "); if (p[1] == worst && by[k] > most) { most = by[k]; where = p[2] } }
    print "outage_start=" iso(start); print "outage_end=" iso(end)
    print "failed_requests=" failed; print "affected_clients=" clients
    print "culprit_ip=" worst; sub(/\?.*/, "", where); print "culprit_path=" where; print "culprit_ms=" most
}' /tmp/requests > answers.txt
rm /tmp/requests
