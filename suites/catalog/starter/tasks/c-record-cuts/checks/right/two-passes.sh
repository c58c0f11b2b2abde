#!/bin/sh
# Judges the whole input first without allocating, then builds.
set -e
patch -s -p1 <<'PATCH'
--- a/src/cursor.c
+++ b/src/cursor.c
@@ -1,32 +0,0 @@
-#include "cursor.h"
-
-#include <stddef.h>
-
-uint8_t cursor_byte(struct cursor *c)
-{
-    return c->data[c->at++];
-}
-
-uint32_t cursor_varint(struct cursor *c)
-{
-    uint32_t value = 0;
-    int shift = 0;
-    uint8_t byte;
-
-    do {
-        byte = cursor_byte(c);
-        value |= (uint32_t)(byte & 0x7f) << shift;
-        shift += 7;
-    } while (byte & 0x80);
-    return value;
-}
-
-const unsigned char *cursor_take(struct cursor *c, uint32_t n)
-{
-    const unsigned char *bytes = c->data + c->at;
-
-    if (c->at + n > c->size)
-        return NULL;
-    c->at += n;
-    return bytes;
-}
--- a/src/cursor.h
+++ b/src/cursor.h
@@ -1,19 +0,0 @@
-/* A position in the bytes that are being parsed. */
-#ifndef CURSOR_H
-#define CURSOR_H
-
-#include <stdint.h>
-
-struct cursor {
-    const unsigned char *data;
-    uint32_t size;
-    uint32_t at;
-};
-
-uint8_t cursor_byte(struct cursor *c);
-uint32_t cursor_varint(struct cursor *c);
-
-/* The next n bytes. */
-const unsigned char *cursor_take(struct cursor *c, uint32_t n);
-
-#endif
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
@@ -1,86 +1,145 @@
-#include "cursor.h"
+/* Two passes: the first judges the bytes and allocates nothing, the second builds from bytes that are known to be good. */
 #include "rpk.h"
 
 #include <stdlib.h>
 #include <string.h>
 
-static int fail(struct cursor *c, struct rpk_error *err, const char *reason)
+struct input {
+    const unsigned char *data, *end, *start;
+    const char *reason;
+};
+
+static int bad(struct input *in, const char *reason)
+{
+    in->reason = reason;
+    return 0;
+}
+
+static int number(struct input *in, uint32_t *value)
+{
+    *value = 0;
+    for (int i = 0; i < 5 && in->data < in->end; i++) {
+        unsigned char byte = *in->data++;
+        if (i == 4 && byte > 0x0f)
+            break;
+        *value |= (uint32_t)(byte & 0x7f) << 7 * i;
+        if (byte < 0x80)
+            return 1;
+    }
+    return bad(in, "bad number");
+}
+
+static int valid(struct input *in, uint32_t complete, int depth)
 {
-    err->offset = c->at;
-    err->reason = reason;
-    return -1;
+    uint32_t n;
+    unsigned char kind;
+
+    if (in->data == in->end)
+        return bad(in, "file is cut");
+    kind = *in->data++;
+    if (kind < RPK_INT || kind > RPK_REF)
+        return bad(in, "unknown kind of record");
+    if (!number(in, &n))
+        return 0;
+    if (kind == RPK_TEXT) {
+        if ((size_t)(in->end - in->data) < n)
+            return bad(in, "text is cut");
+        in->data += n;
+    }
+    if (kind == RPK_REF && n >= complete)
+        return bad(in, "reference to a record that is not complete");
+    if (kind == RPK_LIST) {
+        if (depth == 64)
+            return bad(in, "lists are nested too deep");
+        while (n--)
+            if (!valid(in, complete, depth + 1))
+                return 0;
+    }
+    return 1;
 }
 
