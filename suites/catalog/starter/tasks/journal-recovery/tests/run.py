import json
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, "/tests")
from build import Journal, blob, flip, frame, given, sample, varint
from ctrf import BASE, copy_of_project, main, same

ROOT = copy_of_project()


def recover(data, timeout=15):
    folder = tempfile.mkdtemp()
    with open(folder + "/j", "wb") as f:
        f.write(data)
    try:
        p = subprocess.run([sys.executable, "-S", "-B", "recover.py", folder + "/j", folder + "/out"], cwd=ROOT, timeout=timeout,
                           stdin=subprocess.DEVNULL, capture_output=True)
    except subprocess.TimeoutExpired:
        raise AssertionError("takes longer than %d s" % timeout)
    assert p.returncode == 0, "exit %d: %s" % (p.returncode, p.stderr.decode(errors="replace")[-300:])
    with open(folder + "/out", encoding="utf-8") as f:
        return json.load(f)


def agrees(journal, timeout=15):
    compare(recover(bytes(journal.data), timeout), journal.expected())


def compare(got, want):
    same([r["seq"] for r in got["records"]], [r["seq"] for r in want["records"]], "sequence numbers:")
    for g, w in zip(got["records"], want["records"]):
        same(g, w)
    for key in ("damaged", "lost", "state"):
        same(got[key], want[key], key + ":")
    same(sorted(got), sorted(want))


def intact_journal():
    agrees(sample())
    agrees(Journal())


def result_is_written():
    with open(os.path.join(BASE, "recovered.json"), encoding="utf-8") as f:
        compare(json.load(f), given().expected())


def given_journal():
    agrees(given())


def journal_unchanged():
    with open(os.path.join(BASE, "journal.bin"), "rb") as f:
        same(f.read() == bytes(given().data), True, "journal.bin is unchanged:")


def some(j, count=4):
    for i in range(count):
        j.add(("k%d" % i, b"v%d" % j.seq))
    return j


def damaged_length():
    for how in (flip(7), flip(7, 0x80), flip(7, 0x60), lambda raw: raw[:7] + b"\xff\xff\xff\xff\x0f" + raw[8:], lambda raw: raw[:7] + b"\xff" * 11 + raw[8:]):
        j = some(Journal())
        agrees(some(j.spoiled(("x", b"value"), how=how)))


def damaged_anywhere():
    size = len(Journal().make([("x", b"value")])[0])
    for at in range(size):
        j = some(Journal(), 2)
        agrees(some(j.spoiled(("x", b"value"), how=flip(at, 0x11)), 2))


def damaged_first_and_last():
    j = Journal().spoiled(("x", b"1"), how=flip(9))
    some(j)
    agrees(j.spoiled(("x", b"2"), how=flip(-2)))


def file_ends_early():
    j = some(Journal())
    raw = j.make([("x", b"some value")])[0]
    for cut in range(1, len(raw)):
        k = some(Journal())
        agrees(k.junk(raw[:cut]))
    for size in (16, 17, 18, 20):
        same(recover(bytes(j.data[:size]))["damaged"], [] if size == 16 else [[16, size]])


def markers_in_payloads():
    j = Journal().add(("m", b"\xa5\x5a" * 5)).add(("\u00a5Z", b"\xa5"))
    j.spoiled(("m", b"\xa5\x5a" * 9), how=flip(-1))
    agrees(some(j.junk(b"\xa5\x5a\xa5")))


def records_inside_records():
    inner = frame(1, 500, varint(1) + blob(b"ghost") + blob(b"1"))
    j = some(Journal()).add(("copy", inner + inner)).add(("copy2", inner), ("z", b"1"), batch=True)
    agrees(some(j))


def copies_of_earlier_parts():
    j = some(Journal(), 6)
    old = bytes(j.data[16:])
    j.spoiled(("copy", old), how=flip(-1))
    some(j)
    j.junk(old + old[:11])
    agrees(some(j))


def sequence_numbers_must_grow():
    j = some(Journal())
    raw = j.make([("again", b"x")], seq=4)[0]
    j.junk(raw)
    j.add(("jump", b"1"), seq=10)
    j.seq = 10
    j.junk(j.make([("late", b"never seen before")], seq=7)[0])
    agrees(some(j))


def zeros_and_noise():
    rng = random.Random(5)
    j = some(Journal()).junk(bytes(500))
    some(j).junk(bytes(rng.randrange(256) for _ in range(3000)))
    agrees(some(j))


def several_damages_in_a_row():
    j = some(Journal())
    for n in range(5):
        j.spoiled(("x%d" % n, b"v" * n), how=flip(3 + n))
    j.junk(b"\xa5\x5a\x01")
    some(j)
    j.spoiled(("y", b"v"), how=flip(0))
    agrees(some(j))


def payloads_must_decode():
    """Records whose checksum is right and whose payload is not."""
    j = some(Journal())
    t = varint(7)
    bad = [(1, t), (1, t + blob(b"k")), (1, t + blob(b"k") + blob(b"v") + b"x"), (1, t + blob(b"\xff") + blob(b"v")), (1, b""), (2, t + blob(b"k") + blob(b"v")),
           (1, t + blob(b"k") + varint(9) + b"short"), (3, t + varint(2) + b"\x02" + blob(b"k")), (3, t + varint(1) + b"\x04" + blob(b"k")), (4, t + blob(b"k")), (0, t + blob(b"k")),
           (3, t + varint(1) + b"\x03" + varint(0)), (129, t + blob(b"k") + blob(b"v")), (1, b"\x80" * 6 + blob(b"k") + blob(b"v"))]
    for kind, payload in bad:
        j.seq += 1
        j.junk(frame(kind, j.seq, payload))
    j.seq += 1
    j.junk(frame(2, j.seq, t + blob(b"k"), packed=True).replace(b"\x78", b"\x79"))
    agrees(some(j))
    j = some(Journal())
    j.seq += 1
    agrees(some(j.junk(frame(130, j.seq, b"not compressed"))))


def values_that_are_not_text():
    agrees(Journal().add(("k", b"\xff\x00")).add(("k2", b""), packed=True).add(("k", b"\xc3\x28"), ("l", "\u20ac\u0000".encode()), batch=True, packed=True))


def batches_and_state():
    j = Journal().add(("a", b"1"), ("b", b"2"), ("a",), ("c", b"3"), ("a", b"4"), batch=True).add(("none",))
    j.spoiled(("a",), how=flip(5))
    agrees(j.add(("b",), batch=True).add(batch=True))


def big_and_damaged():
    j = Journal()
    for n in range(3000):
        j.add(("key%d" % (n % 500), b"\xa5\x5a\x01 some value " * 15))
        if n % 300 == 7:
            j.spoiled(("x", b"\xa5\x5a\x01\x00" * 300), how=flip(40))
    j.junk(b"\xa5\x5a\x01\x00\x00\x00\x01\xff\xff\x3f" * 12000)
    agrees(some(j), timeout=20)


main([intact_journal, given_journal, result_is_written, journal_unchanged, damaged_length, damaged_anywhere, damaged_first_and_last,
      file_ends_early, markers_in_payloads, records_inside_records, copies_of_earlier_parts, sequence_numbers_must_grow, zeros_and_noise,
      several_damages_in_a_row, payloads_must_decode, values_that_are_not_text, batches_and_state, big_and_damaged])
