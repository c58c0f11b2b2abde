#!/bin/sh
# Merges both logs into one stream of events, counts by second.
set -e
cat > weblog/__init__.py <<'PY'
import heapq
from collections import Counter, defaultdict


def analyse(access, logins):
    """The figures for the texts of an access log and a login log."""
    lines = [line.split(None, 3) for line in access.splitlines() if line.strip()]
    seen, requests = set(), []
    for time, address, method, path in lines:
        key = (int(time), address, method.upper(), path.rstrip("/"))
        if key not in seen:
            seen.add(key)
            requests.append((int(time), address, path))

    events = [(r[0], 1, n, r[1], None) for n, r in enumerate(requests)]
    for n, line in enumerate(l for l in logins.splitlines() if l.strip()):
        time, address, user = line.split(None, 2)
        events.append((int(time), 0, n, address, user))
    events.sort(key=lambda e: e[:3])
    present, stays = {}, defaultdict(list)
    for time, kind, _, address, user in events:
        if kind == 0:
            present[address] = (time, user)
        elif address in present and time - present[address][0] <= 3600:
            stays[present[address][1]].append(time)
    users = {}
    for user in sorted(stays):
        times = stays[user]
        pauses = [b - a for a, b in zip(times, times[1:])]
        users[user] = {"requests": len(times), "visits": 1 + sum(p > 1800 for p in pauses),
                       "seconds": sum(p for p in pauses if p <= 1800)}

    seconds = Counter(r[0] for r in requests)
    best = max(((sum(seconds.get(t + s, 0) for s in range(60)), -t) for t in seconds), default=None)
    paths = Counter(r[2] for r in requests)
    top = heapq.nsmallest(10, paths.items(), key=lambda item: (-item[1], item[0]))
    return {"requests": len(requests), "duplicates": len(lines) - len(requests),
            "anonymous": len(requests) - sum(map(len, stays.values())), "users": users,
            "busiest": best and {"time": -best[1], "requests": best[0]}, "top_paths": [list(item) for item in top]}
PY
cd weblog && rm busy.py dedup.py join.py parse.py paths.py visits.py
