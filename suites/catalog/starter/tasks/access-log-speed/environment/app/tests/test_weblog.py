import time
import unittest

from weblog import analyse

ACCESS = """\
1000 10.0.0.1 GET /
1000 10.0.0.1 get /
1010 10.0.0.2 GET /a
1055 10.0.0.1 POST /a/
5000 10.0.0.1 GET /b
9000 10.0.0.1 GET /b
"""
LOGINS = """\
900 10.0.0.1 ann
4900 10.0.0.1 bob
950 10.0.0.1 cleo
"""


class WeblogTest(unittest.TestCase):
    def test_figures(self):
        self.assertEqual(analyse(ACCESS, LOGINS), {
            "requests": 5, "duplicates": 1, "anonymous": 2,
            "users": {"bob": {"requests": 1, "visits": 1, "seconds": 0}, "cleo": {"requests": 2, "visits": 1, "seconds": 55}},
            "busiest": {"time": 1000, "requests": 3},
            "top_paths": [["/b", 2], ["/", 1], ["/a", 1], ["/a/", 1]],
        })

    def test_speed(self):
        text = "".join("%d 10.0.%d.%d GET /%d\n" % (i * 7, i % 50, i % 200, i % 40) for i in range(7000))
        logins = "".join("%d 10.0.%d.%d user%d\n" % (i * 700, i % 50, i % 200, i % 20) for i in range(120))
        start = time.monotonic()
        analyse(text, logins)
        self.assertLess(time.monotonic() - start, 2)


if __name__ == "__main__":
    unittest.main()
