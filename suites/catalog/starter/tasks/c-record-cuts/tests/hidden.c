/* One test a run, named by the first argument; prints "done NAME" when it held.
   Inputs lie right before (or right after) a page that must not be touched; allocations are counted (linked with --wrap). */
#define _GNU_SOURCE
#include "rpk.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); exit(1); } } while (0)

void *__real_malloc(size_t n);
void *__real_calloc(size_t a, size_t b);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
static long blocks;
static size_t held, peak;
static int counting;

static void *noted(void *p)
{
    if (counting && p) {
        blocks++;
        held += malloc_usable_size(p);
        if (held > peak)
            peak = held;
    }
    return p;
}
static void dropped(void *p)
{
    if (counting && p) {
        blocks--;
        held -= malloc_usable_size(p);
    }
}
void *__wrap_malloc(size_t n) { return noted(__real_malloc(n)); }
void *__wrap_calloc(size_t a, size_t b) { return noted(__real_calloc(a, b)); }
void *__wrap_realloc(void *p, size_t n) { dropped(p); return noted(__real_realloc(p, n)); }
void __wrap_free(void *p) { dropped(p); __real_free(p); }
char *__wrap_strdup(const char *s) { char *p = __wrap_malloc(strlen(s) + 1); return p ? strcpy(p, s) : p; }
char *__wrap_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = __wrap_malloc(len + 1);
    if (p) { memcpy(p, s, len); p[len] = 0; }
    return p;
}

static unsigned char *room; /* 2 MiB between two forbidden pages */
#define ROOM (2u << 20)
static struct rpk_doc doc;
static struct rpk_error err;
static FILE *sink;

static void setup(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = mmap(NULL, ROOM + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && mprotect(p, page, PROT_NONE) == 0 && mprotect(p + page + ROOM, page, PROT_NONE) == 0);
    room = p + page;
    sink = fopen("/dev/null", "w");
}

/* Follows everything that the document points to. */
static unsigned long walk(const struct rpk_node *n)
{
    unsigned long sum = n->kind;
    CHECK(n->kind >= RPK_INT && n->kind <= RPK_REF);
    if (n->kind == RPK_TEXT) {
        for (uint32_t i = 0; i < n->count; i++)
            sum += (unsigned char)n->text[i];
        CHECK(n->text[n->count] == '\0');
    }
    if (n->kind == RPK_LIST)
        for (uint32_t i = 0; i < n->count; i++)
            sum += walk(&n->items[i]);
    if (n->kind == RPK_REF)
        CHECK(n->value < doc.count && n->target == &doc.records[n->value]);
    return sum;
}

static int parse_at(unsigned char *where, const void *bytes, size_t size)
{
    int rc;
    memcpy(where, bytes, size);
    memset(&doc, 0xa5, sizeof doc);
    err.reason = NULL;
    counting = 1;
    blocks = 0;
    held = peak = 0;
    rc = rpk_parse(where, size, &doc, &err);
    counting = 0;
    CHECK(rc == 0 || rc == -1);
    CHECK(peak <= 256 * size + 4096);
    if (rc) {
        CHECK(doc.records == NULL && doc.count == 0);
        CHECK(blocks == 0);
        CHECK(err.reason != NULL && err.offset <= size);
    } else {
        unsigned long sum = 0;
        memset(where, 0x55, size); /* the input may go away */
        for (uint32_t i = 0; i < doc.count; i++)
            sum += walk(&doc.records[i]);
        (void)sum;
        rpk_dump(&doc, sink);
        counting = 1;
        rpk_free(&doc);
        counting = 0;
        CHECK(blocks == 0 && doc.records == NULL && doc.count == 0);
    }
    return rc;
}

static int parse(const void *bytes, size_t size)
{
    int rc = parse_at(room + ROOM - size, bytes, size);
    CHECK(parse_at(room, bytes, size) == rc);
    return rc;
}
#define PARSE(lit) parse("RPK1" lit, sizeof("RPK1" lit) - 1)
#define GOOD(lit) CHECK(PARSE(lit) == 0)
#define BAD(lit) CHECK(PARSE(lit) == -1)

#define SAMPLE(lit) { "RPK1" lit, sizeof("RPK1" lit) - 1 }
static const struct { const char *bytes; size_t size; } samples[] = {
    SAMPLE("\0"),
    SAMPLE("\1\1\0"),
    SAMPLE("\3\1\xac\2\2\5hello\3\2\1\7\4\1"),
    SAMPLE("\2\2\0\3\0"),
    SAMPLE("\1\3\3\3\2\2\2ab\1\x80\x80\x80\x80\0\2\1\0\3\1\3\0"),
    SAMPLE("\7\2\3one\4\0\4\1\3\3\4\0\4\1\4\2\2\2\xff\0\3\1\3\1\4\4\1\xff\xff\xff\xff\xf"),
    SAMPLE("\x8a\x80\0\1\1\1\2\1\3\1\4\1\5\1\6\1\7\1\x08\1\x09\3\4\4\0\4\1\4\7\4\x08"),
};
#define SAMPLES (sizeof samples / sizeof *samples)

