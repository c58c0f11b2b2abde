import configparser
import os
import stat
from types import SimpleNamespace


class ConfigError(Exception):
    pass


KNOWN = {"server": {"listen"}, "store": {"backend", "path", "sync", "max_value"}, "auth": {"token_file"}}


def load(path):
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as f:
            parser.read_file(f)
    except (OSError, configparser.Error) as e:
        raise ConfigError(str(e))
    for section in parser.sections():
        for key in parser[section]:
            if key not in KNOWN.get(section, ()):
                raise ConfigError("unknown setting %s in [%s]" % (key, section))
    try:
        values = {key: parser[section][key].strip() for section, keys in KNOWN.items() for key in keys}
    except KeyError as e:
        raise ConfigError("missing: %s" % e)
    address, _, port = values["listen"].rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError("not a port: %s" % port)
    if values["backend"] not in ("memory", "file"):
        raise ConfigError("not a backend: %s" % values["backend"])
    if values["sync"] not in ("never", "always"):
        raise ConfigError("sync is never or always")
    if not values["max_value"].isdigit():
        raise ConfigError("max_value is a number of bytes")
    try:
        mode = os.stat(values["token_file"]).st_mode
        with open(values["token_file"], encoding="utf-8") as f:
            token = f.read().strip()
    except OSError as e:
        raise ConfigError(str(e))
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError("%s can be read by others" % values["token_file"])
    return SimpleNamespace(address=address, port=int(port), backend=values["backend"], path=values["path"],
                           always=values["sync"] == "always", max_value=int(values["max_value"]), token=token)
