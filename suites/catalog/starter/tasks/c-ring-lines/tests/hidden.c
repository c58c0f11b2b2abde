/* One test a run, named by the first argument; prints "done NAME" when it held. */
#include "lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                          \
    do {                                                                     \
        if (!(what)) {                                                       \
            printf("line %d: %s\n", __LINE__, #what);                        \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

static struct ring r;
static struct strbuf s, t;
static char out[256];

static void fresh(size_t cap, size_t offset)
{
    CHECK(ring_init(&r, cap) == 0);
    for (; offset; offset--) {
        CHECK(ring_write(&r, "#", 1) == 1);
        CHECK(ring_read(&r, out, 1) == 1);
    }
}

static int holds(const struct strbuf *b, const char *bytes, size_t n)
{
    return b->len == n && b->len < b->cap && memcmp(b->data, bytes, n) == 0 && b->data[n] == '\0';
}

static void ring_linear(void)
{
    fresh(32, 0);
    CHECK(ring_write(&r, "abc\0def", 7) == 7);
    CHECK(ring_peek(&r, 0, out, 99) == 7 && memcmp(out, "abc\0def", 7) == 0);
    CHECK(ring_peek(&r, 4, out, 2) == 2 && memcmp(out, "de", 2) == 0);
    CHECK(ring_peek(&r, 7, out, 1) == 0);
    CHECK(ring_find(&r, 'd') == 4);
    CHECK(ring_read(&r, out, 3) == 3 && memcmp(out, "abc", 3) == 0);
    CHECK(ring_read(&r, out, 30) == 4 && memcmp(out, "\0def", 4) == 0);
    CHECK(ring_read(&r, out, 1) == 0);
}

/* What is written beyond the end must be found again, wherever the ring begins. */
static void ring_wrapped_write(void)
{
    size_t at, i;

    for (at = 0; at < 8; at++) {
        fresh(8, at);
        CHECK(ring_write(&r, "ABCDEF", 6) == 6);
        CHECK(r.head < r.cap);
        for (i = 0; i < 6; i++)
            CHECK(r.data[(r.head + i) % r.cap] == "ABCDEF"[i]);
        ring_free(&r);
    }
}

static void ring_wrapped_read(void)
{
    size_t at, n, i, step = 0;
    unsigned char next_in = 0, next_out = 0;

    for (at = 0; at < 8; at++)
        for (n = 1; n < 7; n++) {
            fresh(8, at);
            CHECK(ring_write(&r, "UVWXYZ", 6) == 6);
            CHECK(ring_read(&r, out, n) == n && memcmp(out, "UVWXYZ", n) == 0);
            CHECK(r.used == 6 - n && r.head < r.cap);
            CHECK(ring_read(&r, out, 9) == 6 - n && memcmp(out, &"UVWXYZ"[n], 6 - n) == 0);
            ring_free(&r);
        }
    fresh(11, 0);
    for (step = 0; step < 2000; step++) {
        unsigned char in[16];
        size_t put = step * 7 % 11, got;
        for (i = 0; i < put; i++)
            in[i] = (unsigned char)(next_in + i);
        next_in = (unsigned char)(next_in + ring_write(&r, in, put));
        got = ring_read(&r, out, step * 5 % 9);
        for (i = 0; i < got; i++)
            CHECK((unsigned char)out[i] == next_out++);
        CHECK(r.head < r.cap);
    }
}

static void ring_full_capacity(void)
{
    size_t cap, at;

    for (cap = 1; cap < 6; cap++)
        for (at = 0; at < cap; at++) {
            fresh(cap, at);
            CHECK(ring_space(&r) == cap);
            CHECK(ring_write(&r, "abcdefgh", 8) == cap && ring_space(&r) == 0);
            CHECK(ring_write(&r, "x", 1) == 0);
            CHECK(ring_find(&r, (unsigned char)"abcdefgh"[cap - 1]) == cap - 1);
            CHECK(ring_find(&r, 'x') == (size_t)-1);
            CHECK(ring_read(&r, out, 99) == cap && memcmp(out, "abcdefgh", cap) == 0);
            CHECK(ring_space(&r) == cap);
            CHECK(ring_find(&r, 'a') == (size_t)-1);
            ring_free(&r);
        }
}

static void ring_peek_wrapped(void)
{
    size_t at, skip, n;

    for (at = 0; at < 9; at++)
        for (skip = 0; skip < 9; skip++)
            for (n = 0; n < 9; n++) {
                size_t want = skip >= 7 ? 0 : n > 7 - skip ? 7 - skip : n;
                fresh(9, at);
                CHECK(ring_write(&r, "abcdefg", 7) == 7);
                memset(out, '!', 16);
                CHECK(ring_peek(&r, skip, out, n) == want);
                CHECK(want == 0 || memcmp(out, &"abcdefg"[skip], want) == 0);
                CHECK(out[want] == '!' && r.used == 7);
                ring_free(&r);
            }
}

static void strbuf_text(void)
{
    CHECK(strbuf_init(&s) == 0 && holds(&s, "", 0));
    CHECK(strbuf_puts(&s, "one ") == 0 && strbuf_puts(&s, "two") == 0);
    CHECK(holds(&s, "one two", 7));
    strbuf_truncate(&s, 3);
    CHECK(holds(&s, "one", 3));
    strbuf_truncate(&s, 4);
    CHECK(holds(&s, "one", 3));
}

static void strbuf_keeps_nul(void)
{
    CHECK(strbuf_init(&s) == 0);
    CHECK(strbuf_append(&s, "a\0b\0", 4) == 0 && holds(&s, "a\0b\0", 4));
    CHECK(strbuf_append(&s, "\0\0z", 3) == 0 && holds(&s, "a\0b\0\0\0z", 7));
    CHECK(strbuf_puts(&s, "end") == 0 && holds(&s, "a\0b\0\0\0zend", 10));
}

static void strbuf_stays_terminated(void)
{
    size_t n, i;

    for (n = 1; n < 140; n++) {
        char *text = malloc(n);
        memset(text, 'q', n);
        CHECK(strbuf_init(&s) == 0);
        CHECK(strbuf_append(&s, text, n) == 0 && holds(&s, text, n));
        strbuf_free(&s);
        CHECK(strbuf_init(&s) == 0);
        for (i = 0; i < n; i++)
            CHECK(strbuf_append(&s, "q", 1) == 0 && holds(&s, text, i + 1));
        CHECK(strbuf_reserve(&s, n) == 0 && s.cap > s.len + n && holds(&s, text, n));
        /* The source may be a part of the string itself. */
        CHECK(strbuf_append(&s, s.data, s.len) == 0 && s.len == 2 * n && s.len < s.cap);
        for (i = 0; i < 2 * n; i++)
            CHECK(s.data[i] == 'q');
        CHECK(strbuf_append(&s, s.data + s.len - 1, 1) == 0 && s.data[2 * n] == 'q' && s.data[2 * n + 1] == '\0');
        strbuf_free(&s);
        free(text);
    }
    /* A big one, so that growing has to move it. */
    CHECK(strbuf_init(&s) == 0);
    for (i = 0; i < 200000; i++)
        CHECK(strbuf_append(&s, "0123456789abcdef" + i % 16, 1) == 0);
    for (n = 0; n < 4; n++) {
        size_t len = s.len;
        CHECK(strbuf_append(&s, s.data, len) == 0 && s.len == 2 * len);
        for (i = 0; i < s.len; i++)
            CHECK(s.data[i] == "0123456789abcdef"[i % 16]);
    }
}

static int order(const char *a, size_t an, const char *b, size_t bn)
{
    int c;
    CHECK(strbuf_init(&s) == 0 && strbuf_init(&t) == 0);
    CHECK(strbuf_append(&s, a, an) == 0 && strbuf_append(&t, b, bn) == 0);
    c = strbuf_compare(&s, &t);
    strbuf_free(&s);
    strbuf_free(&t);
    return c < 0 ? -1 : c > 0;
}

static void strbuf_compare_nul(void)
{
    CHECK(order("a\0b", 3, "a\0b", 3) == 0);
    CHECK(order("a\0b", 3, "a\0c", 3) == -1);
    CHECK(order("a\0c", 3, "a\0b", 3) == 1);
    CHECK(order("a", 1, "a\0", 2) == -1);
    CHECK(order("a\0", 2, "a", 1) == 1);
    CHECK(order("", 0, "\0", 1) == -1);
    CHECK(order("ab", 2, "abc", 3) == -1);
    CHECK(order("b", 1, "abc", 3) == 1);
    CHECK(order("\x80", 1, "\x7f", 1) == 1);
    CHECK(order("", 0, "", 0) == 0);
}

static void lines_simple(void)
{
    fresh(64, 0);
    CHECK(strbuf_init(&s) == 0);
    CHECK(ring_write(&r, "one\r\n\ntwo\n", 10) == 10);
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "one", 3));
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "", 0));
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "two", 3));
    CHECK(lines_next(&r, &s) == 0 && r.used == 0);
}

