#include "ring.h"

#include <stdlib.h>
#include <string.h>

int ring_init(struct ring *r, size_t cap)
{
    r->data = calloc(cap, 1);
    r->cap = r->data ? cap : 0;
    r->head = 0;
    r->used = 0;
    return r->data ? 0 : -1;
}

void ring_free(struct ring *r)
{
    free(r->data);
    memset(r, 0, sizeof *r);
}

size_t ring_space(const struct ring *r)
{
    return r->cap - r->used - 1;
}

size_t ring_write(struct ring *r, const void *src, size_t n)
{
    const unsigned char *from = src;
    size_t space = ring_space(r);
    size_t tail = (r->head + r->used) % r->cap;
    size_t first;

    if (n > space)
        n = space;
    first = r->cap - tail;
    if (first > n)
        first = n;
    memcpy(r->data + tail, from, first);
    memcpy(r->data, from, n - first);
    r->used += n;
    return n;
}

size_t ring_read(struct ring *r, void *dst, size_t n)
{
    n = ring_peek(r, 0, dst, n);
    r->used -= n;
    r->head += n;
    if (r->head > r->cap)
        r->head -= r->cap;
    return n;
}

size_t ring_peek(const struct ring *r, size_t skip, void *dst, size_t n)
{
    unsigned char *to = dst;
    size_t start = r->head + skip;
    size_t first;

    if (skip >= r->used)
        return 0;
    if (n > r->used - skip)
        n = r->used - skip;
    first = r->cap - r->head;
    if (first > n)
        first = n;
    memcpy(to, r->data + start, first);
    memcpy(to + first, r->data, n - first);
    return n;
}

size_t ring_find(const struct ring *r, unsigned char byte)
{
    const unsigned char *hit = memchr(r->data + r->head, byte, r->cap - r->head);

    if (!hit)
        return (size_t)-1;
    return (size_t)(hit - (r->data + r->head));
}
