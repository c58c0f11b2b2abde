#!/bin/sh
# Looks at the objects and references through a repository of its own, so that no setting or hook of the other one counts.
NAMES="one_commit_on_top message_names_the_commit rounding_by_line bad_commit_undone result_is_consistent
history_kept clean_state later_work_kept other_files_kept"
TIP=834bd29eefb4acb4164ea840166f0c49463d7232
BAD=a8294e87d579629ebac2093dfa444b4cb4275213
TAGS='02f1aca67eed75969ad55775b202bf699999a892 refs/tags/v1.0
9e6bcfae2db1b2908de9326fb5229fe3535cf8a2 refs/tags/v1.1'
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
export HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 LC_ALL=C
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

dir=$(mktemp -d)
cd "$dir" || exit 1
git -c init.defaultBranch=main init -q --bare repo || exit 1
for part in objects refs packed-refs HEAD; do
    [ -e "/app/.git/$part" ] && { rm -rf "repo/$part"; cp -R "/app/.git/$part" "repo/$part"; }
done
g() { git --git-dir="$dir/repo" "$@"; }
new=$(g rev-parse -q --verify refs/heads/main^{commit}) || exit 1
mkdir tree
g --work-tree=tree checkout -q -f "$new" -- . || exit 1
on_top() { [ "$(g rev-list --parents -n 1 "$new")" = "$new $TIP" ]; }

if on_top; then pass one_commit_on_top; else fail one_commit_on_top "main is $new, its parents: $(g log -n 1 --format=%P "$new")"; fi
if g log -n 1 --format=%B "$new" | grep -qx "This reverts commit $BAD\."; then pass message_names_the_commit
else fail message_names_the_commit "message: $(g log -n 1 --format=%B "$new")"; fi

# out NAME LIST LABEL VALUE: that label of the invoice for LIST must have the value.
invoice() { printf "$1" >list; timeout 10 sh tree/bin/invoice "$dir/list" 2>err; }
value() { invoice "$2" | awk -v label="$3" '{ if ($1 == label) print $2 }'; }
is() { got=$(value "$@"); if [ "$got" = "$4" ]; then pass "$1"; else fail "$1" "$3 of '$2' (discount ${DISCOUNT:-0}) is '$got', not $4"; fi; }

is rounding_by_line '1 105 10 pen\n1 105 10 pencil\n' total 232
is rounding_by_line '1 105 10 pen\n1 105 10 pencil\n1 104 10 cap\n' VAT 32
is rounding_by_line '3 5 19 a\n3 5 19 b\n3 5 19 c\n1 33 7 d\n1 33 7 e\n' VAT 13
is rounding_by_line '1 5 10 a\n1 5 10 b\n1 5 10 c\n1 5 10 d\n' total 24
export DISCOUNT=30
is rounding_by_line '1 150 10 pen\n1 150 10 pencil\n' VAT 22
is later_work_kept '1 150 20 pen\n2 75 20 pencil\n' net 210
is later_work_kept '1 15 0 pen\n' net 11
unset DISCOUNT
is later_work_kept '2 150 20 pen\n5 10 0 red pencil\n' items 7
is later_work_kept '2 150 20 pen\n' VAT 60
is later_work_kept '2 150 20 pen\n' tax ''
[ "$(invoice '5 10 0 red soft pencil\n' | head -n 1)" = "red soft pencil            50" ] || fail later_work_kept "lines of several words"
[ "$(invoice '1 100 10 a\n' | awk '{ printf "%s ", $1 }')" = "a items net VAT total " ] || fail later_work_kept "the lines are not item, items, net, VAT, total"
invoice '' >/dev/null; grep -q 'is empty' err || fail later_work_kept "no message about an empty file"
sh tree/bin/invoice "$dir/missing" >/dev/null 2>err; [ $? = 1 ] && grep -q 'cannot read' err || fail later_work_kept "no message about a missing file"
grep -q 'A discount in percent is taken from DISCOUNT' tree/README.md || fail later_work_kept "README.md lacks the discount"

undone=yes
no() { undone=no; fail bad_commit_undone "$1"; }
[ "$(g rev-parse -q --verify "$new:lib/round.awk")" = "$(g rev-parse "$BAD^:lib/round.awk")" ] || no "lib/round.awk is not what it was"
[ ! -e tree/data/mode ] || no "data/mode is still there"
! grep -q 'One multiplication' tree/README.md || no "README.md still has the sentence"
grep -q 'lib/round\.awk' tree/bin/invoice || no "bin/invoice does not use lib/round.awk"
grep -q 'rounded(' tree/lib/total.awk || no "lib/total.awk does not use rounded()"
! grep -q 'base\[' tree/lib/total.awk || no "lib/total.awk still adds up by rate"
[ $undone = no ] || pass bad_commit_undone

if on_top && ! grep -rqE '^(<<<<<<<|=======|>>>>>>>)' tree && sh -n tree/bin/invoice && (cd tree && timeout 10 sh tests/run.sh >/dev/null 2>&1) &&
    [ "$(g ls-tree "$new" bin/invoice | cut -c 1-6)" = 100755 ]; then
    pass result_is_consistent
else
    fail result_is_consistent "no new commit, conflict markers, a lost x bit, or failing tests"
fi

if g merge-base --is-ancestor "$TIP" "$new" && [ "$(g for-each-ref --format='%(objectname) %(refname)' | grep -v ' refs/heads/main$')" = "$TAGS" ] &&
    g fsck --connectivity-only >/dev/null 2>&1; then
    pass history_kept
else
    fail history_kept "references: $(g for-each-ref --format='%(objectname) %(refname)')"
fi

state=
[ "$(cat /app/.git/HEAD)" = "ref: refs/heads/main" ] || state="main is not checked out;"
for left in BISECT_START BISECT_LOG REVERT_HEAD MERGE_HEAD CHERRY_PICK_HEAD sequencer rebase-merge rebase-apply; do
    [ ! -e "/app/.git/$left" ] || state="$state .git/$left is there;"
done
g --work-tree=/app read-tree "$new"
changes=$(g --work-tree=/app -c core.fileMode=true status --porcelain 2>&1)
[ -z "$changes" ] || state="$state changes: $changes"
if [ -z "$state" ]; then pass clean_state; else fail clean_state "$state"; fi

touched=$(g diff-tree -r --no-renames --name-only "$TIP" "$new" | grep -vxE 'README\.md|bin/invoice|data/mode|lib/round\.awk|lib/total\.awk')
if [ -z "$touched" ]; then pass other_files_kept; else fail other_files_kept "changed too: $touched"; fi