static void lines_partial(void)
{
    fresh(64, 0);
    CHECK(strbuf_init(&s) == 0 && strbuf_puts(&s, "before") == 0);
    CHECK(lines_next(&r, &s) == 0 && holds(&s, "before", 6));
    CHECK(ring_write(&r, "half", 4) == 4);
    CHECK(lines_next(&r, &s) == 0 && r.used == 4 && holds(&s, "before", 6));
    CHECK(ring_write(&r, " done\nnext", 10) == 10);
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "half done", 9));
    CHECK(lines_next(&r, &s) == 0 && r.used == 4 && holds(&s, "half done", 9));
}

static void lines_across_wrap(void)
{
    size_t at;

    for (at = 0; at < 12; at++) {
        fresh(12, at);
        CHECK(strbuf_init(&s) == 0);
        CHECK(ring_write(&r, "abcd\r\nefghi\n", 12) == 12);
        CHECK(lines_next(&r, &s) == 1 && holds(&s, "abcd", 4));
        CHECK(lines_next(&r, &s) == 1 && holds(&s, "efghi", 5));
        CHECK(lines_next(&r, &s) == 0 && r.used == 0);
        CHECK(ring_write(&r, "01234567890\n", 12) == 12);
        CHECK(lines_next(&r, &s) == 1 && holds(&s, "01234567890", 11));
        CHECK(ring_write(&r, "xyz", 3) == 3 && lines_next(&r, &s) == 0 && r.used == 3);
        strbuf_free(&s);
        ring_free(&r);
    }
}

static void lines_with_nul(void)
{
    fresh(64, 0);
    CHECK(strbuf_init(&s) == 0);
    CHECK(ring_write(&r, "a\0b\n\0\r\nc\rd\r\r\n", 13) == 13);
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "a\0b", 3));
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "\0", 1));
    CHECK(lines_next(&r, &s) == 1 && holds(&s, "c\rd\r", 4));
    CHECK(lines_next(&r, &s) == 0 && r.used == 0);
}

#define TEST(name) { #name, name }
static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(ring_linear), TEST(ring_wrapped_write), TEST(ring_wrapped_read), TEST(ring_full_capacity), TEST(ring_peek_wrapped),
    TEST(strbuf_text), TEST(strbuf_keeps_nul), TEST(strbuf_stays_terminated), TEST(strbuf_compare_nul),
    TEST(lines_simple), TEST(lines_partial), TEST(lines_across_wrap), TEST(lines_with_nul),
};

int main(int argc, char **argv)
{
    size_t i;

    for (i = 0; argc > 1 && i < sizeof tests / sizeof *tests; i++)
        if (strcmp(tests[i].name, argv[1]) == 0) {
            tests[i].run();
            printf("done %s\n", argv[1]);
            return 0;
        }
    return 2;
}
