import json
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, "/tests")
from ctrf import child, copy_of_project, main, same

ROOT = copy_of_project()
REFERENCE = "/tests/reference"
N = 30000
LIMIT = 4  # seconds; a right solution needs about a tenth
slow = []
CODE = "from weblog import analyse\nout = [analyse(a, l) for a, l in data]"


def agrees(cases):
    want = child(REFERENCE, CODE, cases, timeout=30)
    got = child(ROOT, CODE, cases, timeout=30)
    for case, g, w in zip(cases, got, want):
        same(g, w, "access log %r, logins %r:" % tuple(case))
    same(len(got), len(want))


def generated(seed, count, times, addresses, lines=40):
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        access = "".join("%d 10.0.0.%d %s %s\n" % (rng.randrange(times), rng.randrange(addresses),
                         rng.choice(["GET", "get", "POST"]), rng.choice(["/", "/a", "/a/", "/a//", "/b c", "/" + str(rng.randrange(20))]))
                         for _ in range(rng.randrange(lines)))
        logins = "".join("%d 10.0.0.%d u%d\n" % (rng.randrange(times), rng.randrange(addresses), rng.randrange(4))
                         for _ in range(rng.randrange(lines)))
        cases.append([access, logins])
    return cases


def same_figures_dense():
    agrees(generated(1, 120, 90, 2))


def same_figures_sparse():
    agrees(generated(2, 120, 20000, 3) + generated(3, 60, 4000, 1))


def same_figures_edges():
    agrees([["", ""], ["", "5 a u\n"], ["5 a GET /\n", ""], ["3600 a GET /\n3601 a GET /\n", "0 a u\n"],
            ["0 a GET /\n1800 a GET /\n3601 a GET /\n", "0 a u\n1800 a u\n"], ["5 a GET /\n", "6 a v\n5 a u\n5 a w\n4 a x\n"],
            ["0 a GET /x\n59 a GET /x\n60 a GET /x\n119 a GET /x\n", ""],
            ["100 a GET /x\n0 b get /y/\n0 b GET /y\n0 b GET /y/\n", "0 b q\n"],
            ["7000 a GET /\n", "3000 a early\n5000 a late\n4000 a mid\n"]])


def command_line():
    folder = tempfile.mkdtemp()
    access, logins = generated(4, 1, 500, 2)[0]
    for name, text in (("access", access), ("logins", logins)):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    out = [json.loads(subprocess.run([sys.executable, "-S", "-B", "-m", "weblog", folder + "/access", folder + "/logins"],
                                     cwd=root, timeout=20, check=True, capture_output=True).stdout) for root in (ROOT, REFERENCE)]
    same(out[0], out[1])


def big(access, logins=()):
    assert len(slow) < 3, "not tried: three others were too slow already"
    start = time.monotonic()
    try:
        return child(ROOT, CODE, [["".join(access), "".join(logins)]], timeout=LIMIT)[0]
    finally:
        if time.monotonic() - start >= LIMIT:
            slow.append(1)


def fast_all_different():
    got = big("%d 10.%d.%d.1 GET /p\n" % (i * 100, i % 199, i % 251) for i in range(N))
    same((got["requests"], got["duplicates"], got["anonymous"]), (N, 0, N))


def fast_many_repeated():
    got = big("%d 10.0.0.%d GET /p%d\n" % (i // 2 * 61, i // 2 % 5, i // 2 % 3) for i in range(N))
    same((got["requests"], got["duplicates"], got["busiest"]["requests"]), (N // 2, N // 2, 1))


def fast_one_address_many_logins():
    got = big(["%d 10.0.0.1 GET /p\n" % i for i in range(N)], ["%d 10.0.0.1 u%d\n" % (i // 30, i % 30) for i in range(N)])
    same(got["users"]["u29"], {"requests": 999 + 3601, "visits": 1, "seconds": 999 + 3600})
    same((len(got["users"]), got["anonymous"]), (1, N - 999 - 3601))


def fast_one_address_old_logins():
    got = big(["%d 10.0.0.1 GET /p\n" % (50000 - i) for i in range(N)], ["%d 10.0.0.1 u%d\n" % (1 + i % 7, i % 3) for i in range(N)])
    same((got["users"], got["anonymous"]), ({}, N))


def fast_every_request_another_user():
    got = big(["%d 10.%d.%d.9 GET /p\n" % (90 * i, i // 200, i % 200) for i in range(N)],
              ["%d 10.%d.%d.9 u%d\n" % (90 * i, i // 200, i % 200, i) for i in range(N)])
    same((len(got["users"]), got["anonymous"], got["users"]["u77"]), (N, 0, {"requests": 1, "visits": 1, "seconds": 0}))


def fast_one_dense_minute():
    got = big("%d 10.0.%d.%d GET /p\n" % (1000 + i % 60, i // 200, i % 200) for i in range(N))
    same(got["busiest"], {"time": 1000, "requests": N})


def fast_long_busy_time():
    got = big("%d 10.0.%d.7 GET /p\n" % (i // 20, i % 20) for i in range(N))
    same(got["busiest"], {"time": 0, "requests": 1200})


def fast_many_paths():
    got = big("%d 10.0.0.1 GET /p%d\n" % (i * 61, i) for i in range(N))
    same(got["top_paths"][:3], [["/p0", 1], ["/p1", 1], ["/p10", 1]])


main([same_figures_dense, same_figures_sparse, same_figures_edges, command_line, fast_all_different, fast_many_repeated,
      fast_one_address_many_logins, fast_one_address_old_logins, fast_every_request_another_user, fast_one_dense_minute,
      fast_long_busy_time, fast_many_paths])
