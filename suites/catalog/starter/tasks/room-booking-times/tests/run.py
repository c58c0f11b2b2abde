import sys

sys.path.insert(0, "/tests")
from ctrf import child, copy_of_project, main, same

ROOT = copy_of_project()
PRE = """
from roombook import Calendar, Conflict, Interval, daily_minutes, merge, parse_time
def cal(bookings, offset=0):
    c = Calendar(offset_minutes=offset)
    for n, (a, b) in enumerate(bookings):
        c.add("b%d" % n, a, b)
    return c
def taken(bookings, a, b):
    c = cal(bookings)
    try:
        c.add("new", a, b)
    except Conflict:
        return True
    return False
def text(x):
    return x.isoformat()
def spans(xs):
    return [[text(x.start), text(x.end)] for x in xs]
"""
D = "2024-03-04T"


def ask(expr, data=None):
    return child(ROOT, PRE + "out = " + expr, data)


def z(*hm):
    return [D + t + ":00Z" for t in hm]


def utc(a, b):
    return [D + a + ":00+00:00", D + b + ":00+00:00"]


def back_to_back_after():
    same(ask("taken(data, '%s', '%s')" % tuple(z("10:00", "11:00")), [z("09:00", "10:00")]), False)


def back_to_back_before():
    same(ask("taken(data, '%s', '%s')" % tuple(z("08:00", "09:00")), [z("09:00", "10:00")]), False)


def one_second_is_a_conflict():
    first = [z("09:00", "10:00")]
    same(ask("taken(data, '2024-03-04T09:59:59Z', '2024-03-04T11:00:00Z')", first), True, "overlap by a second at the end:")
    same(ask("taken(data, '2024-03-04T08:00:00Z', '2024-03-04T09:00:01Z')", first), True, "overlap by a second at the start:")
    same(ask("taken(data, '2024-03-04T09:10:00Z', '2024-03-04T09:20:00Z')", first), True, "inside:")
    same(ask("taken(data, '2024-03-04T08:00:00Z', '2024-03-04T12:00:00Z')", first), True, "around:")
    same(ask("taken(data, '2024-03-04T09:00:00Z', '2024-03-04T10:00:00Z')", first), True, "equal:")


def room_is_free_at_the_end():
    got = ask("[cal(data).at('2024-03-04T' + t + 'Z') for t in ('08:59:59', '09:00:00', '09:59:59', '10:00:00')]",
              [z("09:00", "10:00")])
    same(got, [None, "b0", "b0", None])


def at_names_the_second_booking():
    same(ask("cal(data).at('2024-03-04T10:00:00Z')", [z("09:00", "10:00"), z("10:00", "11:00")]), "b1")


def positive_offsets():
    same(ask("[text(parse_time(t)) for t in data]", [D + "09:00:00+02:00", D + "01:15:00+05:45"]),
         ["2024-03-04T07:00:00+00:00", "2024-03-03T19:30:00+00:00"])


def negative_offset_with_minutes():
    same(ask("[text(parse_time(t)) for t in data]", [D + "09:00:00-03:30", D + "22:00:00-05:00", D + "09:00:00-00:45"]),
         ["2024-03-04T12:30:00+00:00", "2024-03-05T03:00:00+00:00", "2024-03-04T09:45:00+00:00"])


def same_instant_in_two_offsets():
    same(ask("taken(data, '2024-03-04T05:30:00-03:30', '2024-03-04T06:00:00-03:30')",
             [[D + "11:00:00+02:00", D + "12:00:00+02:00"]]), True)


def utc_times():
    same(ask("[text(parse_time(t)) for t in data]", [D + "09:00:00Z", D + "09:00:00+00:00"]),
         [D + "09:00:00+00:00"] * 2)


def malformed_times_are_refused():
    code = """
def refused(t):
    try:
        parse_time(t)
    except ValueError:
        return True
    return False
"""
    bad = ["2024-03-04T09:00:00", "2024-03-04 09:00:00Z", "2024-03-04T09:00Z", "2024-02-30T09:00:00Z", "", "09:00"]
    same(child(ROOT, PRE + code + "out = [refused(t) for t in data]", bad), [True] * len(bad))


def free_slots_back_to_back():
    got = ask("spans(cal(data).free_slots('2024-03-04T08:00:00Z', '2024-03-04T18:00:00Z'))",
              [z("09:00", "10:00"), z("10:00", "11:00"), z("11:00", "11:30"), z("14:00", "18:00")])
    same(got, [utc("08:00", "09:00"), utc("11:30", "14:00")])


def free_slots_plain():
    window = "'2024-03-04T08:00:00Z', '2024-03-04T12:00:00Z'"
    same(ask("spans(cal(data).free_slots(%s))" % window, []), [utc("08:00", "12:00")])
    same(ask("spans(cal(data).free_slots(%s))" % window, [z("08:00", "09:00"), z("11:00", "13:00")]), [utc("09:00", "11:00")])
    same(ask("spans(cal(data).free_slots(%s))" % window, [z("07:00", "13:00")]), [])


def merge_unites_touching():
    code = "spans(merge([Interval(parse_time(a), parse_time(b)) for a, b in data]))"
    same(ask(code, [z("10:00", "11:00"), z("09:00", "10:00"), z("09:15", "09:30"), z("12:00", "13:00")]),
         [utc("09:00", "11:00"), utc("12:00", "13:00")])


def report_by_site_day():
    got = ask("daily_minutes(cal(data, 120))", [["2024-03-04T21:00:00Z", "2024-03-04T21:30:00Z"],
                                                ["2024-03-04T22:30:00Z", "2024-03-04T23:15:00Z"]])
    same(got, {"2024-03-04": 30, "2024-03-05": 45}, "site at +02:00:")
    got = ask("daily_minutes(cal(data, -210))", [["2024-03-04T02:00:00Z", "2024-03-04T03:00:00Z"]])
    same(got, {"2024-03-03": 60}, "site at -03:30:")


def report_splits_at_site_midnight():
    got = ask("daily_minutes(cal(data, -210))", [["2024-03-04T03:00:00Z", "2024-03-05T04:00:00Z"]])
    same(got, {"2024-03-03": 30, "2024-03-04": 1440, "2024-03-05": 30})


def report_at_utc():
    got = ask("daily_minutes(cal(data))", [z("09:00", "09:40"), z("11:00", "11:05"),
                                           ["2024-03-05T23:00:00Z", "2024-03-06T01:00:00Z"]])
    same(got, {"2024-03-04": 45, "2024-03-05": 60, "2024-03-06": 60})


main([back_to_back_after, back_to_back_before, one_second_is_a_conflict, room_is_free_at_the_end,
      at_names_the_second_booking, positive_offsets, negative_offset_with_minutes, same_instant_in_two_offsets, utc_times,
      malformed_times_are_refused, free_slots_back_to_back, free_slots_plain, merge_unites_touching, report_by_site_day,
      report_splits_at_site_midnight, report_at_utc])
