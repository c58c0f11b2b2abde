import unittest

from roombook import Calendar, Conflict, daily_minutes, parse_time


class RoombookTest(unittest.TestCase):
    def test_back_to_back(self):
        cal = Calendar()
        cal.add("a", "2024-03-04T09:00:00Z", "2024-03-04T10:00:00Z")
        cal.add("b", "2024-03-04T10:00:00Z", "2024-03-04T11:00:00Z")
        self.assertEqual([t for t, _ in cal.bookings()], ["a", "b"])

    def test_conflict(self):
        cal = Calendar()
        cal.add("a", "2024-03-04T09:00:00Z", "2024-03-04T10:00:00Z")
        with self.assertRaises(Conflict):
            cal.add("b", "2024-03-04T09:30:00Z", "2024-03-04T11:00:00Z")

    def test_offset(self):
        self.assertEqual(parse_time("2024-03-04T09:00:00+02:00").isoformat(), "2024-03-04T07:00:00+00:00")

    def test_free(self):
        cal = Calendar()
        cal.add("a", "2024-03-04T09:00:00Z", "2024-03-04T10:00:00Z")
        slots = cal.free_slots("2024-03-04T08:00:00Z", "2024-03-04T12:00:00Z")
        self.assertEqual([(s.start.hour, s.end.hour) for s in slots], [(8, 9), (10, 12)])

    def test_report(self):
        cal = Calendar()
        cal.add("a", "2024-03-04T09:00:00Z", "2024-03-04T10:15:00Z")
        self.assertEqual(daily_minutes(cal), {"2024-03-04": 75})


if __name__ == "__main__":
    unittest.main()
