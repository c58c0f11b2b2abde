#!/bin/sh
# Rewrites ring and builder byte by byte, without any block copy across the end.
set -e
patch -s -p1 <<'PATCH'
--- a/src/lines.c
+++ b/src/lines.c
@@ -6,13 +6,17 @@
 {
     size_t n = ring_find(r, '\n');
 
-    if (n == (size_t)-1 || n >= r->used)
+    char end;
+
+    if (n == (size_t)-1)
         return 0;
-    if (strbuf_reserve(line, n + 1))
+    if (strbuf_reserve(line, n))
         return -1;
-    strbuf_truncate(line, 0);
-    ring_read(r, line->data, n + 1);
-    line->len = strcspn(line->data, "\r\n");
-    line->data[line->len] = '\0';
+    ring_read(r, line->data, n);
+    ring_read(r, &end, 1);
+    line->len = n;
+    line->data[n] = '\0';
+    if (n && line->data[n - 1] == '\r')
+        strbuf_truncate(line, n - 1);
     return 1;
 }
--- a/src/ring.c
+++ b/src/ring.c
@@ -1,79 +1,60 @@
 #include "ring.h"
 
 #include <stdlib.h>
-#include <string.h>
 
 int ring_init(struct ring *r, size_t cap)
 {
-    r->data = calloc(cap, 1);
-    r->cap = r->data ? cap : 0;
-    r->head = 0;
-    r->used = 0;
+    *r = (struct ring){.data = malloc(cap), .cap = cap};
     return r->data ? 0 : -1;
 }
 
 void ring_free(struct ring *r)
 {
     free(r->data);
-    memset(r, 0, sizeof *r);
+    *r = (struct ring){0};
 }
 
 size_t ring_space(const struct ring *r)
 {
-    return r->cap - r->used - 1;
+    return r->cap - r->used;
 }
 
-size_t ring_write(struct ring *r, const void *src, size_t n)
+static unsigned char *cell(const struct ring *r, size_t i)
 {
-    const unsigned char *from = src;
-    size_t space = ring_space(r);
-    size_t tail = (r->head + r->used) % r->cap;
-    size_t first;
-
-    if (n > space)
-        n = space;
-    first = r->cap - tail;
-    if (first > n)
-        first = n;
-    memcpy(r->data + tail, from, first);
-    memcpy(r->data, from, n - first);
-    r->used += n;
-    return n;
+    return &r->data[(r->head + i) % r->cap];
 }
 
-size_t ring_read(struct ring *r, void *dst, size_t n)
+size_t ring_write(struct ring *r, const void *src, size_t n)
 {
-    n = ring_peek(r, 0, dst, n);
-    r->used -= n;
-    r->head += n;
-    if (r->head > r->cap)
-        r->head -= r->cap;
-    return n;
+    size_t i;
+
+    for (i = 0; i < n && r->used < r->cap; i++)
+        *cell(r, r->used++) = ((const unsigned char *)src)[i];
+    return i;
 }
 
 size_t ring_peek(const struct ring *r, size_t skip, void *dst, size_t n)
 {
-    unsigned char *to = dst;
-    size_t start = r->head + skip;
-    size_t first;
-
-    if (skip >= r->used)
-        return 0;
-    if (n > r->used - skip)
-        n = r->used - skip;
-    first = r->cap - r->head;
-    if (first > n)
-        first = n;
-    memcpy(to, r->data + start, first);
-    memcpy(to + first, r->data, n - first);
+    size_t i;
+
+    for (i = 0; i < n && skip < r->used && i < r->used - skip; i++)
+        ((unsigned char *)dst)[i] = *cell(r, skip + i);
+    return i;
+}
+
+size_t ring_read(struct ring *r, void *dst, size_t n)
+{
+    n = ring_peek(r, 0, dst, n);
+    r->head = (r->head + n) % r->cap;
+    r->used -= n;
     return n;
 }
 
 size_t ring_find(const struct ring *r, unsigned char byte)
 {
-    const unsigned char *hit = memchr(r->data + r->head, byte, r->cap - r->head);
+    size_t i = 0;
 
-    if (!hit)
-        return (size_t)-1;
-    return (size_t)(hit - (r->data + r->head));
+    while (i < r->used && *cell(r, i) != byte)
+        i++;
+    return i < r->used ? i : (size_t)-1;
 }
--- a/src/strbuf.c
+++ b/src/strbuf.c
@@ -22,18 +22,28 @@
     memset(s, 0, sizeof *s);
 }
 
+static char *grown(const struct strbuf *s, size_t extra, size_t *cap)
+{
+    char *data;
+
+    *cap = (s->len + extra) * 2 + FIRST_CAP;
+    data = malloc(*cap);
+    if (data)
+        memcpy(data, s->data, s->len + 1);
+    return data;
+}
+
 int strbuf_reserve(struct strbuf *s, size_t extra)
 {
-    size_t cap = s->cap;
+    size_t cap;
     char *data;
 
-    while (cap < s->len + extra)
-        cap *= 2;
-    if (cap == s->cap)
+    if (extra < s->cap - s->len)
         return 0;
-    data = realloc(s->data, cap);
+    data = grown(s, extra, &cap);
     if (!data)
         return -1;
+    free(s->data);
     s->data = data;
     s->cap = cap;
     return 0;
@@ -41,11 +51,20 @@
 
 int strbuf_append(struct strbuf *s, const void *src, size_t n)
 {
-    if (strbuf_reserve(s, n))
-        return -1;
-    strncpy(s->data + s->len, src, n);
+    struct strbuf old = *s;
+
+    if (n >= s->cap - s->len) {
+        s->data = grown(&old, n, &s->cap);
+        if (!s->data) {
+            *s = old;
+            return -1;
+        }
+    }
+    memmove(s->data + s->len, src, n);
     s->len += n;
     s->data[s->len] = '\0';
+    if (s->data != old.data)
+        free(old.data);
     return 0;
 }
 
@@ -64,5 +83,10 @@
 
 int strbuf_compare(const struct strbuf *a, const struct strbuf *b)
 {
-    return strncmp(a->data, b->data, a->len > b->len ? a->len : b->len);
+    size_t i;
+
+    for (i = 0; i < a->len && i < b->len; i++)
+        if (a->data[i] != b->data[i])
+            return (unsigned char)a->data[i] < (unsigned char)b->data[i] ? -1 : 1;
+    return a->len < b->len ? -1 : a->len > b->len;
 }
PATCH
