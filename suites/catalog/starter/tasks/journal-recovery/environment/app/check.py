"""Runs the program on the intact sample.bin, and looks at recovered.json."""
import json
import subprocess
import sys
import tempfile

out = tempfile.mkdtemp() + "/out.json"
subprocess.run([sys.executable, "recover.py", "sample.bin", out], check=True)
with open(out, encoding="utf-8") as f, open("sample.json", encoding="utf-8") as g:
    if json.load(f) != json.load(g):
        sys.exit("the result for sample.bin is not sample.json")
try:
    with open("recovered.json", encoding="utf-8") as f:
        doc = json.load(f)
except OSError:
    sys.exit("recovered.json is missing")
seqs = [r["seq"] for r in doc["records"]]
if 1 not in seqs or 60 not in seqs or seqs != sorted(seqs):
    sys.exit("recovered.json should have records from 1 to 60, in order")
print("ok")
