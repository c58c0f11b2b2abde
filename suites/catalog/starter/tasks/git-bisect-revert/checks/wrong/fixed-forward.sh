#!/bin/sh
# Repairs the arithmetic in a new commit and leaves the rest of the bad commit in place.
set -e
sed -i -e 's/^    base\[rate\] += net$/    taxes += int(net * rate \/ 100 + 0.5)/' -e '/for (rate in base)/d' lib/total.awk
git commit -q -a -m "Round the tax line by line"
