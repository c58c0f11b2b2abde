/* A growing string of bytes. Bytes may have any value, NUL included. */
#ifndef STRBUF_H
#define STRBUF_H

#include <stddef.h>

/* After every successful call: data[len] == '\0' and len < cap. */
struct strbuf {
    char *data;
    size_t len;
    size_t cap;
};

/* All functions that return int return 0, or -1 without memory (the string is unchanged then). */
int strbuf_init(struct strbuf *s);
void strbuf_free(struct strbuf *s);

/* Makes sure that `extra` more bytes and the closing NUL fit. */
int strbuf_reserve(struct strbuf *s, size_t extra);

/* Appends exactly n bytes. `src` may point into s->data. */
int strbuf_append(struct strbuf *s, const void *src, size_t n);

/* Appends the text up to, not including, its closing NUL. */
int strbuf_puts(struct strbuf *s, const char *text);

/* Cuts the string to its first n bytes; does nothing when it has no more than n. */
void strbuf_truncate(struct strbuf *s, size_t n);

/* Orders byte by byte as unsigned values; when one is the beginning of the other, the shorter comes first.
   Returns a negative number, 0 or a positive number. */
int strbuf_compare(const struct strbuf *a, const struct strbuf *b);

#endif
