#!/bin/sh
# Brings the old data in through the service itself; the control script compares the arguments of the process one by one.
set -eu
chmod 600 /app/secret/token
mkdir -m 700 /app/data
mkdir /app/run
cat > /app/kvd.conf <<'CONF'
[server]
listen = 127.0.0.1:8080
[store]
backend = file
path = /app/data
sync = always
max_value = 65536
[auth]
token_file = /app/secret/token
CONF
cat > /app/kvctl <<'CTL'
#!/bin/sh
set -u
pidfile=/app/run/kvd.pid
cd /app

alive() {
    [ -s $pidfile ] || return 1
    read -r pid < $pidfile
    [ -r "/proc/$pid/cmdline" ] || return 1
    [ "$({ tr '\0' '\n' < "/proc/$pid/cmdline" | tail -n +2 | tr '\n' ' '; } 2> /dev/null)" = '-m kvd /app/kvd.conf ' ]
}

wait_for() { # waits up to five seconds for a command to succeed
    n=50
    until "$@"; do
        n=$((n - 1))
        [ $n -gt 0 ] || return 1
        sleep 0.1
    done
}

dead() { ! alive; }

case "${1:-}" in
start)
    alive && exit 0
    python3 - <<'PY'
import http.client
import os
import subprocess
import sys
import time

os.umask(0o077)
with open("run/log", "ab") as log:
    p = subprocess.Popen(["python3", "-m", "kvd", "/app/kvd.conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
with open("run/kvd.pid", "w") as f:
    f.write(str(p.pid))
for _ in range(100):
    if p.poll() is not None:
        break
    try:
        c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=1)
        c.request("GET", "/health")
        if c.getresponse().status == 200 and p.poll() is None:
            os._exit(0)
    except OSError:
        time.sleep(0.05)
p.kill()
os.unlink("run/kvd.pid")
sys.exit("kvctl: the service does not start, see /app/run/log")
PY
    ;;
stop)
    if alive; then
        kill -TERM "$pid"
        wait_for dead || exit 1
    fi
    rm -f $pidfile
    ;;
restart) "$0" stop && "$0" start ;;
status)
    alive && echo running && exit 0
    echo stopped
    exit 3
    ;;
esac
CTL
/app/kvctl start
python3 - <<'PY'
import http.client
import json
from urllib.parse import quote

token = open("/app/secret/token").read().strip()
c = http.client.HTTPConnection("127.0.0.1", 8080)
data = {}
for line in open("/app/backup/journal.jsonl", encoding="utf-8"):
    if line.endswith("\n"):
        r = json.loads(line)
        data[r["key"]] = r["value"] if r["op"] == "put" else None
for key, value in data.items():
    if value is not None:
        c.request("PUT", "/kv/" + quote(key, safe=""), value.encode(), {"X-Token": token})
        a = c.getresponse()
        a.read()
        assert a.status == 204
PY
