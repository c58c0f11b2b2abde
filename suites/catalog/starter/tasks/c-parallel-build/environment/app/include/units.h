/* Units of measurement and conversion between them. */
#ifndef UNITS_H
#define UNITS_H

#include "units_table.h"

struct unit {
    const char *name;
    const char *dimension;
    double factor; /* how many base units one of these is */
};

extern const struct unit units_table[UNITS_COUNT];

/* Finds a unit by its exact name; NULL when there is none. */
const struct unit *units_find(const char *name);

/* Tells whether the two measure the same thing. */
int units_compatible(const struct unit *from, const struct unit *to);

/* Converts a value; both units must be compatible. */
double units_convert(double value, const struct unit *from, const struct unit *to);

#endif
