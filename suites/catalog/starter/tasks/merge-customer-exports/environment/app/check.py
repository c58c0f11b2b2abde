"""Runs the program on sample/ and compares; also sees that the real exports go through."""
import json
import subprocess
import sys
import tempfile


def run(folder):
    out = tempfile.mkdtemp() + "/out.json"
    subprocess.run([sys.executable, "normalise.py", folder, out], check=True)
    with open(out, encoding="utf-8") as f:
        return json.load(f)


with open("sample/expected.json", encoding="utf-8") as f:
    if run("sample") != json.load(f):
        sys.exit("sample: differs from sample/expected.json")
try:
    with open("customers.json", encoding="utf-8") as f:
        doc = json.load(f)
except OSError:
    sys.exit("customers.json is missing")
if [c["id"] for c in doc["customers"]] != [4, 17, 42, 58, 101]:
    sys.exit("customers.json: expected the customers 4, 17, 42, 58 and 101")
print("ok")
