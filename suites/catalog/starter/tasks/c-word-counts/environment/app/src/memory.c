#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

void *need(void *memory)
{
    if (!memory) {
        fputs("wc-words: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}
