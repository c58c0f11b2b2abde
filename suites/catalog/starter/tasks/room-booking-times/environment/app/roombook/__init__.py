from .calendar import Calendar, Conflict
from .interval import Interval, merge
from .report import daily_minutes
from .timeparse import parse_time

__all__ = ["Calendar", "Conflict", "Interval", "daily_minutes", "merge", "parse_time"]
