import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote

sys.path.insert(0, "/tests")
from ctrf import copy_of_project, main, same

PORT = 8080
TOKEN = "c2f1-9be0-47aa"
PIDFILE = "/app/run/kvd.pid"


def ask(method, path, body=None, token=TOKEN, port=PORT):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"X-Token": token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def kv(method, key, body=None, **more):
    return ask(method, "/kv/" + quote(key, safe=""), body, **more)


def ctl(command, cwd="/", timeout=20):
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(["/app/kvctl", command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             start_new_session=True)
        try:
            code = p.wait(timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            raise AssertionError("kvctl %s takes longer than %d s" % (command, timeout))
        out.seek(0)
        return code, out.read().decode(errors="replace").strip()


def pid():
    with open(PIDFILE) as f:
        return int(f.read())


def gone(number):
    try:
        with open("/proc/%d/stat" % number) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def running():
    """Sees to it that the service runs, for checks that need it."""
    try:
        if ask("GET", "/health")[0] == 200:
            return
    except OSError:
        pass
    same(ctl("start")[0], 0, "kvctl start:")


def answers():
    try:
        return ask("GET", "/health")[0] == 200
    except OSError:
        return False


def listeners(port):
    """Addresses on which somebody listens, in the kernel's notation."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as f:
                lines = f.read().splitlines()[1:]
        except OSError:
            continue
        found += [line.split()[1].rsplit(":", 1)[0] for line in lines if line.split()[3] == "0A" and line.split()[1].endswith(":%04X" % port)]
    return found


def left_running():
    same(ask("GET", "/health")[0], 200)
    same(gone(pid()), False, "the process of the pid file is gone:")
    with open("/proc/%d/cmdline" % pid()) as f:
        same("kvd" in f.read(), True, "the pid file names the server:")


def loopback_only():
    same(listeners(PORT), ["0100007F"], "listening:")


def old_data():
    want = {}
    with open("/tests/journal.jsonl", encoding="utf-8") as f:
        for line in f:
            if line.endswith("\n"):
                record = json.loads(line)
                if record["op"] == "put":
                    want[record["key"]] = record["value"]
                else:
                    want.pop(record["key"], None)
    for key, value in want.items():
        same(kv("GET", key), (200, value.encode()), "%s:" % key)
    for key in ("user:0", "user:39", "torn"):
        same(kv("GET", key)[0], 404, "%s:" % key)


def backup_untouched():
    with open("/tests/journal.jsonl", "rb") as a, open("/app/backup/journal.jsonl", "rb") as b:
        same(b.read() == a.read(), True)


def put_get_delete():
    running()
    same(kv("PUT", "t/1", "\u00e4\n".encode())[0], 204)
    same(kv("GET", "t/1"), (200, "\u00e4\n".encode()))
    same(kv("DELETE", "t/1")[0], 204)
    same((kv("GET", "t/1")[0], kv("DELETE", "t/1")[0]), (404, 404))


def token_is_needed():
    running()
    same(kv("PUT", "x", b"1", token=None)[0], 403)
    same(kv("PUT", "x", b"1", token="wrong")[0], 403)
    same(kv("GET", "motd", token=None)[0], 200)
    with open("/app/secret/token") as f:
        same(f.read().strip(), TOKEN)


def size_of_values():
    running()
    same(kv("PUT", "big", b"x" * 65536)[0], 204)
    same(len(kv("GET", "big")[1]), 65536)
    same(kv("PUT", "big", b"x" * 65537)[0], 413)


def private_files():
    running()
    same(stat.S_IMODE(os.stat("/app/secret/token").st_mode) & 0o077, 0, "token:")
    same(stat.S_IMODE(os.stat("/app/data").st_mode) & 0o077, 0, "/app/data:")
    same((os.stat("/app/data").st_uid, os.stat("/app/secret/token").st_uid), (0, 0), "owners:")
    same(any(os.path.getsize(os.path.join("/app/data", n)) for n in os.listdir("/app/data")), True, "data in /app/data:")


def survives_restart():
    running()
    same(kv("PUT", "kept", b"1")[0], 204)
    before = pid()
    code, out = ctl("restart")
    same(code, 0, out)
    same(ask("GET", "/health")[0], 200)
    same(gone(before), True, "the old process is gone:")
    same(kv("GET", "kept"), (200, b"1"))
    same(kv("DELETE", "kept")[0], 204)
    same((ctl("stop")[0], ctl("start")[0]), (0, 0))
    same(kv("GET", "kept")[0], 404)
    same(kv("GET", "motd"), (200, b"good morning"))


def survives_kill():
    running()
    same(kv("PUT", "durable", b"yes")[0], 204)
    killed = pid()
    os.kill(killed, signal.SIGKILL)
    for _ in range(100):
        if gone(killed) and not answers():
            break
        time.sleep(0.05)
    same(ctl("status"), (3, "stopped"))
    same(ctl("start")[0], 0)
    same(kv("GET", "durable"), (200, b"yes"))


def status_and_stop():
    running()
    same(ctl("status"), (0, "running"))
    number = pid()
    same(ctl("stop")[0], 0)
    same((gone(number), listeners(PORT)), (True, []), "after stop:")
    same(ctl("status"), (3, "stopped"))
    same(ctl("stop")[0], 0, "stop again:")
    same(ctl("start")[0], 0)


def start_twice():
    running()
    number = pid()
    same(ctl("start")[0], 0)
    same((pid(), gone(number)), (number, False))
    same(ctl("status"), (0, "running"))


def start_waits_for_the_service():
    for _ in range(2):
        same(ctl("stop")[0], 0)
        same(ctl("start")[0], 0)
        same(ask("GET", "/health")[0], 200)


def start_reports_failure():
    same(ctl("stop")[0], 0)
    os.rename("/app/kvd.conf", "/app/kvd.conf.away")
    try:
        code, _ = ctl("start", timeout=40)
        same(code != 0, True, "start without a configuration fails:")
        same(ctl("status"), (3, "stopped"))
    finally:
        os.rename("/app/kvd.conf.away", "/app/kvd.conf")
    same(ctl("start")[0], 0)


def from_other_folders():
    running()
    folder = tempfile.mkdtemp()
    same(ctl("restart", cwd=folder)[0], 0)
    same((kv("GET", "motd"), os.listdir(folder)), ((200, b"good morning"), []))
    same(ctl("status", cwd="/tmp"), (0, "running"))


def does_not_hold_output():
    same(ctl("stop")[0], 0)
    p = subprocess.Popen(["/app/kvctl", "start"], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         start_new_session=True)
    try:
        p.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        raise AssertionError("the output of kvctl start stays open")
    same(os.getpgid(pid()) != p.pid, True, "the service has a process group of its own:")
    try:
        os.killpg(p.pid, signal.SIGHUP)
    except ProcessLookupError:
        pass
    time.sleep(0.2)
    same(ask("GET", "/health")[0], 200)


def stale_pid_file():
    same(ctl("stop")[0], 0)
    other = subprocess.Popen(["sleep", "60"])
    try:
        os.makedirs("/app/run", exist_ok=True)
        with open(PIDFILE, "w") as f:
            f.write("%d\n" % other.pid)
        same(ctl("status"), (3, "stopped"))
        same(ctl("stop")[0], 0)
        same(other.poll(), None, "the unrelated process ended:")
        with open(PIDFILE, "w") as f:
            f.write("%d\n" % other.pid)
        same(ctl("start")[0], 0)
        same((ask("GET", "/health")[0], pid() != other.pid, other.poll()), (200, True, None))
    finally:
        other.kill()
        other.wait()


def server_code_works():
    root = copy_of_project()
    folder = tempfile.mkdtemp()
    with open(folder + "/token", "w") as f:
        f.write("t\n")
    os.chmod(folder + "/token", 0o600)
    with open(folder + "/c", "w") as f:
        f.write("[server]\nlisten = 127.0.0.1:18099\n[store]\nbackend = file\npath = %s\nsync = always\nmax_value = 10\n"
                "[auth]\ntoken_file = %s/token\n" % (folder, folder))
    p = subprocess.Popen([sys.executable, "-S", "-B", "-m", "kvd", folder + "/c"], cwd=root, stdout=subprocess.PIPE)
    try:
        p.stdout.readline()
        same((kv("PUT", "a", b"1", token="t", port=18099)[0], kv("PUT", "a", b"12345678901", token="t", port=18099)[0],
              kv("GET", "a", port=18099)), (204, 413, (200, b"1")))
        p.terminate()
        same(p.wait(10), 0)
    finally:
        p.kill()
        p.communicate()


main([left_running, loopback_only, old_data, backup_untouched, put_get_delete, token_is_needed, size_of_values, private_files,
      survives_restart, survives_kill, status_and_stop, start_twice, start_waits_for_the_service, from_other_folders,
      does_not_hold_output, stale_pid_file, start_reports_failure, server_code_works])
