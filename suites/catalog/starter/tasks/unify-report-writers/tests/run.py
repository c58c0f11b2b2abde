import ast
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, "/tests")
from ctrf import BASE, child, main, same

BOUND = 150
ROOT = tempfile.mkdtemp()
if os.path.isdir(BASE + "/salesrep"):
    shutil.copytree(BASE + "/salesrep", ROOT + "/salesrep", ignore=shutil.ignore_patterns("__pycache__"))
REFERENCE = "/tests/reference"

HAND = [
    "", "\n\n", "# nothing\n", "2024-01-01;North;a;1;0\n", "2024-01-01;North;a;0;5\n",
    "2024-01-01;north;a;1;1.5\n2024-01-01;North;a;2;2\n2024-01-01;NORTH ;a;2;2.25\n",
    "2024-01-01;;a;1;1.50\n2024-01-02;unassigned;a;1;1\n2024-01-03;(none);a;3;1\n",
    "2024-01-01;A & B <c>;a;1;1\n2024-01-01;x, \"y\";b;2;2\n",
    "2024-01-01;North;refund;3;-1234567.05\n2024-01-01;South;a;1;0.01\n",
    "2024-01-01;North;refund;1;-10\n2024-01-01;South;a;1;10\n",
    "2024-01-01;b;a;1;5\n2024-01-01;a;a;1;5\n2024-01-01;c;a;1;5\n",
    "2024-01-01;b;a;1;0\n2024-01-01;a;a;9;123456.78\n",
    "2024-01-01;North;a;1\n", "2024-01-01;North;a;1;2;3\n", "\n# x\n2024-01-01;North;a;one;2\n",
    "2024-01-01;North;a;-1;2\n", "2024-01-01;North;a;1;2.345\n", "2024-01-01;North;a;1;2.\n", "2024-01-01;North;a;1;\n",
    "2024-01-01;North;a;1;1,5\n2024-01-01;South;a; 2 ; -1.5 \n", "  2024-01-01 ; North West ; a ; 1 ; 2 \r\n  # c\r\n",
    "2024-01-01;North;a;1;2\nbroken\n2024-01-01;South;a;1;2\nalso;broken\n",
    "2024-01-01;caf\u00e9 o'hara;a;1;2\n2024-01-01;\u00c9t\u00e9;a;1000000;99.99\n",
    "2024-01-01;a very long name of a region;a;1;2\n",
]


def generated():
    rng = random.Random(20240301)
    names = ["North", "north", "South", " East", "West,End", "", "a&b", "Zoo \"q\""]
    prices = ["1", "2.5", "0.05", "-3.10", "999999", "0", "12.345", "x", "-0.01"]
    texts = []
    for _ in range(150):
        lines = []
        for _ in range(rng.randint(0, 12)):
            price = rng.choice(prices[:6] + (prices if rng.random() < 0.05 else []))
            lines.append("2024-03-01;%s;p;%d;%s" % (rng.choice(names), rng.randint(0, 40), price))
        texts.append("\n".join(lines) + "\n")
    return texts


CODE = """
from salesrep import ReportError, render
out = []
for text in data["texts"]:
    try:
        out.append(["ok", render(data["fmt"], text)])
    except ReportError as e:
        out.append(["error", str(e)])
"""


def same_report(fmt, texts):
    want = child(REFERENCE, CODE, {"fmt": fmt, "texts": texts})
    got = child(ROOT, CODE, {"fmt": fmt, "texts": texts})
    for text, g, w in zip(texts, got, want):
        same(g, w, "%s of %r:" % (fmt, text))
    same(len(got), len(texts))


def csv_ordinary():
    same_report("csv", HAND[:6] + HAND[10:12])


def csv_all():
    same_report("csv", HAND + generated())


def html_all():
    same_report("html", HAND + generated())


def text_all():
    same_report("text", HAND + generated())


def unknown_format():
    same_report("pdf", [""])
    same(child(ROOT, "import salesrep\nout = list(salesrep.FORMATS)"), ["csv", "html", "text"])


def command_line():
    file = tempfile.mkdtemp() + "/orders.txt"
    pathlib.Path(file).write_bytes("2024-01-01;\u00c9t\u00e9;a;2;1.5\r\n2024-01-01;x;b;1\r\n".encode())
    for args in (["csv", file], ["text", file], ["html", file], ["pdf", file], ["csv"], ["csv", file + ".none"], []):
        got, want = [subprocess.run([sys.executable, "-S", "-B", "-m", "salesrep"] + args, cwd=root, timeout=20,
                                    capture_output=True) for root in (ROOT, REFERENCE)]
        same((got.returncode, got.stdout, got.stderr), (want.returncode, want.stdout, want.stderr), "%s:" % args)


def trees():
    files = sorted(pathlib.Path(ROOT).glob("salesrep/**/*.py"))
    assert files, "there is no package"
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def legacy_module_is_gone():
    names = list(trees())
    assert not any("legacy_totals" in n for n in names), names
    got = child(ROOT, "import importlib.util\nout = importlib.util.find_spec('salesrep.legacy_totals') is None")
    same(got, True)


def statements_within_bound():
    count = sum(isinstance(n, ast.stmt) for tree in trees().values() for n in ast.walk(tree))
    assert count <= BOUND, "%d statements, at most %d are allowed" % (count, BOUND)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("exec", "eval", "compile"), "%s generates code" % path


def shape(function):
    """The function with its names numbered by first use."""
    numbers = {}
    out = []
    for node in ast.walk(ast.Module(body=function.body, type_ignores=[])):
        out.append(type(node).__name__)
        for field in ("id", "name", "arg"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                out.append(str(numbers.setdefault(value, len(numbers))))
        if isinstance(node, ast.Constant):
            out.append(repr(node.value))
        if isinstance(node, ast.Attribute):
            out.append(node.attr)
    return tuple(out)


def no_copied_functions():
    seen = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if sum(isinstance(n, ast.stmt) for n in ast.walk(node)) < 4:
                    continue
                key = shape(node)
                where = "%s:%s" % (path, node.name)
                assert key not in seen, "%s is a copy of %s" % (where, seen[key])
                seen[key] = where


main([csv_ordinary, csv_all, html_all, text_all, unknown_format, command_line, legacy_module_is_gone,
      statements_within_bound, no_copied_functions])