static char *dumped(const void *bytes, size_t size)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    memcpy(room, bytes, size);
    CHECK(rpk_parse(room, size, &doc, &err) == 0);
    rpk_dump(&doc, out);
    fclose(out);
    rpk_free(&doc);
    return text;
}
#define DUMPS(lit, want) CHECK(strcmp(dumped("RPK1" lit, sizeof("RPK1" lit) - 1), want) == 0)

static void good_files(void)
{
    DUMPS("\3\1\xac\2\2\5hello\3\2\1\7\4\1", "int 300\ntext \"hello\"\nlist 2\n  int 7\n  ref 1 (text)\n");
    DUMPS("\2\1\xff\xff\xff\xff\xf\1\x80\0", "int 4294967295\nint 0\n");
    DUMPS("\1\3\2\3\0\3\1\2\0", "list 2\n  list 0\n  list 1\n    text \"\"\n");
    DUMPS("\0", "");
}

static void cut_at_every_byte(void)
{
    for (size_t s = 0; s < SAMPLES; s++) {
        CHECK(parse(samples[s].bytes, samples[s].size) == 0);
        for (size_t n = 0; n < samples[s].size; n++)
            CHECK(parse(samples[s].bytes, n) == -1);
    }
}

static void changed_bytes(void)
{
    static const unsigned char values[] = {0, 1, 2, 3, 4, 5, 0x40, 0x7f, 0x80, 0x81, 0xfe, 0xff};
    unsigned char copy[256];
    uint32_t seed = 1;

    for (size_t s = 0; s < SAMPLES; s++)
        for (size_t at = 0; at < samples[s].size; at++)
            for (size_t v = 0; v < sizeof values; v++) {
                memcpy(copy, samples[s].bytes, samples[s].size);
                copy[at] = values[v];
                parse(copy, samples[s].size);
            }
    memcpy(copy, "RPK1", 4);
    for (int round = 0; round < 20000; round++) {
        size_t size = 4 + round % 60;
        for (size_t i = 4; i < size; i++) {
            seed = seed * 1664525 + 1013904223;
            copy[i] = (seed >> 28) < 13 ? (seed >> 20) % 6 : (seed >> 20) & 0xff;
        }
        parse(copy, size);
    }
    CHECK(parse("RPK2\0", 5) == -1 && parse("rpk1\0", 5) == -1);
}

