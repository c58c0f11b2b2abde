#!/bin/sh
# Takes every record whose checksum is right, wherever it begins, and sorts by sequence number.
set -e
cat > codec.py <<'PY'
"""Records as bytes."""
import base64
import struct
import zlib

HEADER = struct.Struct("<4sHHQ")
MARKER = b"\xa5\x5a"
PUT, DELETE, BATCH, COMPRESSED = 1, 2, 3, 128
NAMES = {PUT: "put", DELETE: "delete", BATCH: "batch"}


class Damaged(Exception):
    pass


class Reader:
    """Takes things from bytes and never beyond their end."""

    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, count):
        if count > self.end - self.at:
            raise Damaged("ends early")
        self.at += count
        return self.data[self.at - count:self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise Damaged("number too long")

    def blob(self):
        return self.take(self.varint())

    def key(self):
        try:
            return self.blob().decode("utf-8")
        except UnicodeDecodeError:
            raise Damaged("key is not text")

    def entry(self, kind):
        if kind not in (PUT, DELETE):
            raise Damaged("unknown type")
        entry = {"type": NAMES[kind], "key": self.key()}
        if kind == PUT:
            value = self.blob()
            try:
                entry["value"] = value.decode("utf-8")
            except UnicodeDecodeError:
                entry["value"] = {"base64": base64.b64encode(value).decode()}
        return entry


def checksum(data):
    c = zlib.crc32(data)
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def decode(kind, payload):
    """Record and milliseconds."""
    if kind & COMPRESSED:
        try:
            payload = zlib.decompress(payload)
        except zlib.error:
            raise Damaged("not compressed")
    kind &= ~COMPRESSED
    reader = Reader(payload)
    time = reader.varint()
    if kind == BATCH:
        record = {"type": "batch", "entries": [reader.entry(reader.byte()) for _ in range(reader.varint())]}
    else:
        record = reader.entry(kind)
    if reader.at != reader.end:
        raise Damaged("too long")
    return record, time


def read_record(data, at, last):
    """The record at an offset, if it is intact, as (record, milliseconds, offset behind it)."""
    reader = Reader(data, at)
    if reader.take(2) != MARKER:
        raise Damaged("no marker")
    kind = reader.byte()
    if kind & ~COMPRESSED not in NAMES:
        raise Damaged("unknown type")
    seq = struct.unpack("<I", reader.take(4))[0]
    if seq <= last:
        raise Damaged("not new")
    payload = reader.blob()
    end = reader.at
    if struct.unpack("<I", reader.take(4))[0] != checksum(memoryview(data)[at + 2:end]):
        raise Damaged("wrong checksum")
    record, time = decode(kind, payload)
    record.update(seq=seq, offset=at)
    return record, time, reader.at
PY
cat > recover.py <<'PY'
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
            record, time, end = read_record(data, at, 0)
        except Damaged:
            at += 1
            continue
        if at > behind:
            damaged.append([behind, at])
        record["time"] = base + time
        records.append(record)
        for entry in record.get("entries", [record]):
            if entry["type"] == "put":
                state[entry["key"]] = entry["value"]
            else:
                state.pop(entry["key"], None)
        at += 2
        behind = max(behind, end)
    records = sorted({r["seq"]: r for r in reversed(records)}.values(), key=lambda r: r["seq"])
    seqs = [0] + [r["seq"] for r in records]
    lost = [[a + 1, b - 1] for a, b in zip(seqs, seqs[1:]) if b > a + 1]
    if behind < len(data):
        damaged.append([behind, len(data)])
    return {"records": records, "state": state, "damaged": damaged, "lost": lost}


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        result = recover(f.read())
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
PY
python3 recover.py journal.bin recovered.json
