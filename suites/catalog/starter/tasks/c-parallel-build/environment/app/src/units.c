#include "units.h"

#include <string.h>

const struct unit *unit_lookup(const char *name)
{
    for (int i = 0; i < UNITS_COUNT; i++)
        if (strcmp(units_table[i].name, name) == 0)
            return &units_table[i];
    return NULL;
}

int units_compatible(const struct unit *from, const struct unit *to)
{
    return strcmp(from->dimension, to->dimension) == 0;
}

double units_convert(double value, const struct unit *from, const struct unit *to)
{
    return value * from->factor / to->factor;
}
