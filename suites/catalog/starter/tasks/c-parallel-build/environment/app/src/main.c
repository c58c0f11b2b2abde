#include "format.h"
#include "units.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct unit *need(const char *name)
{
    const struct unit *unit = units_find(name);

    if (!unit) {
        fprintf(stderr, "conv: unknown unit '%s'\n", name);
        exit(2);
    }
    return unit;
}

int main(int argc, char **argv)
{
    const struct unit *from, *to;
    char buf[128], *end;
    double value;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("conv %s, %d units\n", CONV_VERSION, UNITS_COUNT);
        return 0;
    }
    if (argc != 4) {
        fprintf(stderr, "usage: conv VALUE FROM TO | conv --version\n");
        return 2;
    }
    value = strtod(argv[1], &end);
    if (end == argv[1] || *end) {
        fprintf(stderr, "conv: not a number: '%s'\n", argv[1]);
        return 2;
    }
    from = need(argv[2]);
    to = need(argv[3]);
    if (!units_compatible(from, to)) {
        fprintf(stderr, "conv: cannot convert %s to %s\n", from->dimension, to->dimension);
        return 2;
    }
    puts(format_quantity(buf, sizeof buf, units_convert(value, from, to), to));
    return 0;
}
