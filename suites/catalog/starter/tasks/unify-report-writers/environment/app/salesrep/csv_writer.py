"""The report as CSV, for the warehouse's import."""
from .legacy_totals import Totals, share_of


def _price_to_cents(text):
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


def _quantity(text):
    text = text.strip()
    if not text.isdigit():
        raise ValueError("bad quantity")
    return int(text)


def _format_money(cents):
    sign = ""
    if cents < 0:
        sign = "-"
        cents = -cents
    return "%s%d.%02d" % (sign, cents // 100, cents % 100)


def _quote(field):
    if "," in field or '"' in field:
        return '"' + field.replace('"', '""') + '"'
    return field


def write_csv(orders):
    totals = Totals()
    skipped = 0
    for line in orders.splitlines():
        line = line.strip()
        if line == "" or line.startswith("#"):
            continue
        fields = line.split(";")
        if len(fields) != 5:
            skipped = skipped + 1
            continue
        region = fields[1].strip()
        try:
            quantity = _quantity(fields[3])
            cents = _price_to_cents(fields[4])
        except ValueError:
            skipped = skipped + 1
            continue
        if region == "":
            region = "unassigned"
        totals.add(region, quantity, cents)
    rows = ["region,units,revenue,share"]
    whole = totals.grand_total()
    for name in totals.names():
        units = totals.quantity(name)
        cents = totals.cents(name)
        rows.append(",".join([_quote(name), str(units), _format_money(cents), share_of(cents, whole)]))
    if skipped > 0:
        rows.append("# skipped," + str(skipped))
    return "\r\n".join(rows) + "\r\n"
