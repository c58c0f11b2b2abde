import hmac
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from .config import ConfigError, load
from .store import FileStore, MemoryStore


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def key(self):
        return unquote(self.path[len("/kv/"):]) if self.path.startswith("/kv/") else ""

    def allowed(self):
        given = self.headers.get("X-Token", "")
        return hmac.compare_digest(given.encode(), self.server.config.token.encode())

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, b"ok\n")
        value = self.server.store.get(self.key())
        if value is None:
            return self.answer(404)
        self.answer(200, value.encode("utf-8", "surrogateescape"))

    def do_PUT(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(min(length, 1 << 22))
        if not self.allowed():
            return self.answer(403)
        if not self.key():
            return self.answer(404)
        if length > self.server.config.max_value:
            return self.answer(413)
        self.server.store.put(self.key(), body.decode("utf-8", "surrogateescape"))
        self.answer(204)

    def do_DELETE(self):
        if not self.allowed():
            return self.answer(403)
        self.answer(204 if self.server.store.delete(self.key()) else 404)

    def log_message(self, *args):
        pass


def main(path):
    try:
        config = load(path)
        store = FileStore(config.path, config.always) if config.backend == "file" else MemoryStore()
        server = ThreadingHTTPServer((config.address, config.port), Handler)
    except (ConfigError, OSError) as e:
        sys.exit("kvd: %s" % e)
    server.config, server.store = config, store
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("kvd: listening on %s:%d" % (config.address, config.port), flush=True)
    server.serve_forever(poll_interval=0.05)
    store.close()


if len(sys.argv) != 2:
    sys.exit("usage: python3 -m kvd CONFIG")
main(sys.argv[1])
