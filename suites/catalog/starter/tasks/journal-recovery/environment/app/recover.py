"""Reads a journal up to the first damage."""
import json
import sys
import zlib

from codec import BATCH, COMPRESSED, HEADER, NAMES, PUT, Damaged, read_record, varint


def text(data, at):
    length, at = varint(data, at)
    return data[at:at + length].decode("utf-8"), at + length


def entry(kind, data, at):
    result = {"type": NAMES[kind]}
    result["key"], at = text(data, at)
    if kind == PUT:
        result["value"], at = text(data, at)
    return result, at


def decode(kind, payload, base):
    if kind & COMPRESSED:
        payload = zlib.decompress(payload)
        kind -= COMPRESSED
    time, at = varint(payload, 0)
    if kind == BATCH:
        count, at = varint(payload, at)
        entries = []
        for _ in range(count):
            one, at = entry(payload[at], payload, at + 1)
            entries.append(one)
        result = {"type": "batch", "entries": entries}
    else:
        result, at = entry(kind, payload, at)
    result["time"] = base + time
    return result


def main(journal, output):
    with open(journal, "rb") as f:
        data = f.read()
    base = HEADER.unpack_from(data)[3]
    records, state, at = [], {}, HEADER.size
    while at < len(data):
        try:
            kind, seq, payload, end = read_record(data, at)
        except (Damaged, IndexError) as e:
            print("stopped: %s" % e, file=sys.stderr)
            break
        record = decode(kind, payload, base)
        record.update(seq=seq, offset=at)
        records.append(record)
        for one in record.get("entries", [record]):
            if one["type"] == "put":
                state[one["key"]] = one["value"]
            else:
                state.pop(one["key"], None)
        at = end
    with open(output, "w") as f:
        json.dump({"records": records, "state": state, "damaged": [], "lost": []}, f, indent=1)


main(*sys.argv[1:])
