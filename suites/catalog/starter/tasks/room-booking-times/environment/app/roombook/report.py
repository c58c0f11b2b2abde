"""Usage figures."""
from datetime import datetime, time, timedelta, timezone


def daily_minutes(calendar):
    minutes = {}
    for _, taken in calendar.bookings():
        cursor = taken.start
        while cursor < taken.end:
            midnight = datetime.combine(cursor.date() + timedelta(days=1), time(), timezone.utc)
            stop = min(midnight, taken.end)
            day = cursor.date().isoformat()
            minutes[day] = minutes.get(day, 0) + int((stop - cursor).total_seconds()) // 60
            cursor = stop
    return minutes
