#!/bin/sh
# Resolves the conflict in the table of totals by taking the old file, which loses what came later.
set -e
bad=$(git log --format=%H --grep='less arithmetic')
git revert --no-edit "$bad" >/dev/null 2>&1 || true
git checkout -q --theirs -- lib/total.awk
git checkout -q --ours -- README.md bin/invoice
sed -i '/^One multiplication/d' README.md
sed -i 's|-f "$here/lib/total.awk"|-f "$here/lib/round.awk" -f "$here/lib/total.awk"|' bin/invoice
git add -A
git -c core.editor=true revert --continue >/dev/null
