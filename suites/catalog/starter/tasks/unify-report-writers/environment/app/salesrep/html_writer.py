"""The report as an HTML table, for the intranet."""
from .errors import ReportError


def _cents_of(text):
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


def _units_of(text):
    text = text.strip()
    if not text.isdigit():
        raise ValueError("bad quantity")
    return int(text)


def _escape(text):
    text = text.replace("&", "&amp;")
    text = text.replace("<", "&lt;")
    text = text.replace(">", "&gt;")
    return text


def _amount(cents):
    sign = ""
    if cents < 0:
        sign = "-"
        cents = -cents
    return sign + "{:,}".format(cents // 100).replace(",", "&nbsp;") + ".%02d" % (cents % 100)


def _percentage(part, whole):
    if whole == 0:
        return "0.0"
    tenths = (abs(part) * 2000 + abs(whole)) // (abs(whole) * 2)
    sign = ""
    if (part < 0) != (whole < 0) and tenths != 0:
        sign = "-"
    return sign + str(tenths // 10) + "." + str(tenths % 10)


def write_html(orders):
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
        region = fields[1].strip().title()
        try:
            quantity = _units_of(fields[3])
            cents = _cents_of(fields[4])
        except ValueError as e:
            raise ReportError("line %d: %s" % (number, e))
        if region == "":
            region = "Unassigned"
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
        names.append(region)
    names.sort(key=lambda name: (-regions[name][1], name))
    rows = ["<table>", "<tr><th>Region</th><th>Units</th><th>Revenue</th><th>Share</th></tr>"]
    for name in names:
        units, cents = regions[name]
        css = ""
        if cents < 0:
            css = ' class="loss"'
        rows.append("<tr%s><td>%s</td><td>%d</td><td>%s</td><td>%s %%</td></tr>"
                    % (css, _escape(name), units, _amount(cents), _percentage(cents, whole)))
    rows.append("<tr><th>Total</th><th></th><th>%s</th><th></th></tr>" % _amount(whole))
    rows.append("</table>")
    return "\n".join(rows) + "\n"
