#!/bin/bash
# Writes every commit anew with plumbing commands, oldest first, into a new object store that then takes the place of the old one.
set -e
export LC_ALL=C
token=tok-4be1c7d09a52f3e86d
refs=$(git for-each-ref --format='%(objectname) %(objecttype) %(refname)')
declare -A new blob
export GIT_INDEX_FILE=/tmp/purge.index
for commit in $(git rev-list --topo-order --reverse --branches --tags); do
    rm -f "$GIT_INDEX_FILE"
    while IFS= read -r -d '' entry; do
        meta=${entry%%$'\t'*} path=${entry#*$'\t'}
        read -r mode type object <<<"$meta"
        if [ -z "${blob[$object]}" ]; then
            git cat-file blob "$object" >/tmp/purge.blob
            if [ "$(head -n 1 /tmp/purge.blob)" = "-- CUSTOMER DUMP" ]; then
                blob[$object]=dump
            else
                sed -i "s/$token/REMOVED/g" /tmp/purge.blob
                blob[$object]=$(git hash-object -w /tmp/purge.blob)
            fi
        fi
        [ "${blob[$object]}" = dump ] || printf '%s %s\t%s\0' "$mode" "${blob[$object]}" "$path"
    done < <(git ls-tree -r -z "$commit") >/tmp/purge.list
    git update-index -z --index-info </tmp/purge.list
    tree=$(git write-tree)
    {
        echo "tree $tree"
        for parent in $(git log -n 1 --format=%P "$commit"); do echo "parent ${new[$parent]}"; done
        git cat-file commit "$commit" | grep -av -e '^tree [0-9a-f]\{40\}$' -e '^parent [0-9a-f]\{40\}$' | sed "s/$token/REMOVED/g"
    } >/tmp/purge.commit
    new[$commit]=$(git hash-object -w -t commit /tmp/purge.commit)
done
unset GIT_INDEX_FILE
while read -r object type ref; do
    if [ "$type" = tag ]; then
        target=$(git rev-parse "$object^{commit}")
        git update-ref "$ref" "$(git cat-file tag "$object" | sed "1s/.*/object ${new[$target]}/" | git mktag)"
    else
        git update-ref "$ref" "${new[$object]}"
    fi
done <<<"$refs"
rm -rf .git/logs /tmp/purge.*
git reset -q --hard
rm -rf .git/logs .git/ORIG_HEAD .git/COMMIT_EDITMSG
git pack-refs --all
git repack -q -a -d && git prune --expire=now
