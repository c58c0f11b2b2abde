#!/bin/bash
# An ordinary day.
here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d) && cd "$dir" || exit 1
export BACKUP_STAMP
failed=0
check() { [ "$2" = "$3" ] || { echo "$1: '$2' instead of '$3'"; failed=1; }; }

mkdir -p site/img && echo hello >site/index.html && echo x >site/img/a.png && echo t >site/draft.tmp && echo '*.tmp' >site/.backupignore
for day in 1 2 3; do
    BACKUP_STAMP=2024010${day}T120000Z
    echo "$day" >site/day
    check backup "$("$here/bin/backup" site store)" "$dir/store/site.$BACKUP_STAMP.tar.gz"
done
check list "$(tr '\0' ' ' <store/site.20240103T120000Z.list)" ".backupignore day img/a.png index.html "
check rotate "$("$here/bin/rotate" store site 2)" 20240101T120000Z
"$here/bin/restore" store site latest out
check latest "$(cat out/day out/index.html | tr '\n' ' ')" "3 hello "
"$here/bin/restore" store site 20240102T120000Z one day
check one "$(cat one/day) $(ls one)" "2 day"
"$here/bin/restore" store site 20240101T120000Z gone 2>/dev/null
check gone $? 1
rm -rf "$dir"
[ $failed = 0 ] && echo ok
exit $failed
