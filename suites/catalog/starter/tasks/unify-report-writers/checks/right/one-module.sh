#!/bin/sh
# The three writer modules go as well: one class reads and adds up, its subclasses hold the differences.
set -e
rm salesrep/legacy_totals.py salesrep/csv_writer.py salesrep/html_writer.py salesrep/text_writer.py
cat > salesrep/report.py <<'PY'
from .errors import ReportError


def parse_price(text):
    text = text.strip()
    negative = text.startswith("-")
    whole, dot, fraction = text[negative:].partition(".")
    if not dot:
        fraction = "00"
    if not (whole.isdigit() and fraction.isdigit() and len(fraction) <= 2):
        raise ValueError("bad price")
    cents = int(whole + (fraction + "0")[:2])
    return -cents if negative else cents


def parse_quantity(text):
    text = text.strip()
    if not text.isdigit():
        raise ValueError("bad quantity")
    return int(text)


class Report:
    nameless = "unassigned"
    thousands = ""

    def __init__(self, orders):
        self.units, self.cents, self.skipped = {}, {}, 0
        for number, line in enumerate(orders.splitlines(), 1):
            line = line.strip()
            if line and line[0] != "#":
                try:
                    self.add(line.split(";"))
                except ValueError as e:
                    self.bad_line("line %d: %s" % (number, e))
        self.whole = sum(self.cents.values())
        self.names = sorted(self.cents, key=lambda n: (-self.cents[n], n))

    def add(self, fields):
        if len(fields) != 5:
            raise ValueError("expected 5 fields, found %d" % len(fields))
        units, cents = parse_quantity(fields[3]), parse_price(fields[4])
        name = self.region(fields[1].strip()) or self.nameless
        self.units[name] = self.units.get(name, 0) + units
        self.cents[name] = self.cents.get(name, 0) + units * cents

    def region(self, name):
        return name

    def bad_line(self, message):
        raise ReportError(message)

    def money(self, cents):
        digits = "{:,}.{:02d}".format(abs(cents) // 100, abs(cents) % 100).replace(",", self.thousands)
        return self.negative(digits) if cents < 0 else digits

    def negative(self, digits):
        return "-" + digits

    def share(self, name):
        part, whole = self.cents[name], self.whole
        if not whole:
            return "0.0"
        tenths = (abs(part) * 2000 + abs(whole)) // (abs(whole) * 2)
        minus = "-" if tenths and (part < 0) != (whole < 0) else ""
        return "%s%d.%d" % (minus, *divmod(tenths, 10))


class Csv(Report):
    def bad_line(self, message):
        self.skipped += 1

    def quote(self, field):
        return '"%s"' % field.replace('"', '""') if set(field) & set(',"') else field

    def __str__(self):
        rows = ["region,units,revenue,share"]
        rows += ["%s,%d,%s,%s" % (self.quote(n), self.units[n], self.money(self.cents[n]), self.share(n))
                 for n in sorted(self.names)]
        if self.skipped:
            rows.append("# skipped,%d" % self.skipped)
        return "".join(row + "\r\n" for row in rows)


class Text(Report):
    nameless = "(none)"
    thousands = ","

    def negative(self, digits):
        return "(" + digits + ")"

    def __str__(self):
        rows = ["%-16s %6d %14s %6s%%" % (n, self.units[n], self.money(self.cents[n]), self.share(n))
                for n in self.names if self.cents[n]]
        return "SALES BY REGION\n\n%s\n\ntotal %s\n" % ("\n".join(rows) or "no sales", self.money(self.whole))


class Html(Report):
    nameless = "Unassigned"
    thousands = "&nbsp;"

    def region(self, name):
        return name.title()

    def __str__(self):
        rows = ["<table>", "<tr><th>Region</th><th>Units</th><th>Revenue</th><th>Share</th></tr>"]
        for n in self.names:
            text = n.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            rows.append("<tr%s><td>%s</td><td>%d</td><td>%s</td><td>%s %%</td></tr>" % (
                ' class="loss"' if self.cents[n] < 0 else "", text, self.units[n], self.money(self.cents[n]), self.share(n)))
        rows.append("<tr><th>Total</th><th></th><th>%s</th><th></th></tr>\n</table>\n" % self.money(self.whole))
        return "\n".join(rows)


WRITERS = {"csv": Csv, "html": Html, "text": Text}
PY
cat > salesrep/__init__.py <<'PY'
from .errors import ReportError
from .report import WRITERS

FORMATS = tuple(WRITERS)


def render(fmt, orders):
    """The sales report for the text of an order file, in one of FORMATS."""
    if fmt not in WRITERS:
        raise ReportError("unknown format: " + fmt)
    return str(WRITERS[fmt](orders))
PY
