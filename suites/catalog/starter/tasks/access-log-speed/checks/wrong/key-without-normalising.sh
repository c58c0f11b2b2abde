#!/bin/sh
# A set of plain fields: method and slashes are compared as they stand.
set -e
cat > weblog/dedup.py <<'PY'
def dedup(requests):
    """Drops requests that were logged before, keeping the order."""
    unique = {}
    for r in requests:
        unique.setdefault((r.time, r.address, r.method.upper(), r.path), r)
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
cat > weblog/visits.py <<'PY'
PAUSE = 1800


def visits(requests):
    """Per user: requests, visits, and seconds spent in visits."""
    users, last = {}, {}
    for request in sorted((r for r in requests if r.user is not None), key=lambda r: r.time):
        figures = users.setdefault(request.user, {"requests": 0, "visits": 0, "seconds": 0})
        figures["requests"] += 1
        pause = request.time - last.get(request.user, request.time - PAUSE - 1)
        if pause > PAUSE:
            figures["visits"] += 1
        else:
            figures["seconds"] += pause
        last[request.user] = request.time
    return users
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