-static int parse_node(struct cursor *c, struct rpk_doc *doc, struct rpk_node *node, struct rpk_error *err)
+static void *memory(size_t n, size_t size)
 {
-    const unsigned char *bytes;
+    void *p = calloc(n, size);
 
-    node->kind = cursor_byte(c);
+    if (!p)
+        abort();
+    return p;
+}
+
+static void build(struct input *in, struct rpk_node *records, struct rpk_node *node)
+{
+    uint32_t n;
+
+    node->kind = *in->data++;
+    number(in, &n);
     switch (node->kind) {
     case RPK_INT:
-        node->value = cursor_varint(c);
-        return 0;
+        node->value = n;
+        break;
+    case RPK_REF:
+        node->value = n;
+        node->target = records + n;
+        break;
     case RPK_TEXT:
-        node->count = cursor_varint(c);
-        bytes = cursor_take(c, node->count);
-        if (!bytes)
-            return fail(c, err, "text is cut");
-        node->text = malloc(node->count + 1);
-        memcpy(node->text, bytes, node->count);
-        node->text[node->count] = '\0';
-        return 0;
+        node->count = n;
+        node->text = memory((size_t)n + 1, 1);
+        memcpy(node->text, in->data, n);
+        in->data += n;
+        break;
     case RPK_LIST:
-        node->count = cursor_varint(c);
-        node->items = malloc(node->count * sizeof *node->items);
-        for (uint32_t i = 0; i < node->count; i++)
-            if (parse_node(c, doc, &node->items[i], err))
-                return -1;
-        return 0;
-    case RPK_REF:
-        node->value = cursor_varint(c);
-        node->target = &doc->records[node->value];
-        return 0;
+        node->count = n;
+        node->items = n ? memory(n, sizeof *node->items) : NULL;
+        for (uint32_t i = 0; i < n; i++)
+            build(in, records, &node->items[i]);
+        break;
     }
-    return fail(c, err, "unknown kind of record");
 }
 
 int rpk_parse(const unsigned char *data, size_t size, struct rpk_doc *doc, struct rpk_error *err)
 {
-    struct cursor c = {data, size, 0};
-    uint32_t count, room = 0;
+    struct input in = {data, data + size, data, NULL};
+    const unsigned char *first;
+    uint32_t count;
+    int ok;
 
     memset(doc, 0, sizeof *doc);
-    if (memcmp(cursor_take(&c, 4), "RPK1", 4) != 0)
-        return fail(&c, err, "not an RPK file");
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
+    ok = size >= 4 && memcmp(data, "RPK1", 4) == 0 ? 1 : bad(&in, "not an RPK file");
+    if (ok) {
+        in.data += 4;
+        ok = number(&in, &count);
+        first = in.data;
+        for (uint32_t i = 0; ok && i < count; i++)
+            ok = valid(&in, i, 0);
+        if (ok && in.data != in.end)
+            ok = bad(&in, "bytes after the last record");
     }
+    if (!ok) {
+        err->offset = (size_t)(in.data - in.start);
+        err->reason = in.reason;
+        return -1;
+    }
+    in.data = first;
+    doc->count = count;
+    doc->records = count ? memory(count, sizeof *doc->records) : NULL;
+    for (uint32_t i = 0; i < count; i++)
+        build(&in, doc->records, &doc->records[i]);
     return 0;
 }
 
-static void free_node(struct rpk_node *node)
+static void release(struct rpk_node *node)
 {
-    if (node->kind == RPK_TEXT)
-        free(node->text);
-    if (node->kind == RPK_LIST) {
+    if (node->kind == RPK_LIST)
         for (uint32_t i = 0; i < node->count; i++)
-            free_node(&node->items[i]);
-        free(node->items);
-    }
+            release(&node->items[i]);
+    free(node->items);
+    free(node->text);
 }
 
 void rpk_free(struct rpk_doc *doc)
 {
     for (uint32_t i = 0; i < doc->count; i++)
-        free_node(&doc->records[i]);
+        release(&doc->records[i]);
     free(doc->records);
+    memset(doc, 0, sizeof *doc);
 }
PATCH
