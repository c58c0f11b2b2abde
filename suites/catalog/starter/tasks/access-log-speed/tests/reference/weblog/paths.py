def top_paths(requests, limit=10):
    paths = [request.path for request in requests]
    ranking = []
    for path in paths:
        if path not in [known for _, known in ranking]:
            ranking.append((-paths.count(path), path))
    return [[path, -count] for count, path in sorted(ranking)[:limit]]
