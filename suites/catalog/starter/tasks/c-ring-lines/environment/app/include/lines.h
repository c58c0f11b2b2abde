/* Takes complete lines out of a ring. */
#ifndef LINES_H
#define LINES_H

#include "ring.h"
#include "strbuf.h"

/* If the ring holds a complete line (some bytes, then '\n'), removes it with its '\n' from the ring, makes `line` hold it
   without the '\n', and returns 1. A '\r' right before the '\n' is dropped too; any other '\r' stays.
   Without a complete line returns 0 and leaves the ring and `line` as they are. Returns -1 without memory.
   A line that fills the whole ring counts like any other. */
int lines_next(struct ring *r, struct strbuf *line);

#endif
