"""Reading of times."""
import re
from datetime import datetime, timedelta, timezone

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(Z|([+-]\d\d):(\d\d))")


def parse_time(text):
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError("not a time: %r" % text)
    local = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    if match.group(2) == "Z":
        return local
    offset = timedelta(hours=int(match.group(3)), minutes=int(match.group(4)))
    return local + offset
