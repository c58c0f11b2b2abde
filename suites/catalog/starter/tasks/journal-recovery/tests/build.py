"""Writes journals, intact and damaged, and knows what has to come out."""
import base64
import struct
import zlib

BASE = 1700000000000


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def blob(b):
    return varint(len(b)) + b


def frame(kind, seq, payload, packed=False):
    if packed:
        payload, kind = zlib.compress(payload), kind + 128
    body = bytes([kind]) + struct.pack("<I", seq) + varint(len(payload)) + payload
    c = zlib.crc32(body)
    return b"\xa5\x5a" + body + struct.pack("<I", ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def shown(b):
    try:
        return b.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(b).decode()}


class Journal:
    def __init__(self):
        self.data = bytearray(struct.pack("<4sHHQ", b"JRNL", 3, 0, BASE))
        self.records, self.state, self.damaged, self.seq, self.ends = [], {}, [], 0, []

    def make(self, ops, batch=False, packed=False, seq=None):
        """Bytes and meaning of the next record; ops are (key,) or (key, value)."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        time = seq * 37
        entries = [{"type": "put", "key": o[0], "value": shown(o[1])} if len(o) == 2 else {"type": "delete", "key": o[0]} for o in ops]
        parts = [b"".join(map(blob, (o[0].encode(),) + tuple(o[1:]))) for o in ops]
        kinds = [3 - len(o) for o in ops]
        if batch:
            kind, body = 3, varint(len(ops)) + b"".join(bytes([k]) + p for k, p in zip(kinds, parts))
            record = {"type": "batch", "entries": entries}
        else:
            kind, body, record = kinds[0], parts[0], dict(entries[0])
        record.update(seq=seq, time=BASE + time)
        return frame(kind, seq, varint(time) + body, packed), record, entries

    def add(self, *ops, **more):
        raw, record, entries = self.make(ops, **more)
        record["offset"] = len(self.data)
        self.data += raw
        self.records.append(record)
        for e in entries:
            if e["type"] == "put":
                self.state[e["key"]] = e["value"]
            else:
                self.state.pop(e["key"], None)
        return self

    def junk(self, raw):
        begin = len(self.data)
        self.data += raw
        if raw and self.damaged and self.damaged[-1][1] == begin:
            self.damaged[-1][1] = len(self.data)
        elif raw:
            self.damaged.append([begin, len(self.data)])
        return self

    def spoiled(self, *ops, how, **more):
        return self.junk(how(self.make(ops, **more)[0]))

    def expected(self):
        seqs = [0] + [r["seq"] for r in self.records]
        lost = [[a + 1, b - 1] for a, b in zip(seqs, seqs[1:]) if b > a + 1]
        return {"records": self.records, "state": self.state, "damaged": self.damaged, "lost": lost}


def flip(at, mask=1):
    def change(raw):
        raw = bytearray(raw)
        raw[at] ^= mask
        return bytes(raw)
    return change


def given():
    """The journal of the task."""
    j = Journal()
    for i in range(12):
        j.add(("user:%d" % i, b"name %d" % i))
    j.add(("logo", b"\x89PNG\xff\xa5\x5a\x01\x00"))
    early = bytes(j.data[16:200])
    j.add(("user:3",)).add(("a", b"1"), ("user:4",), ("b", "\u00e9".encode()), batch=True)
    j.add(("trap", b"copy: " + frame(1, 999, varint(5) + blob(b"ghost") + blob(b"boo")) + b"!"))
    j.spoiled(("user:5", b"changed"), how=flip(7, 0x40))
    for i in range(8):
        j.add(("doc:%d" % i, b"lorem ipsum " * (i + 3)), packed=i % 2 == 0)
    j.spoiled(("backup", early), how=flip(-1))
    j.spoiled(("user:6",), how=flip(12))
    j.add(("user:7",), ("user:8", b"\xff\xfe"), batch=True, packed=True)
    j.junk(bytes(64))
    for i in range(20):
        j.add(("n%d" % (i % 7), b"%d" % i))
    j.junk(early[:90])
    j.spoiled(("x", b"y" * 300), how=lambda raw: raw[:120])
    while j.seq < 60:
        j.add(("z%d" % j.seq, b"v" * (j.seq * 5)))
    j.spoiled(("end", b"unfinished" * 9), how=lambda raw: raw[:-20])
    return j


def sample():
    j = Journal()
    j.add(("a", b"1")).add(("b", "zwei \u00fc".encode()), packed=True).add(("a",)).add(("c", b"3"), ("b",), ("d", b""), batch=True)
    return j
