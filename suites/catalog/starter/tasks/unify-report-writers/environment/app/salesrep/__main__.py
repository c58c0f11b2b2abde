import sys

from . import FORMATS, ReportError, render


def main(argv):
    if len(argv) != 2:
        sys.stderr.write("usage: salesrep %s FILE\n" % "|".join(FORMATS))
        return 2
    try:
        with open(argv[1], encoding="utf-8", newline="") as f:
            sys.stdout.buffer.write(render(argv[0], f.read()).encode("utf-8"))
    except (OSError, ReportError) as e:
        sys.stderr.write("salesrep: %s\n" % e)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
