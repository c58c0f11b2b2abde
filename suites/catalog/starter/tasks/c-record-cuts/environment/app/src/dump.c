#include "rpk.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[] = {"", "int", "text", "list", "ref"};

/* Writes the text with everything unusual as \xHH. */
static void escape(char *to, const struct rpk_node *node)
{
    for (uint32_t i = 0; i < strlen(node->text); i++) {
        unsigned char byte = (unsigned char)node->text[i];
        if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\')
            to += sprintf(to, "\\x%02x", byte);
        else
            *to++ = (char)byte;
    }
    *to = '\0';
}

static void dump_node(const struct rpk_node *node, int depth, FILE *out)
{
    char text[256];

    fprintf(out, "%*s%s ", 2 * depth, "", kinds[node->kind]);
    switch (node->kind) {
    case RPK_INT:
        fprintf(out, "%u\n", node->value);
        break;
    case RPK_TEXT:
        escape(text, node);
        fprintf(out, "\"%s\"\n", text);
        break;
    case RPK_LIST:
        fprintf(out, "%u\n", node->count);
        for (uint32_t i = 0; i < node->count; i++)
            dump_node(&node->items[i], depth + 1, out);
        break;
    case RPK_REF:
        fprintf(out, "%u (%s)\n", node->value, kinds[node->target->kind]);
        break;
    }
}

void rpk_dump(const struct rpk_doc *doc, FILE *out)
{
    for (uint32_t i = 0; i < doc->count; i++)
        dump_node(&doc->records[i], 0, out);
}
