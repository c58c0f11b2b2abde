import json
import os
import threading

from .config import ConfigError


class MemoryStore:
    def __init__(self):
        self.data = {}
        self.lock = threading.Lock()

    def get(self, key):
        with self.lock:
            return self.data.get(key)

    def put(self, key, value):
        with self.lock:
            self.log({"op": "put", "key": key, "value": value})
            self.data[key] = value

    def delete(self, key):
        with self.lock:
            if key not in self.data:
                return False
            self.log({"op": "del", "key": key})
            del self.data[key]
            return True

    def log(self, record):
        pass

    def close(self):
        pass


class FileStore(MemoryStore):
    def __init__(self, folder, always):
        super().__init__()
        self.always = always
        path = os.path.join(folder, "journal.jsonl")
        try:
            self.file = open(path, "a+", encoding="utf-8", buffering=1 << 20)
        except OSError as e:
            raise ConfigError(str(e))
        self.file.seek(0)
        for number, line in enumerate(self.file, 1):
            try:
                record = json.loads(line)
                if record["op"] == "put":
                    self.data[record["key"]] = record["value"]
                else:
                    self.data.pop(record["key"], None)
                if not line.endswith("\n"):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise ConfigError("%s: line %d cannot be read" % (path, number))

    def log(self, record):
        self.file.write(json.dumps(record) + "\n")
        if self.always:
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self):
        with self.lock:
            self.file.close()
