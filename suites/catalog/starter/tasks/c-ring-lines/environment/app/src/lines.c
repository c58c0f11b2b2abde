#include "lines.h"

#include <string.h>

int lines_next(struct ring *r, struct strbuf *line)
{
    size_t n = ring_find(r, '\n');

    if (n == (size_t)-1 || n >= r->used)
        return 0;
    if (strbuf_reserve(line, n + 1))
        return -1;
    strbuf_truncate(line, 0);
    ring_read(r, line->data, n + 1);
    line->len = strcspn(line->data, "\r\n");
    line->data[line->len] = '\0';
    return 1;
}
