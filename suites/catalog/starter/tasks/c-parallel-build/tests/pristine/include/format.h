/* Printing of quantities. */
#ifndef FORMAT_H
#define FORMAT_H

#include "units.h"

/* Significant digits of every number that is printed. */
#define FORMAT_DIGITS 6

/* Writes "VALUE UNIT" into buf and returns buf. */
char *format_quantity(char *buf, unsigned long size, double value, const struct unit *unit);

#endif
