/* Cuts a stream into words. */
#ifndef READER_H
#define READER_H

#include <stdio.h>

struct reader {
    FILE *in;
    char *text;         /* the current word */
    unsigned long line; /* line on which it ended, from 1 */
};

/* Reads the next word: a run of ASCII letters, digits, apostrophes and bytes above 127. ASCII capitals become small letters.
   Returns 0 at the end. */
int reader_next(struct reader *r);

#endif
