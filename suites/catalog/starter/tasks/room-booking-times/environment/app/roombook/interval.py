"""Half-open intervals of time."""


class Interval:
    __slots__ = ("start", "end")

    def __init__(self, start, end):
        if end <= start:
            raise ValueError("end must lie after start")
        self.start = start
        self.end = end

    def __eq__(self, other):
        return isinstance(other, Interval) and (self.start, self.end) == (other.start, other.end)

    def __hash__(self):
        return hash((self.start, self.end))

    def __repr__(self):
        return "Interval(%s, %s)" % (self.start.isoformat(), self.end.isoformat())

    def contains(self, instant):
        return self.start <= instant <= self.end

    def overlaps(self, other):
        return self.start <= other.end and other.start <= self.end

    def clip(self, window):
        """The part inside window, or None."""
        start, end = max(self.start, window.start), min(self.end, window.end)
        return Interval(start, end) if start < end else None


def merge(intervals):
    """Unites intervals that overlap or touch; the result is sorted and has gaps between all its members."""
    merged = []
    for item in sorted(intervals, key=lambda i: (i.start, i.end)):
        if merged and merged[-1].overlaps(item):
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, item.end))
        else:
            merged.append(item)
    return merged
