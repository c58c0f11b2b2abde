"""Totals by region, as the first version of the program made them. Only the CSV report still needs it."""


class Totals:
    def __init__(self):
        self._regions = {}

    def add(self, region, quantity, cents):
        if region not in self._regions:
            self._regions[region] = [0, 0]
        entry = self._regions[region]
        entry[0] = entry[0] + quantity
        entry[1] = entry[1] + quantity * cents

    def names(self):
        names = []
        for name in self._regions:
            names.append(name)
        names.sort()
        return names

    def quantity(self, region):
        return self._regions[region][0]

    def cents(self, region):
        return self._regions[region][1]

    def grand_total(self):
        total = 0
        for region in self._regions:
            total = total + self._regions[region][1]
        return total


def share_of(part, whole):
    if whole == 0:
        return "0.0"
    tenths = (abs(part) * 2000 + abs(whole)) // (abs(whole) * 2)
    sign = ""
    if (part < 0) != (whole < 0) and tenths != 0:
        sign = "-"
    return sign + str(tenths // 10) + "." + str(tenths % 10)
