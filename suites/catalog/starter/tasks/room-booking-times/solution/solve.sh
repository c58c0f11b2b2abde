#!/bin/sh
set -e
python3 - <<'PY'
def edit(path, *pairs):
    text = open(path).read()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    open(path, "w").write(text)

edit("roombook/interval.py",
     ("self.start <= instant <= self.end", "self.start <= instant < self.end"),
     ("self.start <= other.end and other.start <= self.end", "self.start < other.end and other.start < self.end"),
     ("merged[-1].overlaps(item)", "item.start <= merged[-1].end"))
edit("roombook/timeparse.py",
     ("([+-]\\d\\d):(\\d\\d))", "([+-])(\\d\\d):(\\d\\d))"),
     ("int(match.group(3)), minutes=int(match.group(4))", "int(match.group(4)), minutes=int(match.group(5))"),
     ("return local + offset", "return local + offset if match.group(3) == \"-\" else local - offset"))
edit("roombook/report.py",
     ("    minutes = {}\n", "    site = timezone(timedelta(minutes=calendar.offset_minutes))\n    minutes = {}\n"),
     ("cursor = taken.start", "cursor = taken.start.astimezone(site)"),
     ("time(), timezone.utc)", "time(), site)"),
     ("stop = min(midnight, taken.end)", "stop = min(midnight, taken.end.astimezone(site))"))
PY
