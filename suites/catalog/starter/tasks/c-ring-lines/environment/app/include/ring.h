/* A ring buffer of bytes with a fixed capacity. Bytes may have any value, NUL included. */
#ifndef RING_H
#define RING_H

#include <stddef.h>

struct ring {
    unsigned char *data;
    size_t cap;  /* size of data */
    size_t head; /* index of the oldest stored byte, always < cap */
    size_t used; /* number of stored bytes, 0 to cap */
};

/* Makes an empty ring that can store exactly cap bytes (cap >= 1). Returns 0, or -1 without memory. */
int ring_init(struct ring *r, size_t cap);
void ring_free(struct ring *r);

/* Number of bytes that could be written now. */
size_t ring_space(const struct ring *r);

/* Stores as many of the n bytes at src as there is space for, in order. Returns how many. */
size_t ring_write(struct ring *r, const void *src, size_t n);

/* Moves up to n of the oldest bytes to dst and returns how many. */
size_t ring_read(struct ring *r, void *dst, size_t n);

/* Like ring_read, but starts `skip` bytes after the oldest one and leaves the ring as it is.
   Returns 0 when there are no more than `skip` bytes. */
size_t ring_peek(const struct ring *r, size_t skip, void *dst, size_t n);

/* Position of the first byte equal to `byte`, counted from the oldest one; (size_t)-1 if there is none. */
size_t ring_find(const struct ring *r, unsigned char byte);

#endif
