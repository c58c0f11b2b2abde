LASTS = 3600


def join(requests, logins):
    """Gives each request its user."""
    for request in requests:
        best = None
        for login in logins:
            if login.address != request.address or login.time > request.time:
                continue
            if request.time - login.time > LASTS:
                continue
            if best is None or login.time >= best.time:
                best = login
        if best is not None:
            request.user = best.user
