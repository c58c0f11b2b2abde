#!/bin/sh
# Shares the small functions and leaves the three reading loops.
set -e
python3 - <<'PY'
import re
def cut(text, name):
    return re.sub(r"def %s\(.*?\n\n\n" % name, "", text, flags=re.S)
text = open("salesrep/text_writer.py").read()
common = "".join(re.search(r"def %s\(.*?\n\n\n" % n, text, flags=re.S).group(0) for n in ("_parse_price", "_parse_quantity", "_share"))
open("salesrep/common.py", "w").write('"""Shared by the writers."""\n\n\n' + common.replace("def _", "def ").rstrip() + "\n")
for file, names in (("text", ("_parse_price", "_parse_quantity", "_share")), ("html", ("_cents_of", "_units_of", "_percentage"))):
    path = "salesrep/%s_writer.py" % file
    text = open(path).read()
    for n, new in zip(names, ("parse_price", "parse_quantity", "share")):
        text = re.sub(r"(?<!\w)%s\(" % n, new + "(", cut(text, n))
    open(path, "w").write(text.replace("from .errors", "from .common import parse_price, parse_quantity, share\nfrom .errors"))
path = "salesrep/csv_writer.py"
text = cut(cut(open(path).read(), "_price_to_cents"), "_quantity").replace("_price_to_cents(", "parse_price(").replace("_quantity(", "parse_quantity(")
text = text.replace("share_of", "share").replace("from .legacy_totals import Totals, share", "from .common import parse_price, parse_quantity, share")
text = text.replace("totals = Totals()", "regions = {}").replace("totals.add(region, quantity, cents)", "entry = regions.setdefault(region, [0, 0])\n        entry[0] += quantity\n        entry[1] += quantity * cents")
text = text.replace("totals.grand_total()", "sum(r[1] for r in regions.values())").replace("totals.names()", "sorted(regions)")
text = text.replace("totals.quantity(name)", "regions[name][0]").replace("totals.cents(name)", "regions[name][1]")
open(path, "w").write(text)
PY
rm salesrep/legacy_totals.py
