import unittest

from salesrep import ReportError, render

ORDERS = """# week 9
2024-02-26;North;bolts;10;2.50
2024-02-26;South;nuts;4;1.25
2024-02-27;North;gears;100;12
"""


class RenderTest(unittest.TestCase):
    def test_csv(self):
        self.assertEqual(render("csv", ORDERS),
                         "region,units,revenue,share\r\nNorth,110,1225.00,99.6\r\nSouth,4,5.00,0.4\r\n")

    def test_text(self):
        self.assertEqual(render("text", ORDERS).splitlines(), [
            "SALES BY REGION", "",
            "North               110       1,225.00   99.6%",
            "South                 4           5.00    0.4%",
            "", "total 1,230.00"])

    def test_html(self):
        self.assertIn("<tr><td>North</td><td>110</td><td>1&nbsp;225.00</td><td>99.6 %</td></tr>", render("html", ORDERS))

    def test_unknown_format(self):
        with self.assertRaises(ReportError):
            render("pdf", ORDERS)


if __name__ == "__main__":
    unittest.main()