static void varint_limits(void)
{
    GOOD("\1\1\x80\x80\x80\x80\0");
    GOOD("\1\1\xff\xff\xff\xff\xf");
    BAD("\1\1\x80\x80\x80\x80\x80\0");
    BAD("\1\1\xff\xff\xff\xff\x10");
    BAD("\1\1\xff\xff\xff\xff\x7f");
    BAD("\1\1\x80\x80\x80\x80\x10");
    BAD("\1\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    BAD("\x81\x80\x80\x80\x10\1\0");
    BAD("\1\2\x80\x80\x80\x80\x80\0");
    BAD("\1\3\x80\x80\x80\x80\x10");
    BAD("\2\1\0\4\x80\x80\x80\x80\x10");
}

static void text_lengths(void)
{
    GOOD("\1\2\3abc");
    BAD("\1\2\4abc");
    BAD("\1\2\xff\xff\xff\xff\xf" "abc");
    BAD("\1\2\xfe\xff\xff\xff\xf" "abc");
    BAD("\1\2\xf4\xff\xff\xff\xf" "abc");
    BAD("\1\2\xf0\xff\xff\xff\xf" "abcdefghijklmnopqrstuvwxyz");
    BAD("\1\2\xff\xff\xff\xff\x7" "abc");
    BAD("\2\2\xf3\xff\xff\xff\xf" "\1\1\1");
}

static void list_counts(void)
{
    GOOD("\1\3\2\1\1\1\2");
    BAD("\1\3\3\1\1\1\2");
    BAD("\1\3\xff\xff\xff\xff\xf\1\1");
    BAD("\1\3\x80\x80\x80\x80\x8");
    BAD("\1\3\x80\x80\x80\x80\x1\1\1");
    BAD("\xff\xff\xff\xff\xf\1\1");
    BAD("\xff\xff\xff\x7f\1\1");
    BAD("\x80\x80\x80\x80\x8\1\1");
    {   /* Lists that each claim as many items as could just fit. */
        unsigned char copy[4096] = "RPK1\1";
        size_t n = 5;
        for (int depth = 0; depth < 60; depth++) {
            copy[n++] = 3;
            copy[n++] = 0x80;
            copy[n++] = 0x0f;
        }
        CHECK(parse(copy, sizeof copy) == -1);
    }
}

static size_t nest(unsigned char *to, size_t depth)
{
    memcpy(to, "RPK1\1", 5);
    for (size_t i = 0; i < depth; i++) {
        to[5 + 2 * i] = 3;
        to[6 + 2 * i] = i + 1 < depth;
    }
    return 5 + 2 * depth;
}

static void nesting(void)
{
    unsigned char *bytes = __real_malloc(ROOM);
    CHECK(parse(bytes, nest(bytes, 1)) == 0);
    CHECK(parse(bytes, nest(bytes, 64)) == 0);
    CHECK(parse(bytes, nest(bytes, 65)) == -1);
    CHECK(parse(bytes, nest(bytes, 1000)) == -1);
    CHECK(parse(bytes, nest(bytes, 900000)) == -1);
    /* The depth is that of the place, not the number of lists. */
    memcpy(bytes, "RPK1\1\3\xc8\1", 8);
    for (int i = 0; i < 200; i++)
        memcpy(bytes + 8 + 4 * i, "\3\1\3\0", 4);
    CHECK(parse(bytes, 8 + 800) == 0);
    /* An item that is no list may lie in the deepest one. */
    size_t n = nest(bytes, 64);
    bytes[n - 1] = 1;
    memcpy(bytes + n, "\1\5", 2);
    CHECK(parse(bytes, n + 2) == 0);
}

static void references(void)
{
    unsigned char bytes[4096] = "RPK1\xe8\x07\1\7";
    size_t n = 8;

    GOOD("\2\1\0\4\0");
    GOOD("\2\1\0\3\1\3\1\4\0");
    BAD("\1\4\0");
    BAD("\1\3\1\4\0");
    BAD("\2\1\0\4\1");
    BAD("\2\1\0\4\2");
    BAD("\3\1\0\4\2\1\0");
    BAD("\2\1\0\4\xff\xff\xff\xff\xf");
    BAD("\2\1\0\3\2\1\0\4\1");
    /* A thousand records that each name the first: the targets must hold although the document grew meanwhile. */
    for (int i = 1; i < 1000; i++) {
        bytes[n++] = 4;
        bytes[n++] = i & 0x3f ? (i - 1) & 0x3f : 0;
    }
    CHECK(parse(bytes, n) == 0);
    DUMPS("\6\2\1x\3\2\4\0\2\1y\4\1\4\2\4\3\3\1\4\4",
          "text \"x\"\nlist 2\n  ref 0 (text)\n  text \"y\"\nref 1 (list)\nref 2 (ref)\nref 3 (ref)\nlist 1\n  ref 4 (ref)\n");
}

static void trailing_bytes(void)
{
    GOOD("\1\1\5");
    BAD("\1\1\5\0");
    BAD("\1\1\5\1\5");
    BAD("\0\0");
    BAD("\1\3\1\1\5\1\5");
}

static void nothing_left_allocated(void)
{
    /* Fails late, with much behind it; parse() counts. */
    BAD("\5\2\3abc\3\2\2\1x\3\1\2\1y\2\0\1\1\x09");
    BAD("\2\3\3\2\3abc\2\3def\x09\1\1");
    BAD("\1\3\2\3\2\2\1a\2\1b\3\2\2\1c\2\5d");
    BAD("\3\2\1a\2\1b\4\7");
    BAD("\1\2\1a\0");
    GOOD("\1\3\0");
    GOOD("\2\3\1\2\1a\3\2\2\0\2\0");
}

static void dump_any_text(void)
{
    static unsigned char bytes[20000];
    static char want[80000];
    size_t n, w;

    DUMPS("\1\2\5a\0b\0\"", "text \"a\\x00b\\x00\\x22\"\n");
    DUMPS("\1\2\4\\~\x7f ", "text \"\\x5c~\\x7f \"\n");
    n = (size_t)sprintf((char *)bytes, "RPK1\1\2\xa0\x8d\1");
    bytes[n - 1] = 1; /* 18080 bytes */
    w = (size_t)sprintf(want, "text \"");
    for (int i = 0; i < 18080; i++) {
        bytes[n++] = (unsigned char)(i % 256);
        w += (size_t)sprintf(want + w, i % 256 < 32 || i % 256 > 126 || i % 256 == '"' || i % 256 == '\\' ? "\\x%02x" : "%c", i % 256);
    }
    strcpy(want + w, "\"\n");
    CHECK(strcmp(dumped(bytes, n), want) == 0);
}

#define TEST(name) { #name, name }
static const struct { const char *name; void (*run)(void); } tests[] = {
    TEST(good_files), TEST(cut_at_every_byte), TEST(changed_bytes), TEST(varint_limits), TEST(text_lengths), TEST(list_counts),
    TEST(nesting), TEST(references), TEST(trailing_bytes), TEST(nothing_left_allocated), TEST(dump_any_text),
};

int main(int argc, char **argv)
{
    setup();
    for (size_t i = 0; argc > 1 && i < sizeof tests / sizeof *tests; i++)
        if (strcmp(tests[i].name, argv[1]) == 0) {
            tests[i].run();
            printf("done %s\n", argv[1]);
            return 0;
        }
    return 2;
}
