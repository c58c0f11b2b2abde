#!/bin/sh
# make-repo.sh FOLDER: builds the repository, always with the same hashes.
set -e
export HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 LC_ALL=C
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
umask 022
mkdir -p "$1" && cd "$1"
git -c init.defaultBranch=main init -q .
git config user.name "Dev Eloper" && git config user.email dev@example.com
git config core.autocrlf false
mkdir bin lib tests data
clock=1700000000
# save AUTHOR MESSAGE: commits everything, an hour after the one before.
save() {
    clock=$((clock + 3600))
    export GIT_AUTHOR_NAME="$1" GIT_AUTHOR_EMAIL="$(echo "$1" | tr 'A-Z' 'a-z')@example.com" GIT_AUTHOR_DATE="$clock +0100"
    export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL" GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE"
    git add -A
    git commit -q -m "$2"
}
rates() { echo "$1" >>data/rates.txt; save "$2" "data: rate $1"; }

cat >bin/invoice <<'X'
#!/bin/sh
# invoice FILE: prints an invoice. Lines of FILE: QUANTITY PRICE-IN-CENTS TAX-PERCENT NAME
here=$(cd "$(dirname "$0")/.." && pwd)
exec awk -f "$here/lib/round.awk" -f "$here/lib/total.awk" "$1"
X
chmod 755 bin/invoice
cat >lib/round.awk <<'X'
# Half cents go up, as the tax office wants it.
function rounded(x) { return int(x + 0.5) }
X
cat >lib/total.awk <<'X'
/^#/ || NF < 4 { next }
{
    net = $1 * $2
    tax = rounded(net * $3 / 100)
    sum += net
    taxes += tax
    printf "%-12s %8d\n", $4, net
}
END {
    printf "%-12s %8d\n", "net", sum
    printf "%-12s %8d\n", "tax", taxes
    printf "%-12s %8d\n", "total", sum + taxes
}
X
echo "# invoice" >README.md
save Ann "invoice: first version"
cat >tests/run.sh <<'X'
#!/bin/sh
# Totals of small invoices.
cd "$(dirname "$0")/.." || exit 1
file=$(mktemp)
failed=0
total() {
    printf "$1" >"$file"
    got=$(sh bin/invoice "$file" | awk '$1 == "total" { print $2 }')
    [ "$got" = "$2" ] || { echo "total of '$1' is $got, not $2"; failed=1; }
}
total '2 100 10 pen\n' 220
total '1 1000 19 book\n# note\n3 50 0 card\n' 1340
total '' 0
rm -f "$file"
[ $failed = 0 ] && echo ok
exit $failed
X
save Ann "tests: totals of small invoices"
printf '\nPrints invoices from plain lists:\n\n    2 100 10 pen\n\nmeans 2 pens at 100 cents with a tax of 10 percent.\n' >>README.md
save Bob "readme: the format"
git tag v1.0
rates "0 none" Ann
rates "5 food" Bob
rates "19 normal" Bob
sed -i 's|^exec awk|[ -r "$1" ] \|\| { echo "invoice: cannot read $1" >\&2; exit 1; }\nexec awk|' bin/invoice
save Cy "cli: say when the file cannot be read"
sed -i 's/net = \$1 \* \$2/quantity = $1; price = $2; rate = $3; name = $4\n    net = quantity * price/; s/net \* \$3/net * rate/; s/\$4, net/name, net/' lib/total.awk
save Cy "total: names for the fields"
sed -i 's/|| NF < 4 {/|| NF < 4 /' lib/total.awk
save Bob "total: shorten the filter"
rates "7 books" Ann
sed -i 's/|| NF < 4  next }/|| NF < 4 { next }/' lib/total.awk
save Bob "total: repair the filter"
rates "20 north" Cy
sed -i 's/name = \$4$/name = $4; for (i = 5; i <= NF; i++) name = name " " $i/; s/%-12s/%-20s/' lib/total.awk
save Ann "total: names of several words"
rates "21 west" Bob

# A side branch on which the error comes in, between two harmless commits.
git checkout -q -b tidy
echo "100 1 19 screw" >data/sample.txt
save Cy "data: a sample"
cat >bin/invoice <<'X'
#!/bin/sh
# invoice FILE: prints an invoice. Lines of FILE: QUANTITY PRICE-IN-CENTS TAX-PERCENT NAME
here=$(cd "$(dirname "$0")/.." && pwd)
[ -r "$1" ] || { echo "invoice: cannot read $1" >&2; exit 1; }
exec awk -f "$here/lib/total.awk" "$1"
X
rm lib/round.awk
sed -i -e 's/^    tax = .*/    base[rate] += net/' -e '/^    taxes += tax/d' -e 's/^END {/END {\n    for (rate in base) taxes += int(base[rate] * rate \/ 100 + 0.5)/' lib/total.awk
printf '\nOne multiplication per tax rate is enough, however long the list is.\n' >>README.md
echo "simple" >data/mode
save Cy "total: less arithmetic"
mkdir -p doc
printf 'Run tests/run.sh before you send a change.\n' >doc/contributing.md
save Cy "doc: contributing"
git checkout -q main
rates "23 east" Ann
rates "25 south" Bob
clock=$((clock + 60))
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.com GIT_AUTHOR_DATE="$clock +0100"
export GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.com GIT_COMMITTER_DATE="$clock +0100"
git merge -q --no-ff -m "Merge branch 'tidy'" tidy
git branch -q -d tidy

rates "8 books-south" Bob
sed -i 's/^    net = quantity \* price$/    net = quantity * price * (100 - discount) \/ 100\n    net = int(net + 0.5)/; s/^    base\[rate\] += net$/    base[rate] += net\n    items += quantity/' lib/total.awk
sed -i 's/^exec awk/exec awk -v discount="${DISCOUNT:-0}"/' bin/invoice
save Ann "total: a discount in percent, and the number of items"
rates "10 food-south" Ann
sed -i 's/"tax", taxes/"VAT", taxes/; s/^END {/END {\n    printf "%-20s %8d\\n", "items", items/' lib/total.awk
save Bob "total: print the items, and call the tax VAT"
printf 'A discount in percent is taken from DISCOUNT in the environment.\n' >>README.md
save Ann "readme: discounts"
git tag -a -m "Release 1.1" v1.1
rates "12 hotels" Cy
sed -i 's/^exec awk/[ -s "$1" ] || echo "invoice: $1 is empty" >\&2\nexec awk/' bin/invoice
save Cy "cli: say when the file is empty"
rates "13 hotels-north" Bob
rates "14 hotels-west" Bob
echo "Please keep lines short." >>doc/contributing.md
save Ann "doc: line length"
