#include "format.h"

#include <math.h>
#include <stdio.h>

char *format_quantity(char *buf, unsigned long size, double value, const struct unit *unit)
{
    double scale = value == 0 ? 1 : pow(10, FORMAT_DIGITS - 1 - floor(log10(fabs(value))));

    snprintf(buf, size, "%.*g %s", FORMAT_DIGITS, round(value * scale) / scale, unit->name);
    return buf;
}
