"""Prints how many Python statements the package has."""
import ast
import pathlib

total = 0
for path in sorted(pathlib.Path(__file__).parent.glob("salesrep/**/*.py")):
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    print("%5d %s" % (count, path.name))
    total += count
print("%5d total" % total)
