#!/bin/sh
# The standard library's own parser; the report shifts the clock.
set -e
cat > roombook/timeparse.py <<'PY'
"""Reading of times."""
import re
from datetime import datetime, timezone

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text):
    if not _TIME.fullmatch(text):
        raise ValueError("not a time: %r" % text)
    if text.endswith("Z"):
        text = text[:-1] + "+00:00"
    return datetime.fromisoformat(text).astimezone(timezone.utc)
PY
cat > roombook/report.py <<'PY'
"""Usage figures."""
from datetime import timedelta


def daily_minutes(calendar):
    shift = timedelta(minutes=calendar.offset_minutes)
    minutes = {}
    for _, taken in calendar.bookings():
        start, end = taken.start + shift, taken.end + shift
        while start < end:
            midnight = start.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            stop = min(midnight, end)
            day = start.strftime("%Y-%m-%d")
            minutes[day] = minutes.get(day, 0) + int((stop - start).total_seconds()) // 60
            start = stop
    return minutes
PY
sed -i 's/self.start <= instant <= self.end/self.start <= instant < self.end/
s/return self.start <= other.end and other.start <= self.end/return max(self.start, other.start) < min(self.end, other.end)/
s/if merged and merged\[-1\].overlaps(item):/if merged and merged[-1].end >= item.start:/' roombook/interval.py
