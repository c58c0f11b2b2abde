"""A quick look at the running service."""
import urllib.request

with urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=5) as answer:
    assert answer.status == 200
with open("secret/token") as f:
    token = f.read().strip()
request = urllib.request.Request("http://127.0.0.1:8080/kv/check", b"1", {"X-Token": token}, method="PUT")
with urllib.request.urlopen(request, timeout=5) as answer:
    assert answer.status == 204
with urllib.request.urlopen("http://127.0.0.1:8080/kv/motd", timeout=5) as answer:
    assert answer.read() == b"good morning"
print("ok")
