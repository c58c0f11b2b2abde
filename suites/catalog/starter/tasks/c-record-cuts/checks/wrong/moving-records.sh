#!/bin/sh
# Lets the top-level array grow and move under the references into it.
set -e
patch -s -p1 <<'PATCH'
--- a/src/cursor.c
+++ b/src/cursor.c
@@ -1,32 +1,40 @@
 #include "cursor.h"
 
-#include <stddef.h>
+size_t cursor_left(const struct cursor *c)
+{
+    return c->size - c->at;
+}
 
-uint8_t cursor_byte(struct cursor *c)
+int cursor_byte(struct cursor *c, uint8_t *byte)
 {
-    return c->data[c->at++];
+    if (cursor_left(c) == 0)
+        return -1;
+    *byte = c->data[c->at++];
+    return 0;
 }
 
-uint32_t cursor_varint(struct cursor *c)
+int cursor_varint(struct cursor *c, uint32_t *value)
 {
-    uint32_t value = 0;
-    int shift = 0;
+    uint64_t sum = 0;
     uint8_t byte;
 
-    do {
-        byte = cursor_byte(c);
-        value |= (uint32_t)(byte & 0x7f) << shift;
-        shift += 7;
-    } while (byte & 0x80);
-    return value;
+    for (int shift = 0; shift < 35; shift += 7) {
+        if (cursor_byte(c, &byte))
+            return -1;
+        sum |= (uint64_t)(byte & 0x7f) << shift;
+        if (!(byte & 0x80)) {
+            *value = (uint32_t)sum;
+            return sum > UINT32_MAX ? -1 : 0;
+        }
+    }
+    return -1;
 }
 
-const unsigned char *cursor_take(struct cursor *c, uint32_t n)
+int cursor_take(struct cursor *c, size_t n, const unsigned char **bytes)
 {
-    const unsigned char *bytes = c->data + c->at;
-
-    if (c->at + n > c->size)
-        return NULL;
+    if (n > cursor_left(c))
+        return -1;
+    *bytes = c->data + c->at;
     c->at += n;
-    return bytes;
+    return 0;
 }
--- a/src/cursor.h
+++ b/src/cursor.h
@@ -1,19 +1,21 @@
-/* A position in the bytes that are being parsed. */
+/* A position in the bytes that are being parsed. Every function returns 0, or -1 when the bytes do not hold what is asked for. */
 #ifndef CURSOR_H
 #define CURSOR_H
 
+#include <stddef.h>
 #include <stdint.h>
 
 struct cursor {
     const unsigned char *data;
-    uint32_t size;
-    uint32_t at;
+    size_t size;
+    size_t at; /* never beyond size */
 };
 
-uint8_t cursor_byte(struct cursor *c);
-uint32_t cursor_varint(struct cursor *c);
+size_t cursor_left(const struct cursor *c);
+int cursor_byte(struct cursor *c, uint8_t *byte);
+int cursor_varint(struct cursor *c, uint32_t *value);
 
 /* The next n bytes. */
-const unsigned char *cursor_take(struct cursor *c, uint32_t n);
+int cursor_take(struct cursor *c, size_t n, const unsigned char **bytes);
 
 #endif
--- a/src/dump.c
+++ b/src/dump.c
@@ -1,35 +1,32 @@
 #include "rpk.h"
 
 #include <stdio.h>
-#include <string.h>
 
 static const char *const kinds[] = {"", "int", "text", "list", "ref"};
 
