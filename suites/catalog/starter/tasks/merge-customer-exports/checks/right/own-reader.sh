#!/bin/sh
# A reader of its own instead of the csv module, and merging by groups.
set -e
cat > normalise.py <<'PY'
import datetime
import itertools
import json
import re
import sys


def parse(text, delimiter):
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    row, field, quoted, line, start, i = [], [], False, 1, 1, 0
    was_quoted = False
    while i < len(text):
        c = text[i]
        line += c == "\n"
        if quoted:
            if c == '"' and text[i + 1:i + 2] == '"':
                field.append(c)
                i += 1
            elif c == '"':
                quoted = False
            else:
                field.append(c)
        elif c == '"' and not field and not was_quoted:
            quoted = was_quoted = True
        elif c in (delimiter, "\n"):
            row.append("".join(field).strip())
            field, was_quoted = [], False
            if c == "\n":
                yield start, row
                row, start = [], line
        else:
            field.append(c)
        i += 1
    if row or field or was_quoted:
        yield start, row + ["".join(field).strip()]


def as_date(text, order):
    if text == "":
        return None
    widths = {"y": r"(?P<y>[0-9]{4})", "m": r"(?P<m>[0-9]{1,2})", "d": r"(?P<d>[0-9]{1,2})"}
    m = re.fullmatch("[-./]".join(widths[k] for k in order), text)
    return datetime.date(int(m["y"]), int(m["m"]), int(m["d"])).isoformat()


def as_cents(text, decimal):
    if text == "":
        return None
    group = {".": ",", ",": "."}[decimal]
    m = re.fullmatch(r"(-?)([0-9%s'\s]+)(?:\%s([0-9]{1,2}))?(-?)" % (group, decimal), text)
    if m[1] and m[4]:
        raise ValueError
    cents = int("".join(re.findall("[0-9]", m[2]))) * 100 + int(((m[3] or "") + "00")[:2])
    return -cents if m[1] or m[4] else cents


def as_phone(text):
    if text.startswith("00"):
        text = "+" + text[2:]
    return text[:1].replace("+", "+") * (text[:1] == "+") + "".join(re.findall("[0-9]", text)) or None


def convert(get, source):
    try:
        reason = "id"
        ident = int(re.fullmatch("(?:[cC]-)?([0-9]+)", get("id"))[1])
        reason = "date"
        updated, joined = as_date(get("updated"), source["date"]), as_date(get("joined"), source["date"])
        if updated is None:
            raise ValueError
        reason = "balance"
        cents = as_cents(get("balance"), source["decimal"])
    except (TypeError, ValueError):
        return reason, None
    return None, {"id": ident, "name": re.sub(r"\s+", " ", get("name")) or None, "email": get("email").lower() or None,
                  "phone": as_phone(get("phone")), "joined": joined, "balance_cents": cents, "updated": updated, "note": get("note")}


def main(folder, output):
    sources = json.loads(open(folder + "/sources.json", "rb").read().decode())
    rejected, found = [], []
    for source in sources:
        text = open(folder + "/" + source["file"], "rb").read().decode(source["encoding"])
        lines = parse(text, source["delimiter"])
        header = [h.strip().lower() for h in next(lines)[1]]
        for line, row in lines:
            if not any(row):
                continue

            def get(field):
                want = source["columns"].get(field, "\0").strip().lower()
                return next((v for h, v in zip(header, row) if h == want and v), "")

            reason, record = ("fields", None) if len(row) != len(header) else convert(get, source)
            if reason:
                rejected.append({"file": source["file"], "line": line, "reason": reason})
            else:
                found.append((record, source["file"]))
    found.sort(key=lambda r: (r[0]["id"], r[0]["updated"]))
    customers = []
    for ident, group in itertools.groupby(found, key=lambda r: r[0]["id"]):
        group = list(group)
        merged = {k: None for k in group[0][0] if k != "note"}
        for record, _ in group:
            for k in merged:
                if record[k] is not None:
                    merged[k] = record[k]
        merged["notes"] = list(dict.fromkeys(r["note"] for r, _ in group if r["note"]))
        merged["sources"] = [s["file"] for s in sources if any(s["file"] == f for _, f in group)]
        customers.append(merged)
    with open(output, "wb") as f:
        f.write(json.dumps({"customers": customers, "rejected": rejected}).encode())


main(*sys.argv[1:])
PY
python3 normalise.py exports customers.json
