#include "strbuf.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16

int strbuf_init(struct strbuf *s)
{
    s->data = malloc(FIRST_CAP);
    if (!s->data)
        return -1;
    s->data[0] = '\0';
    s->len = 0;
    s->cap = FIRST_CAP;
    return 0;
}

void strbuf_free(struct strbuf *s)
{
    free(s->data);
    memset(s, 0, sizeof *s);
}

int strbuf_reserve(struct strbuf *s, size_t extra)
{
    size_t cap = s->cap;
    char *data;

    while (cap < s->len + extra)
        cap *= 2;
    if (cap == s->cap)
        return 0;
    data = realloc(s->data, cap);
    if (!data)
        return -1;
    s->data = data;
    s->cap = cap;
    return 0;
}

int strbuf_append(struct strbuf *s, const void *src, size_t n)
{
    if (strbuf_reserve(s, n))
        return -1;
    strncpy(s->data + s->len, src, n);
    s->len += n;
    s->data[s->len] = '\0';
    return 0;
}

int strbuf_puts(struct strbuf *s, const char *text)
{
    return strbuf_append(s, text, strlen(text));
}

void strbuf_truncate(struct strbuf *s, size_t n)
{
    if (n > s->len)
        return;
    s->len = n;
    s->data[n] = '\0';
}

int strbuf_compare(const struct strbuf *a, const struct strbuf *b)
{
    return strncmp(a->data, b->data, a->len > b->len ? a->len : b->len);
}
