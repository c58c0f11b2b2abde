PAUSE = 1800


def visits(requests):
    """Per user: requests, visits, and seconds spent in visits."""
    open_visits = []  # [user, first, last]
    for request in sorted((r for r in requests if r.user is not None), key=lambda r: r.time):
        for visit in reversed(open_visits):
            if visit[0] == request.user:
                if request.time - visit[2] > PAUSE:
                    open_visits.append([request.user, request.time, request.time])
                else:
                    visit[2] = request.time
                break
        else:
            open_visits.append([request.user, request.time, request.time])
    users = {}
    for name in sorted({visit[0] for visit in open_visits}):
        mine = [visit for visit in open_visits if visit[0] == name]
        users[name] = {
            "requests": len([r for r in requests if r.user == name]),
            "visits": len(mine),
            "seconds": sum(last - first for _, first, last in mine),
        }
    return users
