/* The short tour: what an ordinary session does. */
#include "lines.h"

#include <stdio.h>
#include <string.h>

static int failures;

#define CHECK(what)                                                        \
    do {                                                                   \
        if (!(what)) {                                                     \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #what);      \
            failures++;                                                    \
        }                                                                  \
    } while (0)

int main(void)
{
    struct ring r;
    struct strbuf s, t;
    char out[16];

    CHECK(ring_init(&r, 64) == 0);
    CHECK(ring_write(&r, "hello\nworld\r\nrest", 17) == 17);
    CHECK(ring_peek(&r, 6, out, 5) == 5 && memcmp(out, "world", 5) == 0);

    CHECK(strbuf_init(&s) == 0);
    CHECK(lines_next(&r, &s) == 1 && strcmp(s.data, "hello") == 0);
    CHECK(lines_next(&r, &s) == 1 && strcmp(s.data, "world") == 0);
    CHECK(lines_next(&r, &s) == 0 && r.used == 4);

    CHECK(strbuf_init(&t) == 0);
    CHECK(strbuf_puts(&t, "wor") == 0 && strbuf_puts(&t, "ld") == 0);
    CHECK(strbuf_compare(&s, &t) == 0);

    strbuf_free(&s);
    strbuf_free(&t);
    ring_free(&r);
    puts(failures ? "FAILED" : "ok");
    return failures != 0;
}
