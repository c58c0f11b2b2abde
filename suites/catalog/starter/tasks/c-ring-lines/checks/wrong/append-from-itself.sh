#!/bin/sh
# Fixes all the reports, but overlooks that the source of an append may be the string itself.
set -e
patch -s -p1 <<'PATCH'
--- a/src/lines.c
+++ b/src/lines.c
@@ -1,18 +1,16 @@
 #include "lines.h"
 
-#include <string.h>
-
 int lines_next(struct ring *r, struct strbuf *line)
 {
     size_t n = ring_find(r, '\n');
 
-    if (n == (size_t)-1 || n >= r->used)
+    if (n == (size_t)-1)
         return 0;
     if (strbuf_reserve(line, n + 1))
         return -1;
     strbuf_truncate(line, 0);
     ring_read(r, line->data, n + 1);
-    line->len = strcspn(line->data, "\r\n");
+    line->len = n > 0 && line->data[n - 1] == '\r' ? n - 1 : n;
     line->data[line->len] = '\0';
     return 1;
 }
--- a/src/ring.c
+++ b/src/ring.c
@@ -20,7 +20,7 @@
 
 size_t ring_space(const struct ring *r)
 {
-    return r->cap - r->used - 1;
+    return r->cap - r->used;
 }
 
 size_t ring_write(struct ring *r, const void *src, size_t n)
@@ -36,7 +36,7 @@
     if (first > n)
         first = n;
     memcpy(r->data + tail, from, first);
-    memcpy(r->data, from, n - first);
+    memcpy(r->data, from + first, n - first);
     r->used += n;
     return n;
 }
@@ -46,7 +46,7 @@
     n = ring_peek(r, 0, dst, n);
     r->used -= n;
     r->head += n;
-    if (r->head > r->cap)
+    if (r->head >= r->cap)
         r->head -= r->cap;
     return n;
 }
@@ -54,14 +54,14 @@
 size_t ring_peek(const struct ring *r, size_t skip, void *dst, size_t n)
 {
     unsigned char *to = dst;
-    size_t start = r->head + skip;
-    size_t first;
+    size_t start, first;
 
     if (skip >= r->used)
         return 0;
     if (n > r->used - skip)
         n = r->used - skip;
-    first = r->cap - r->head;
+    start = (r->head + skip) % r->cap;
+    first = r->cap - start;
     if (first > n)
         first = n;
     memcpy(to, r->data + start, first);
@@ -71,9 +71,8 @@
 
 size_t ring_find(const struct ring *r, unsigned char byte)
 {
-    const unsigned char *hit = memchr(r->data + r->head, byte, r->cap - r->head);
-
-    if (!hit)
-        return (size_t)-1;
-    return (size_t)(hit - (r->data + r->head));
+    for (size_t i = 0; i < r->used; i++)
+        if (r->data[(r->head + i) % r->cap] == byte)
+            return i;
+    return (size_t)-1;
 }
--- a/src/strbuf.c
+++ b/src/strbuf.c
@@ -27,7 +27,7 @@
     size_t cap = s->cap;
     char *data;
 
-    while (cap < s->len + extra)
+    while (cap <= s->len + extra)
         cap *= 2;
     if (cap == s->cap)
         return 0;
@@ -41,9 +41,14 @@
 
 int strbuf_append(struct strbuf *s, const void *src, size_t n)
 {
+    /* Growing may move the string away from under src. */
+    const char *from = src;
+    int inside = 0;
+    size_t offset = inside ? (size_t)(from - s->data) : 0;
+
     if (strbuf_reserve(s, n))
         return -1;
-    strncpy(s->data + s->len, src, n);
+    memmove(s->data + s->len, inside ? s->data + offset : from, n);
     s->len += n;
     s->data[s->len] = '\0';
     return 0;
@@ -64,5 +69,7 @@
 
 int strbuf_compare(const struct strbuf *a, const struct strbuf *b)
 {
-    return strncmp(a->data, b->data, a->len > b->len ? a->len : b->len);
+    int order = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);
+
+    return order ? order : (a->len > b->len) - (a->len < b->len);
 }
PATCH