-/* Writes the text with everything unusual as \xHH. */
-static void escape(char *to, const struct rpk_node *node)
+/* Prints the text with everything unusual as \xHH. */
+static void dump_text(const struct rpk_node *node, FILE *out)
 {
-    for (uint32_t i = 0; i < strlen(node->text); i++) {
+    putc('"', out);
+    for (uint32_t i = 0; i < node->count; i++) {
         unsigned char byte = (unsigned char)node->text[i];
         if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\')
-            to += sprintf(to, "\\x%02x", byte);
+            fprintf(out, "\\x%02x", byte);
         else
-            *to++ = (char)byte;
+            putc(byte, out);
     }
-    *to = '\0';
+    fputs("\"\n", out);
 }
 
 static void dump_node(const struct rpk_node *node, int depth, FILE *out)
 {
-    char text[256];
-
     fprintf(out, "%*s%s ", 2 * depth, "", kinds[node->kind]);
     switch (node->kind) {
     case RPK_INT:
         fprintf(out, "%u\n", node->value);
         break;
     case RPK_TEXT:
-        escape(text, node);
-        fprintf(out, "\"%s\"\n", text);
+        dump_text(node, out);
         break;
     case RPK_LIST:
         fprintf(out, "%u\n", node->count);
--- a/src/parse.c
+++ b/src/parse.c
@@ -4,6 +4,18 @@
 #include <stdlib.h>
 #include <string.h>
 
+#define DEEPEST 64
+#define SMALLEST_RECORD 2 /* bytes: no record is shorter, which bounds every count */
+
+static void *need(void *memory)
+{
+    if (!memory) {
+        fputs("rpk: out of memory\n", stderr);
+        exit(1);
+    }
+    return memory;
+}
+
 static int fail(struct cursor *c, struct rpk_error *err, const char *reason)
 {
     err->offset = c->at;
@@ -11,76 +23,100 @@
     return -1;
 }
 
-static int parse_node(struct cursor *c, struct rpk_doc *doc, struct rpk_node *node, struct rpk_error *err)
+static int parse_nodes(struct cursor *c, struct rpk_doc *doc, struct rpk_node **nodes, uint32_t *count, int depth,
+                       struct rpk_error *err);
+
+static int parse_node(struct cursor *c, struct rpk_doc *doc, struct rpk_node *node, int depth, struct rpk_error *err)
 {
     const unsigned char *bytes;
+    uint32_t number;
+    uint8_t kind;
 
-    node->kind = cursor_byte(c);
+    if (cursor_byte(c, &kind))
+        return fail(c, err, "file is cut");
+    if (kind < RPK_INT || kind > RPK_REF)
+        return fail(c, err, "unknown kind of record");
+    if (kind == RPK_LIST && depth == DEEPEST)
+        return fail(c, err, "lists are nested too deep");
+    node->kind = kind;
+    if (kind == RPK_LIST)
+        return parse_nodes(c, doc, &node->items, &node->count, depth + 1, err);
+    if (cursor_varint(c, &number))
+        return fail(c, err, "bad number");
     switch (node->kind) {
-    case RPK_INT:
-        node->value = cursor_varint(c);
-        return 0;
     case RPK_TEXT:
-        node->count = cursor_varint(c);
-        bytes = cursor_take(c, node->count);
-        if (!bytes)
+        if (cursor_take(c, number, &bytes))
             return fail(c, err, "text is cut");
-        node->text = malloc(node->count + 1);
-        memcpy(node->text, bytes, node->count);
-        node->text[node->count] = '\0';
-        return 0;
-    case RPK_LIST:
-        node->count = cursor_varint(c);
-        node->items = malloc(node->count * sizeof *node->items);
-        for (uint32_t i = 0; i < node->count; i++)
-            if (parse_node(c, doc, &node->items[i], err))
-                return -1;
+        node->count = number;
+        node->text = need(malloc((size_t)number + 1));
+        memcpy(node->text, bytes, number);
+        node->text[number] = '\0';
         return 0;
     case RPK_REF:
-        node->value = cursor_varint(c);
-        node->target = &doc->records[node->value];
+        if (number >= doc->count)
+            return fail(c, err, "reference to a record that is not complete");
+        node->target = &doc->records[number];
+        /* fall through */
+    default:
+        node->value = number;
         return 0;
     }
-    return fail(c, err, "unknown kind of record");
+}
+
+/* Parses a count and as many nodes. All that was allocated hangs on *nodes at any time, *count telling how many are begun. */
+static int parse_nodes(struct cursor *c, struct rpk_doc *doc, struct rpk_node **nodes, uint32_t *count, int depth,
+                       struct rpk_error *err)
+{
+    uint32_t claimed, room = 0;
+
+    if (cursor_varint(c, &claimed))
+        return fail(c, err, "bad number");
+    if (claimed > cursor_left(c) / SMALLEST_RECORD)
+        return fail(c, err, "more records than the file has room for");
+    while (*count < claimed) {
+        struct rpk_node node = {0};
+        int rc;
+        /* Inner lists grow by need: each of many nested ones could claim nearly the whole file. */
+        if (*count == room) {
+            room = room ? 2 * room : 1;
+            *nodes = need(realloc(*nodes, room * sizeof **nodes));
+        }
+        rc = parse_node(c, doc, &node, depth, err);
+        (*nodes)[(*count)++] = node;
+        if (rc)
+            return -1;
+    }
+    return 0;
 }
 
 int rpk_parse(const unsigned char *data, size_t size, struct rpk_doc *doc, struct rpk_error *err)
 {
     struct cursor c = {data, size, 0};
-    uint32_t count, room = 0;
+    const unsigned char *magic;
 
     memset(doc, 0, sizeof *doc);
-    if (memcmp(cursor_take(&c, 4), "RPK1", 4) != 0)
+    if (cursor_take(&c, 4, &magic) || memcmp(magic, "RPK1", 4) != 0)
         return fail(&c, err, "not an RPK file");
-    count = cursor_varint(&c);
-    while (doc->count < count) {
-        if (doc->count == room) {
-            room = room ? 2 * room : 4;
-            doc->records = realloc(doc->records, room * sizeof *doc->records);
-        }
-        if (parse_node(&c, doc, &doc->records[doc->count], err)) {
-            rpk_free(doc);
-            return -1;
-        }
-        doc->count++;
+    if (parse_nodes(&c, doc, &doc->records, &doc->count, 0, err) == 0) {
+        if (cursor_left(&c) == 0)
+            return 0;
+        fail(&c, err, "bytes after the last record");
     }
-    return 0;
+    rpk_free(doc);
+    return -1;
 }
 
-static void free_node(struct rpk_node *node)
+static void free_nodes(struct rpk_node *nodes, uint32_t count)
 {
-    if (node->kind == RPK_TEXT)
-        free(node->text);
-    if (node->kind == RPK_LIST) {
-        for (uint32_t i = 0; i < node->count; i++)
-            free_node(&node->items[i]);
-        free(node->items);
+    for (uint32_t i = 0; i < count; i++) {
+        free(nodes[i].text);
+        free_nodes(nodes[i].items, nodes[i].count * (nodes[i].kind == RPK_LIST));
     }
+    free(nodes);
 }
 
 void rpk_free(struct rpk_doc *doc)
 {
-    for (uint32_t i = 0; i < doc->count; i++)
-        free_node(&doc->records[i]);
-    free(doc->records);
+    free_nodes(doc->records, doc->count);
+    memset(doc, 0, sizeof *doc);
 }
PATCH
