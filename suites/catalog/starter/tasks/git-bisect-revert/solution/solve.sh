#!/bin/sh
# Bisects with a script that skips commits where the program does not work, reverts, and resolves the conflicts by hand.
set -e
cat >/tmp/check.sh <<'CHECK'
printf '1 105 10 pen\n1 105 10 pencil\n' >/tmp/list
out=$(sh bin/invoice /tmp/list 2>/dev/null) || exit 125
[ "$(echo "$out" | awk '$1 == "total" { print $2 }')" = 232 ]
CHECK
git bisect start main v1.0 >/dev/null
git bisect run sh /tmp/check.sh >/dev/null
bad=$(git rev-parse refs/bisect/bad)
git bisect reset 2>/dev/null
git revert --no-edit "$bad" >/dev/null 2>&1 || true
cat >lib/total.awk <<'AWK'
/^#/ || NF < 4 { next }
{
    quantity = $1; price = $2; rate = $3; name = $4; for (i = 5; i <= NF; i++) name = name " " $i
    net = quantity * price * (100 - discount) / 100
    net = int(net + 0.5)
    tax = rounded(net * rate / 100)
    items += quantity
    sum += net
    taxes += tax
    printf "%-20s %8d\n", name, net
}
END {
    printf "%-20s %8d\n", "items", items
    printf "%-20s %8d\n", "net", sum
    printf "%-20s %8d\n", "VAT", taxes
    printf "%-20s %8d\n", "total", sum + taxes
}
AWK
for file in README.md bin/invoice; do git checkout --ours -q -- "$file"; done
sed -i '/^One multiplication/d' README.md
sed -i 's|-f "$here/lib/total.awk"|-f "$here/lib/round.awk" -f "$here/lib/total.awk"|' bin/invoice
git add -A
git -c core.editor=true revert --continue >/dev/null
