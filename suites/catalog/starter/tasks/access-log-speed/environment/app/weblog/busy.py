WINDOW = 60


def busiest(requests):
    best = None
    for request in requests:
        count = 0
        for other in requests:
            if request.time <= other.time < request.time + WINDOW:
                count += 1
        if best is None or count > best["requests"] or (count == best["requests"] and request.time < best["time"]):
            best = {"time": request.time, "requests": count}
    return best
