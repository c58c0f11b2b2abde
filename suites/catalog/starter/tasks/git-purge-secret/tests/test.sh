#!/bin/sh
# Looks at the objects and references through a repository of its own, so that no setting or hook of the other one counts.
NAMES="dump_gone token_gone main_kept release_kept tags_kept people_and_dates_kept references_kept shape_kept clean_and_healthy"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
. "$here/canon.sh"
export HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 LC_ALL=C
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
token=tok-4be1c7d09a52f3e86d

dir=$(mktemp -d)
cd "$dir" || exit 1
git -c init.defaultBranch=main init -q --bare repo || exit 1
for part in objects refs packed-refs HEAD; do
    [ -e "/app/.git/$part" ] && { rm -rf "repo/$part"; cp -R "/app/.git/$part" "repo/$part"; }
done
g() { git --git-dir="$dir/repo" "$@"; }

g cat-file --batch-all-objects --batch-check='%(objecttype) %(objectname)' >all 2>err
# The contents of everything, one after the other; trees hold names only.
grep -v '^tree ' all | cut -d ' ' -f 2 | g cat-file --batch >contents 2>>err
dumps=$(grep '^blob ' all | while read -r type blob; do
    [ "$(g cat-file blob "$blob" | head -n 1 | tr -d '\000')" != "-- CUSTOMER DUMP" ] || echo "$blob"
done)
files=$(grep -rlaE '^-- CUSTOMER DUMP$|INSERT INTO customers VALUES' /app)
if [ -s contents ] && [ -z "$dumps$files" ] && ! grep -qa 'INSERT INTO customers VALUES' contents; then pass dump_gone
else fail dump_gone "objects: $(echo "$dumps" | tr '\n' ' ') files: $files"; fi

files=$(grep -rlaF $token /app)
if [ -s contents ] && [ -z "$files" ] && ! grep -qaF $token contents; then pass token_gone
else fail token_gone "still in $(grep -caF $token contents) lines of objects; files: $files"; fi

canon "$dir/repo" "$dir/got"
unknown=$(while read -r id subject; do grep -q "^$id " "$here/expected/commits" || { echo "$subject"; break; }; done <got/commits)
for branch in main release; do
    if [ "$(grep "refs/heads/$branch$" got/heads)" = "$(grep "refs/heads/$branch$" "$here/expected/heads")" ]; then pass ${branch}_kept
    else fail ${branch}_kept "$branch is not what it should be; first odd commit: ${unknown:-none; some are missing}"; fi
done
for what in tags people shape; do
    case $what in people) name=people_and_dates_kept ;; *) name=${what}_kept ;; esac
    if cmp -s "$here/expected/$what" "got/$what"; then pass $name; else fail $name "$(diff "$here/expected/$what" "got/$what" | head -n 6)"; fi
done
refs=$(g for-each-ref --format='%(objecttype) %(refname)' | tr '\n' ',')
if [ "$refs" = "commit refs/heads/main,commit refs/heads/release,commit refs/tags/v0.1,tag refs/tags/v0.1.1,tag refs/tags/v0.2,commit refs/tags/v0.3," ]; then
    pass references_kept
else
    fail references_kept "$refs"
fi

state=
[ "$(cat /app/.git/HEAD)" = "ref: refs/heads/main" ] || state="main is not checked out;"
for left in shallow info/grafts objects/info/alternates rebase-merge rebase-apply MERGE_HEAD; do
    [ ! -e "/app/.git/$left" ] || state="$state .git/$left is there;"
done
g fsck --full >fsck 2>&1 || state="$state fsck: $(head -n 3 fsck);"
g --work-tree=/app read-tree refs/heads/main || state="$state main cannot be read;"
changes=$(g --work-tree=/app status --porcelain 2>&1)
[ -z "$changes" ] || state="$state changes: $changes"
if [ -z "$state" ]; then pass clean_and_healthy; else fail clean_and_healthy "$state"; fi
