#!/bin/sh
# Checks the form of answers.txt, not whether the answers are right.
set -u
file=answers.txt
[ -f "$file" ] || { echo "$file is missing"; exit 1; }
status=0
line=0
time='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z'
for pattern in "outage_start=$time" "outage_end=$time" 'failed_requests=[0-9]+' 'affected_clients=[0-9]+' \
    'culprit_ip=[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+' 'culprit_path=/[^ ?]*' 'culprit_ms=[0-9]+'; do
    line=$((line + 1))
    sed -n "${line}p" "$file" | grep -Eqx "$pattern" || { echo "line $line does not look like $pattern"; status=1; }
done
[ "$(wc -l < "$file")" -eq "$line" ] || { echo "expected $line lines"; status=1; }
exit $status
