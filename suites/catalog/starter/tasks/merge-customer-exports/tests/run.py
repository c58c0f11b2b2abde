import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, "/tests")
from ctrf import BASE, copy_of_project, main, same

ROOT = copy_of_project()
COLUMNS = {"id": "id", "name": "name", "email": "email", "phone": "phone", "joined": "joined", "balance": "balance",
           "note": "note", "updated": "updated"}
HEADER = "id,name,email,phone,joined,balance,note,updated\n"


def run(folder):
    out = os.path.join(tempfile.mkdtemp(), "result.json")
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    p = subprocess.run([sys.executable, "-S", "-B", "normalise.py", folder, out], cwd=ROOT, env=env, timeout=20,
                       stdin=subprocess.DEVNULL, capture_output=True)
    assert p.returncode == 0, "exit %d: %s" % (p.returncode, p.stderr.decode(errors="replace")[-300:])
    with open(out, encoding="utf-8") as f:
        return json.load(f)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def given(*files, **options):
    """Runs the program on files given as text or bytes, all of one kind unless a dict comes along."""
    folder = tempfile.mkdtemp()
    sources = []
    for n, content in enumerate(files):
        source = {"file": "f%d.csv" % n, "encoding": "utf-8", "delimiter": ",", "date": "ymd", "decimal": ".", "columns": COLUMNS}
        source.update(options)
        if isinstance(content, tuple):
            content, more = content
            source.update(more)
        sources.append(source)
        with open(os.path.join(folder, source["file"]), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode(source["encoding"]))
    with open(os.path.join(folder, "sources.json"), "w") as f:
        json.dump(sources, f)
    return run(folder)


def column(doc, field):
    return [c[field] for c in doc["customers"]]


def rejected(doc):
    return [(r["line"], r["reason"]) for r in doc["rejected"]]


def one(**fields):
    """A row of the plain kind."""
    row = dict({"id": "1", "updated": "2024-01-01"}, **fields)
    return ",".join('"%s"' % row.get(f, "").replace('"', '""') for f in COLUMNS) + "\n"


def values(field, key, texts, **options):
    """What becomes of texts in a field of rows 1, 2, 3 ...; rejected rows are None here."""
    doc = given(HEADER + "".join(one(**{"id": str(n), field: t}) for n, t in enumerate(texts, 1)), **options)
    got = {c["id"]: c[key] for c in doc["customers"]}
    return [got.get(n, "rejected") for n in range(1, len(texts) + 1)]


def plain_sample():
    same(run("/tests/sample"), load("/tests/sample/expected.json"))


def given_exports():
    same(run("/tests/exports"), load("/tests/exports-expected.json"))


def result_is_written():
    same(load(BASE + "/customers.json"), load("/tests/exports-expected.json"))


def encodings():
    text = HEADER + one(name="Žofie Łaska")
    for encoding in ("utf-8", "utf-16", "utf-16-le", "cp1250", "iso8859-2"):
        same(column(given(text, encoding=encoding), "name"), ["Žofie Łaska"], encoding)
    same(column(given("\ufeff" + text), "id"), [1], "utf-8 with a mark:")
    same(column(given(("\ufeff" + text).encode("utf-16-le"), encoding="utf-16-le"), "id"), [1], "utf-16-le with a mark:")


def quoted_fields():
    doc = given((HEADER + one(name='a "b", c', note="x\r\ny\rz\nw")).replace("\n1,", "\r\n1,"))
    same(column(doc, "name"), ['a "b", c'])
    same(column(doc, "notes"), [["x\ny\nz\nw"]])


def repeated_columns():
    text = "ID,name, Name,NAME ,updated\n1,,b,c,2024-01-01\n2,a,b,,2024-01-01\n3, ,\u00a0,c,2024-01-01\n"
    doc = given(text)
    same(column(doc, "name"), ["b", "a", "c"])
    same(column(doc, "balance_cents"), [None] * 3, "missing column:")


def blank_rows():
    same(rejected(given(HEADER + ",,,,,,,\n , ,,,\u00a0,,,\n,,\n" + one())), [])


def ids():
    doc = given(HEADER + "".join(one(id=i) for i in ("C-007", "c-8", " 9 ", "C10", "C-", "-1", "1.0", "0")))
    same(column(doc, "id"), [0, 7, 8, 9])
    same(rejected(doc), [(5, "id"), (6, "id"), (7, "id"), (8, "id")])


