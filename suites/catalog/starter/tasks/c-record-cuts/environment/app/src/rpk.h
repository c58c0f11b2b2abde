/* Reading of RPK files; doc/FORMAT.md describes them. */
#ifndef RPK_H
#define RPK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum rpk_kind { RPK_INT = 1, RPK_TEXT = 2, RPK_LIST = 3, RPK_REF = 4 };

struct rpk_node {
    enum rpk_kind kind;
    uint32_t value;                /* RPK_INT: the integer; RPK_REF: the index */
    char *text;                    /* RPK_TEXT: the bytes, followed by a NUL that does not count */
    uint32_t count;                /* RPK_TEXT: number of bytes; RPK_LIST: number of items */
    struct rpk_node *items;        /* RPK_LIST: the items; NULL if there are none */
    const struct rpk_node *target; /* RPK_REF: the record that is meant, one of the records of the same document */
};

struct rpk_doc {
    struct rpk_node *records;
    uint32_t count;
};

struct rpk_error {
    size_t offset;      /* where reading stopped */
    const char *reason; /* a constant string */
};

/* Parses the size bytes at data, which are read only and may be freed afterwards. Returns 0 and fills doc, which is
   given back with rpk_free. A malformed file returns -1, fills err, leaves doc all zero, and leaves nothing allocated. */
int rpk_parse(const unsigned char *data, size_t size, struct rpk_doc *doc, struct rpk_error *err);

void rpk_free(struct rpk_doc *doc);

/* Prints the document, one line a record; the items of a list are indented by two more blanks than the list. */
void rpk_dump(const struct rpk_doc *doc, FILE *out);

#endif
