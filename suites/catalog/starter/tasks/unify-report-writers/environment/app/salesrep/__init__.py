from . import csv_writer, html_writer, text_writer
from .errors import ReportError

FORMATS = ("csv", "html", "text")


def render(fmt, orders):
    """The sales report for the text of an order file, in one of FORMATS."""
    if fmt == "csv":
        return csv_writer.write_csv(orders)
    if fmt == "html":
        return html_writer.write_html(orders)
    if fmt == "text":
        return text_writer.write_text(orders)
    raise ReportError("unknown format: " + fmt)
