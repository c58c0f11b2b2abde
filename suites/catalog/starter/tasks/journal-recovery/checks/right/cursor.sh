#!/bin/sh
# A generator over offsets, a parser made of small functions, and ranges computed at the end.
set -e
rm codec.py
cat > recover.py <<'PY'
import base64
import json
import struct
import sys
import zlib


def number(b, i):
    n = 0
    for k in range(5):
        n += (b[i + k] & 0x7F) * 128 ** k
        if not b[i + k] & 0x80:
            return n, i + k + 1
    raise ValueError


def piece(b, i):
    n, i = number(b, i)
    if i + n > len(b):
        raise IndexError
    return b[i:i + n], i + n


def item(kind, b, i):
    key, i = piece(b, i)
    one = {"type": {1: "put", 2: "delete"}[kind], "key": str(key, "utf-8")}
    if kind == 1:
        value, i = piece(b, i)
        try:
            one["value"] = str(value, "utf-8")
        except ValueError:
            one["value"] = {"base64": str(base64.b64encode(value), "ascii")}
    return one, i


def meaning(kind, b):
    if kind >= 128:
        b, kind = zlib.decompress(b), kind - 128
    millis, i = number(b, 0)
    if kind == 3:
        count, i = number(b, i)
        entries = []
        while len(entries) < count:
            one, i = item(b[i], b, i + 1)
            entries.append(one)
        one = {"type": "batch", "entries": entries}
    else:
        one, i = item(kind, b, i)
    if i != len(b):
        raise ValueError
    return one, millis


def attempt(data, i, last):
    try:
        kind, seq = struct.unpack_from("<BI", data, i + 2)
        if seq <= last:
            return None
        payload, end = piece(data, i + 7)
        crc = zlib.crc32(data[i + 2:end])
        crc = (((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) % 2 ** 32
        if data[end:end + 4] != struct.pack("<I", crc):
            return None
        one, millis = meaning(kind, payload)
    except (ValueError, IndexError, KeyError, struct.error, zlib.error):
        return None
    return dict(one, seq=seq, offset=i), millis, end + 4


def main(source, target):
    data = open(source, "rb").read()
    base, = struct.unpack_from("<Q", data, 8)
    records, used, state = [], [[0, 16]], {}
    i = 16
    while (i := data.find(b"\xa5\x5a", i)) >= 0:
        found = attempt(data, i, records[-1]["seq"] if records else 0)
        if found is None:
            i += 1
            continue
        record, millis, end = found
        record["time"] = base + millis
        records.append(record)
        used.append([i, end])
        i = end
        for one in record.get("entries") or ([] if record["type"] == "batch" else [record]):
            state[one["key"]] = one.get("value")
            if one["type"] == "delete":
                del state[one["key"]]
    used.append([len(data), 0])
    seqs = [0] + [r["seq"] for r in records]
    result = {
        "records": records, "state": state,
        "damaged": [[a[1], b[0]] for a, b in zip(used, used[1:]) if a[1] < b[0]],
        "lost": [[a + 1, b - 1] for a, b in zip(seqs, seqs[1:]) if b - a > 1],
    }
    with open(target, "w") as f:
        json.dump(result, f)


main(*sys.argv[1:])
PY
python3 recover.py journal.bin recovered.json
