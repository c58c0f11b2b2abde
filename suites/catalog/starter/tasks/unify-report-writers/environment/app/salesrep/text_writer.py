"""The report as plain text, for mail."""
from .errors import ReportError


def _parse_price(text):
    text = text.strip()
    negative = False
    if text.startswith("-"):
        negative = True
        text = text[1:]
    if "." in text:
        whole, fraction = text.split(".", 1)
    else:
        whole, fraction = text, "00"
    if not whole.isdigit() or not fraction.isdigit() or len(fraction) > 2:
        raise ValueError("bad price")
    if len(fraction) == 1:
        fraction = fraction + "0"
    cents = int(whole) * 100 + int(fraction)
    if negative:
        cents = -cents
    return cents


def _parse_quantity(text):
    text = text.strip()
    if not text.isdigit():
        raise ValueError("bad quantity")
    return int(text)


def _money(cents):
    if cents < 0:
        return "({:,}.{:02d})".format(-cents // 100, -cents % 100)
    return "{:,}.{:02d}".format(cents // 100, cents % 100)


def _share(part, whole):
    if whole == 0:
        return "0.0"
    tenths = (abs(part) * 2000 + abs(whole)) // (abs(whole) * 2)
    sign = ""
    if (part < 0) != (whole < 0) and tenths != 0:
        sign = "-"
    return sign + str(tenths // 10) + "." + str(tenths % 10)


def write_text(orders):
    regions = {}
    number = 0
    for line in orders.splitlines():
        number = number + 1
        line = line.strip()
        if line == "" or line.startswith("#"):
            continue
        fields = line.split(";")
        if len(fields) != 5:
            raise ReportError("line %d: expected 5 fields, found %d" % (number, len(fields)))
        region = fields[1].strip()
        try:
            quantity = _parse_quantity(fields[3])
            cents = _parse_price(fields[4])
        except ValueError as e:
            raise ReportError("line %d: %s" % (number, e))
        if region == "":
            region = "(none)"
        if region not in regions:
            regions[region] = [0, 0]
        entry = regions[region]
        entry[0] = entry[0] + quantity
        entry[1] = entry[1] + quantity * cents
    whole = 0
    for region in regions:
        whole = whole + regions[region][1]
    names = []
    for region in regions:
        if regions[region][1] != 0:
            names.append(region)
    names.sort(key=lambda name: (-regions[name][1], name))
    lines = ["SALES BY REGION", ""]
    for name in names:
        units, cents = regions[name]
        lines.append("%-16s %6d %14s %6s%%" % (name, units, _money(cents), _share(cents, whole)))
    if not names:
        lines.append("no sales")
    lines.append("")
    lines.append("total %s" % _money(whole))
    return "\n".join(lines) + "\n"
