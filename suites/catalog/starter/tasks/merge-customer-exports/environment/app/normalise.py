"""A first attempt: good enough for plain files."""
import csv
import json
import re
import sys


def read(folder, source):
    with open(folder + "/" + source["file"], encoding="utf-8", errors="replace") as f:
        for line, row in enumerate(csv.DictReader(f, delimiter=source["delimiter"]), 2):
            yield line, {field: row[header] for field, header in source["columns"].items()}


def main(folder, output):
    customers, rejected = {}, []
    with open(folder + "/sources.json") as f:
        sources = json.load(f)
    for source in sources:
        for line, row in read(folder, source):
            if not row["id"].isdigit():
                rejected.append({"file": source["file"], "line": line, "reason": "id"})
                continue
            customers[int(row["id"])] = {
                "id": int(row["id"]),
                "name": row["name"] or None,
                "email": row["email"].lower() or None,
                "phone": re.sub("[^0-9+]", "", row["phone"]) or None,
                "joined": row["joined"] or None,
                "balance_cents": round(float(row["balance"]) * 100),
                "notes": [row["note"]] if row["note"] else [],
                "updated": row["updated"],
                "sources": [source["file"]],
            }
    with open(output, "w") as f:
        json.dump({"customers": [customers[i] for i in sorted(customers)], "rejected": rejected}, f, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
