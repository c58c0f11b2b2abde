def dedup(requests):
    """Drops requests that were logged before, keeping the order."""
    unique = []
    for request in requests:
        if not any(request.same_as(earlier) for earlier in unique):
            unique.append(request)
    return unique
