#!/bin/sh
# Repairs the list but not the reader, which measures the word anew for every letter.
set -e
patch -s -p1 <<'PATCH'
--- a/src/words.c
+++ b/src/words.c
@@ -4,39 +4,85 @@
 #include <stdlib.h>
 #include <string.h>
 
+static unsigned long hash_of(const char *text)
+{
+    unsigned long hash = 14695981039346656037ul;
+
+    for (; *text; text++)
+        hash = (hash ^ (unsigned char)*text) * 1099511628211ul;
+    return hash ^ hash >> 29;
+}
+
+static void widen(struct words *w)
+{
+    free(w->slots);
+    w->nslots = w->nslots ? 2 * w->nslots : 1024;
+    w->slots = need(calloc(w->nslots, sizeof *w->slots));
+    for (struct word *word = w->head; word; word = word->next) {
+        struct word **slot = &w->slots[word->hash & (w->nslots - 1)];
+        word->chain = *slot;
+        *slot = word;
+    }
+}
+
 void words_add(struct words *w, const char *text, unsigned long line)
 {
-    struct word **at = &w->head;
-    struct word *new;
+    unsigned long hash = hash_of(text);
+    struct word *new, **slot;
 
-    while (*at) {
-        if (strcmp((*at)->text, text) == 0) {
-            (*at)->count++;
+    if (w->distinct == w->nslots)
+        widen(w);
+    slot = &w->slots[hash & (w->nslots - 1)];
+    for (struct word *word = *slot; word; word = word->chain)
+        if (word->hash == hash && strcmp(word->text, text) == 0) {
+            word->count++;
             return;
         }
-        at = &(*at)->next;
-    }
     new = need(calloc(1, sizeof *new));
     new->text = need(strdup(text));
     new->count = 1;
     new->first = line;
-    *at = new;
+    new->hash = hash;
+    new->chain = *slot;
+    *slot = new;
+    if (w->tail)
+        w->tail->next = new;
+    else
+        w->head = new;
+    w->tail = new;
     w->distinct++;
 }
 
+struct ranked {
+    struct word *word;
+    size_t seen; /* makes the order total, since qsort need not be stable */
+};
+
+static int by_rank(const void *a, const void *b)
+{
+    const struct ranked *x = a, *y = b;
+
+    if (x->word->count != y->word->count)
+        return x->word->count > y->word->count ? -1 : 1;
+    return x->seen < y->seen ? -1 : 1;
+}
+
 void words_sort(struct words *w)
 {
-    struct word *sorted = NULL;
+    struct ranked *all;
+    size_t n = 0;
 
-    while (w->head) {
-        struct word *word = w->head, **at = &sorted;
-        w->head = word->next;
-        while (*at && (*at)->count >= word->count)
-            at = &(*at)->next;
-        word->next = *at;
-        *at = word;
-    }
-    w->head = sorted;
+    if (!w->head)
+        return;
+    all = need(calloc(w->distinct, sizeof *all));
+    for (struct word *word = w->head; word; word = word->next, n++)
+        all[n] = (struct ranked){word, n};
+    qsort(all, n, sizeof *all, by_rank);
+    for (size_t i = 0; i < n; i++)
+        all[i].word->next = i + 1 < n ? all[i + 1].word : NULL;
+    w->head = all[0].word;
+    w->tail = all[n - 1].word;
+    free(all);
 }
 
 void words_free(struct words *w)
@@ -47,5 +93,6 @@
         free(word->text);
         free(word);
     }
-    w->distinct = 0;
+    free(w->slots);
+    *w = (struct words){0};
 }
--- a/src/words.h
+++ b/src/words.h
@@ -8,11 +8,15 @@
     char *text;
     unsigned long count;
     unsigned long first; /* line of the first appearance, from 1 */
-    struct word *next;
+    unsigned long hash;
+    struct word *next;  /* in the order of the list */
+    struct word *chain; /* in the same slot of the index */
 };
 
 struct words {
-    struct word *head;
+    struct word *head, *tail;
+    struct word **slots; /* the index: a power of two of chains */
+    size_t nslots;
     size_t distinct;
 };
 
PATCH
