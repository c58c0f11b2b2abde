class ReportError(Exception):
    """The order file or the request is wrong."""
