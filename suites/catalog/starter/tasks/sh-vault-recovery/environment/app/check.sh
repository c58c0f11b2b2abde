#!/bin/bash
# A first look at the recovery: every restored file must be one of the manifest, and damaged.txt must have three fields a line.
cd "$(dirname "$0")" || exit 1
failed=0 n=0
[ -d restored ] && [ -f damaged.txt ] || { echo "restored/ or damaged.txt is missing"; exit 1; }
while IFS= read -r -d '' file; do
    n=$((n + 1))
    sum=$(sha256sum <"restored/$file")
    grep -qE "^file [a-z]+ [0-7]+ ${sum%% *} " vault/MANIFEST || { echo "restored/$file has a content that no file should have"; failed=1; }
done < <(find restored -type f -printf '%P\0')
[ $n -gt 0 ] || { echo "nothing is restored"; failed=1; }
awk -F '\t' 'NF != 3 { print "damaged.txt:" NR ": not three fields"; bad = 1 } END { exit bad }' damaged.txt || failed=1
[ $failed = 0 ] && echo "$n files, all good"
exit $failed
