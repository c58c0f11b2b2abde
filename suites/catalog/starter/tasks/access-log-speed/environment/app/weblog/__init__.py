from .busy import busiest
from .dedup import dedup
from .join import join
from .parse import parse_access, parse_logins
from .paths import top_paths
from .visits import visits


def analyse(access, logins):
    """The figures for the texts of an access log and a login log."""
    lines = parse_access(access)
    requests = dedup(lines)
    join(requests, parse_logins(logins))
    return {
        "requests": len(requests),
        "duplicates": len(lines) - len(requests),
        "anonymous": len([r for r in requests if r.user is None]),
        "users": visits(requests),
        "busiest": busiest(requests),
        "top_paths": top_paths(requests),
    }
