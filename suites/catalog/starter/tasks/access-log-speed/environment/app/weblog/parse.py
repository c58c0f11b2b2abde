"""Reading of the two logs."""


class Request:
    def __init__(self, time, address, method, path):
        self.time = time
        self.address = address
        self.method = method
        self.path = path
        self.user = None

    def same_as(self, other):
        return (self.time == other.time and self.address == other.address
                and self.method.upper() == other.method.upper()
                and self.path.rstrip("/") == other.path.rstrip("/"))


class Login:
    def __init__(self, time, address, user):
        self.time = time
        self.address = address
        self.user = user


def parse_access(text):
    requests = []
    for line in text.splitlines():
        if line.strip():
            time, address, method, path = line.split(None, 3)
            requests.append(Request(int(time), address, method, path))
    return requests


def parse_logins(text):
    logins = []
    for line in text.splitlines():
        if line.strip():
            time, address, user = line.split(None, 2)
            logins.append(Login(int(time), address, user))
    return logins