def names_and_mail():
    same(values("name", "name", ["  a \u00a0 b\n c ", "\u00a0"]), ["a b c", None])
    same(values("email", "email", [" A@B.Example ", ""]), ["a@b.example", None])


def phones():
    same(values("phone", "phone", ["0049 (30) 12", "+1-2", "030/12+3", "\u00a000\u00a041", "-"]),
         ["+493012", "+12", "030123", "+41", None])


def dates():
    same(values("joined", "joined", ["2024-2-29", "2023-02-29", "2024/1/05", "24-01-05", "2024.12.31", "2024-13-01", ""]),
         ["2024-02-29", "rejected", "2024-01-05", "rejected", "2024-12-31", "rejected", None])
    same(values("joined", "joined", ["1.2.2024", "13.12.2023", "12/13/2023"], date="mdy", columns=dict(COLUMNS, updated="x")),
         ["rejected"] * 3, "no column of changes:")
    text = HEADER + one(joined="3/4/2024", updated="05.06.2024")
    doc = given(text, date="dmy")
    same((column(doc, "joined"), column(doc, "updated")), (["2024-04-03"], ["2024-06-05"]))
    doc = given(text, date="mdy")
    same((column(doc, "joined"), column(doc, "updated")), (["2024-03-04"], ["2024-05-06"]))


def balances():
    same(values("balance", "balance_cents", ["1,234.5", "0.07", "-1'000'000.10", "12-", "1.005", "1.2.3", "abc", "", "10\u00a0000", "8.29"]),
         [123450, 7, -100000010, -1200, "rejected", "rejected", "rejected", None, 1000000, 829])
    same(values("balance", "balance_cents", ["1.234,5", "0,07", "1,234.50", "1.234", "-5-"], decimal=","),
         [123450, 7, "rejected", 123400, "rejected"])


def reasons():
    text = HEADER + "x,too,few\n" + one(id="x", updated="x", balance="x") + one(updated="", balance="x") \
        + one(joined="x", balance="x") + one(balance="x") + one() + one()[:-1] + ",\n"
    same(rejected(given(text)), [(2, "fields"), (3, "id"), (4, "date"), (5, "date"), (6, "balance"), (8, "fields")])


def lines_of_rejected_rows():
    text = HEADER.replace("name", '"name"') + one(note="a\nb\r\nc") + one(id="x", note="d\n\ne") + "\n" + one(id="y")
    same(rejected(given(text)), [(5, "id"), (9, "id")])
    text = HEADER.replace("name", '"the\nname"') + one(id="x")
    same(rejected(given(text)), [(3, "id")], "line break in the header:")


def merging():
    first = HEADER + one(name="old", updated="2024-01-01", email="a@x", phone="1") + one(name="new", updated="2024-03-01", note="n3")
    second = HEADER + one(name="mid", updated="2024-02-01", email="b@x", note="n2", balance="3") + one(updated="2023-01-01", note="n0", joined="2020-01-01")
    same(given(second, first)["customers"],
         [{"id": 1, "name": "new", "email": "b@x", "phone": "1", "joined": "2020-01-01", "balance_cents": 300,
           "notes": ["n0", "n2", "n3"], "updated": "2024-03-01", "sources": ["f0.csv", "f1.csv"]}])


def merging_ties():
    first = HEADER + one(name="a") + one(name="b", email="e@x")
    second = HEADER + one(name="c") + one(name="d", updated="2023-12-31")
    same(column(given(first, second), "name"), ["c"])
    same(column(given(second, first), "name"), ["b"])
    mixed = (HEADER + one(name="z", updated="02.01.2024"), {"date": "dmy"})
    same(column(given(mixed, second.replace("2024-01-01", "2024-1-10")), "name"), ["c"], "order by date, not by text:")


def repeated_notes():
    text = HEADER + one(note="x", updated="2024-01-03") + one(note="y", updated="2024-01-02") + one(note=" x\r\n", updated="2024-01-01")
    doc = given(text)
    same((column(doc, "notes"), column(doc, "sources")), ([["x", "y"]], [["f0.csv"]]))


main([plain_sample, given_exports, result_is_written, encodings, quoted_fields, repeated_columns, blank_rows, ids,
      names_and_mail, phones, dates, balances, reasons, lines_of_rejected_rows, merging, merging_ties, repeated_notes])
