"""The bookings of one room."""
from .interval import Interval, merge
from .timeparse import parse_time


class Conflict(Exception):
    """The room is taken."""


class Calendar:
    def __init__(self, offset_minutes=0):
        self.offset_minutes = offset_minutes
        self._bookings = []

    def add(self, title, start, end):
        wanted = Interval(parse_time(start), parse_time(end))
        for other_title, taken in self._bookings:
            if taken.overlaps(wanted):
                raise Conflict("%s collides with %s" % (title, other_title))
        self._bookings.append((title, wanted))
        self._bookings.sort(key=lambda b: b[1].start)
        return wanted

    def bookings(self):
        return list(self._bookings)

    def at(self, when):
        """Title of the booking that holds the room at this time, or None."""
        instant = parse_time(when)
        for title, taken in self._bookings:
            if taken.contains(instant):
                return title
        return None

    def free_slots(self, start, end):
        window = Interval(parse_time(start), parse_time(end))
        busy = merge(c for c in (i.clip(window) for _, i in self._bookings) if c)
        slots = []
        cursor = window.start
        for taken in busy:
            if taken.start != window.start:
                slots.append(Interval(cursor, taken.start))
            cursor = taken.end
        if cursor < window.end:
            slots.append(Interval(cursor, window.end))
        return slots
