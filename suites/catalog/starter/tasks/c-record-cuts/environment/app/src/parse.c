#include "cursor.h"
#include "rpk.h"

#include <stdlib.h>
#include <string.h>

static int fail(struct cursor *c, struct rpk_error *err, const char *reason)
{
    err->offset = c->at;
    err->reason = reason;
    return -1;
}

static int parse_node(struct cursor *c, struct rpk_doc *doc, struct rpk_node *node, struct rpk_error *err)
{
    const unsigned char *bytes;

    node->kind = cursor_byte(c);
    switch (node->kind) {
    case RPK_INT:
        node->value = cursor_varint(c);
        return 0;
    case RPK_TEXT:
        node->count = cursor_varint(c);
        bytes = cursor_take(c, node->count);
        if (!bytes)
            return fail(c, err, "text is cut");
        node->text = malloc(node->count + 1);
        memcpy(node->text, bytes, node->count);
        node->text[node->count] = '\0';
        return 0;
    case RPK_LIST:
        node->count = cursor_varint(c);
        node->items = malloc(node->count * sizeof *node->items);
        for (uint32_t i = 0; i < node->count; i++)
            if (parse_node(c, doc, &node->items[i], err))
                return -1;
        return 0;
    case RPK_REF:
        node->value = cursor_varint(c);
        node->target = &doc->records[node->value];
        return 0;
    }
    return fail(c, err, "unknown kind of record");
}

int rpk_parse(const unsigned char *data, size_t size, struct rpk_doc *doc, struct rpk_error *err)
{
    struct cursor c = {data, size, 0};
    uint32_t count, room = 0;

    memset(doc, 0, sizeof *doc);
    if (memcmp(cursor_take(&c, 4), "RPK1", 4) != 0)
        return fail(&c, err, "not an RPK file");
    count = cursor_varint(&c);
    while (doc->count < count) {
        if (doc->count == room) {
            room = room ? 2 * room : 4;
            doc->records = realloc(doc->records, room * sizeof *doc->records);
        }
        if (parse_node(&c, doc, &doc->records[doc->count], err)) {
            rpk_free(doc);
            return -1;
        }
        doc->count++;
    }
    return 0;
}

static void free_node(struct rpk_node *node)
{
    if (node->kind == RPK_TEXT)
        free(node->text);
    if (node->kind == RPK_LIST) {
        for (uint32_t i = 0; i < node->count; i++)
            free_node(&node->items[i]);
        free(node->items);
    }
}

void rpk_free(struct rpk_doc *doc)
{
    for (uint32_t i = 0; i < doc->count; i++)
        free_node(&doc->records[i]);
    free(doc->records);
}
