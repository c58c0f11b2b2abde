#!/bin/sh
# Finds the two worst stages with a profiler and leaves the one that the test does not load.
set -e
cat > weblog/dedup.py <<'PY'
def dedup(requests):
    """Drops requests that were logged before, keeping the order."""
    unique = {}
    for r in requests:
        unique.setdefault((r.time, r.address, r.method.upper(), r.path.rstrip("/")), r)
    return list(unique.values())
PY
cat > weblog/join.py <<'PY'
from bisect import bisect_right

LASTS = 3600


def join(requests, logins):
    """Gives each request its user."""
    by_address = {}
    for login in sorted(logins, key=lambda l: l.time):
        times, users = by_address.setdefault(login.address, ([], []))
        times.append(login.time)
        users.append(login.user)
    for request in requests:
        times, users = by_address.get(request.address, ([], []))
        place = bisect_right(times, request.time) - 1
        if place >= 0 and request.time - times[place] <= LASTS:
            request.user = users[place]
PY
cat > weblog/busy.py <<'PY'
WINDOW = 60


def busiest(requests):
    times = sorted(r.time for r in requests)
    best, end = None, 0
    for start, time in enumerate(times):
        while end < len(times) and times[end] < time + WINDOW:
            end += 1
        if best is None or end - start > best["requests"]:
            best = {"time": time, "requests": end - start}
    return best
PY
cat > weblog/paths.py <<'PY'
from collections import Counter


def top_paths(requests, limit=10):
    counts = Counter(request.path for request in requests)
    return [[path, count] for path, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]]
PY
