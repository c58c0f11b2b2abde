#!/bin/sh
# Turns the sign of the offset round and leaves the minutes of negative offsets wrong.
set -e
sed -i 's/return local + offset/return local - offset/' roombook/timeparse.py
sed -i 's/self.start <= instant <= self.end/self.start <= instant < self.end/
s/return self.start <= other.end and other.start <= self.end/return self.start < other.end and other.start < self.end/
s/merged\[-1\].overlaps(item)/item.start <= merged[-1].end/' roombook/interval.py
sed -i 's/    for _, taken/    site = timezone(timedelta(minutes=calendar.offset_minutes))\n    for _, taken/
s/cursor = taken.start/cursor = taken.start.astimezone(site)/; s/time(), timezone.utc/time(), site/
s/stop = min(midnight, taken.end)/stop = min(midnight, taken.end.astimezone(site))/' roombook/report.py
