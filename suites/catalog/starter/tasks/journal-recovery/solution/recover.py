"""Recovers the intact records of a journal."""
import json
import sys

from codec import HEADER, MARKER, Damaged, read_record


def recover(data):
    base = HEADER.unpack_from(data)[3]
    records, state, damaged, lost = [], {}, [], []
    at = behind = HEADER.size
    last = 0
    while True:
        at = data.find(MARKER, at)
        if at < 0:
            break
        try:
            record, time, end = read_record(data, at, last)
        except Damaged:
            at += 1
            continue
        if at > behind:
            damaged.append([behind, at])
        if record["seq"] > last + 1:
            lost.append([last + 1, record["seq"] - 1])
        record["time"] = base + time
        records.append(record)
        for entry in record.get("entries", [record]):
            if entry["type"] == "put":
                state[entry["key"]] = entry["value"]
            else:
                state.pop(entry["key"], None)
        last, at, behind = record["seq"], end, end
    if behind < len(data):
        damaged.append([behind, len(data)])
    return {"records": records, "state": state, "damaged": damaged, "lost": lost}


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        result = recover(f.read())
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
