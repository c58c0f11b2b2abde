/* A position in the bytes that are being parsed. */
#ifndef CURSOR_H
#define CURSOR_H

#include <stdint.h>

struct cursor {
    const unsigned char *data;
    uint32_t size;
    uint32_t at;
};

uint8_t cursor_byte(struct cursor *c);
uint32_t cursor_varint(struct cursor *c);

/* The next n bytes. */
const unsigned char *cursor_take(struct cursor *c, uint32_t n);

#endif
