#!/bin/sh
# One reader for all: a bad line is now an error in the CSV report too.
set -e
rm salesrep/legacy_totals.py
cat > salesrep/orders.py <<'PY'
"""Reading of order files and the figures made of them."""
from .errors import ReportError


def _quantity(text):
    if not text.strip().isdigit():
        raise ValueError("bad quantity")
    return int(text)


def _cents(text):
    text = text.strip()
    sign = 1
    if text.startswith("-"):
        sign, text = -1, text[1:]
    whole, fraction = text.split(".", 1) if "." in text else (text, "00")
    if not whole.isdigit() or not fraction.isdigit() or len(fraction) > 2:
        raise ValueError("bad price")
    return sign * (int(whole) * 100 + int(fraction.ljust(2, "0")))


def totals(orders, nameless, name=str):
    """Maps each region to [units, cents]."""
    regions = {}
    for number, line in enumerate(orders.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        fields = line.split(";")
        try:
            if len(fields) != 5:
                raise ValueError("expected 5 fields, found %d" % len(fields))
            units, price = _quantity(fields[3]), _cents(fields[4])
        except ValueError as e:
            raise ReportError("line %d: %s" % (number, e))
        entry = regions.setdefault(name(fields[1].strip()) or nameless, [0, 0])
        entry[0] += units
        entry[1] += units * price
    return regions


def revenue(regions):
    return sum(cents for _, cents in regions.values())


def best_first(regions):
    return sorted(regions, key=lambda name: (-regions[name][1], name))


def money(cents, separator=""):
    whole = "{:,}".format(abs(cents) // 100).replace(",", separator)
    return "%s.%02d" % (whole, abs(cents) % 100)


def signed_money(cents, separator=""):
    return ("-" if cents < 0 else "") + money(cents, separator)


def share(part, whole):
    if whole == 0:
        return "0.0"
    tenths = (abs(part) * 2000 + abs(whole)) // (abs(whole) * 2)
    sign = "-" if (part < 0) != (whole < 0) and tenths else ""
    return "%s%d.%d" % (sign, tenths // 10, tenths % 10)
PY
cat > salesrep/csv_writer.py <<'PY'
"""The report as CSV, for the warehouse's import."""
from .orders import revenue, share, signed_money, totals


def _quote(field):
    if "," in field or '"' in field:
        return '"' + field.replace('"', '""') + '"'
    return field


def write_csv(orders):
    regions = totals(orders, "unassigned")
    whole = revenue(regions)
    rows = ["region,units,revenue,share"]
    for name, (units, cents) in sorted(regions.items()):
        rows.append(",".join([_quote(name), str(units), signed_money(cents), share(cents, whole)]))
    return "\r\n".join(rows) + "\r\n"
PY
cat > salesrep/text_writer.py <<'PY'
"""The report as plain text, for mail. Regions without revenue are left out."""
from .orders import best_first, money, revenue, share, totals


def _money(cents):
    return ("(%s)" if cents < 0 else "%s") % money(cents, ",")


def write_text(orders):
    regions = totals(orders, "(none)")
    whole = revenue(regions)
    lines = []
    for name in best_first(regions):
        units, cents = regions[name]
        if cents != 0:
            lines.append("%-16s %6d %14s %6s%%" % (name, units, _money(cents), share(cents, whole)))
    return "\n".join(["SALES BY REGION", ""] + (lines or ["no sales"]) + ["", "total " + _money(whole)]) + "\n"
PY
cat > salesrep/html_writer.py <<'PY'
"""The report as an HTML table, for the intranet. Regions are title-cased."""
from html import escape

from .orders import best_first, revenue, share, signed_money, totals

_ROW = "<tr%s><td>%s</td><td>%d</td><td>%s</td><td>%s %%</td></tr>"


def write_html(orders):
    regions = totals(orders, "Unassigned", name=str.title)
    whole = revenue(regions)
    rows = ["<table>", "<tr><th>Region</th><th>Units</th><th>Revenue</th><th>Share</th></tr>"]
    for name in best_first(regions):
        units, cents = regions[name]
        css = ' class="loss"' if cents < 0 else ""
        rows.append(_ROW % (css, escape(name, quote=False), units, signed_money(cents, "&nbsp;"), share(cents, whole)))
    rows.append("<tr><th>Total</th><th></th><th>%s</th><th></th></tr>" % signed_money(whole, "&nbsp;"))
    rows.append("</table>")
    return "\n".join(rows) + "\n"
PY
