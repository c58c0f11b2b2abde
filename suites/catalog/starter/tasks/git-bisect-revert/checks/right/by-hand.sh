#!/bin/sh
# Finds the commit by the lines that it removed, undoes its changes by hand and writes the message itself.
set -e
bad=$(git log -S 'rounded(net' --format=%H -n 1 -- lib/total.awk)
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
git checkout -q "$bad^" -- lib/round.awk
git rm -q data/mode
sed -i 's|-f "$here/lib/total.awk"|-f "$here/lib/round.awk" &|' bin/invoice
sed -i -e '/^One multiplication/d' README.md
git commit -q -a -m "Round the tax line by line again" -m "This reverts commit $bad."
