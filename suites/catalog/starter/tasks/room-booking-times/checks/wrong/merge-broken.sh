#!/bin/sh
# Makes overlaps strict without looking at who else uses it.
set -e
sed -i 's/self.start <= instant <= self.end/self.start <= instant < self.end/
s/return self.start <= other.end and other.start <= self.end/return self.start < other.end and other.start < self.end/' roombook/interval.py
python3 - <<'PY'
p = "roombook/timeparse.py"
t = open(p).read()
t = t[:t.index("    local =")] + '''    if text.endswith("Z"):
        text = text[:-1] + "+00:00"
    return datetime.fromisoformat(text).astimezone(timezone.utc)
'''
open(p, "w").write(t)
PY
sed -i 's/    for _, taken/    site = timezone(timedelta(minutes=calendar.offset_minutes))\n    for _, taken/
s/cursor = taken.start/cursor = taken.start.astimezone(site)/; s/time(), timezone.utc/time(), site/
s/stop = min(midnight, taken.end)/stop = min(midnight, taken.end.astimezone(site))/' roombook/report.py
