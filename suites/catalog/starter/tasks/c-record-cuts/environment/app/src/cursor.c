#include "cursor.h"

#include <stddef.h>

uint8_t cursor_byte(struct cursor *c)
{
    return c->data[c->at++];
}

uint32_t cursor_varint(struct cursor *c)
{
    uint32_t value = 0;
    int shift = 0;
    uint8_t byte;

    do {
        byte = cursor_byte(c);
        value |= (uint32_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    return value;
}

const unsigned char *cursor_take(struct cursor *c, uint32_t n)
{
    const unsigned char *bytes = c->data + c->at;

    if (c->at + n > c->size)
        return NULL;
    c->at += n;
    return bytes;
}
