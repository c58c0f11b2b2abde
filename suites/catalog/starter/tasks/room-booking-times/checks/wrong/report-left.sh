#!/bin/sh
# Fixes intervals and parsing, converts the report's labels only and still splits at midnight UTC.
set -e
sed -i 's/self.start <= instant <= self.end/self.start <= instant < self.end/
s/return self.start <= other.end and other.start <= self.end/return self.start < other.end and other.start < self.end/
s/merged\[-1\].overlaps(item)/item.start <= merged[-1].end/' roombook/interval.py
python3 - <<'PY'
p = "roombook/timeparse.py"
t = open(p).read()
t = t[:t.index("    local =")] + '''    if text.endswith("Z"):
        text = text[:-1] + "+00:00"
    return datetime.fromisoformat(text).astimezone(timezone.utc)
'''
open(p, "w").write(t)
p = "roombook/report.py"
t = open(p).read()
t = t.replace("day = cursor.date().isoformat()", "day = (cursor + timedelta(minutes=calendar.offset_minutes)).date().isoformat()")
open(p, "w").write(t)
PY
