#!/bin/sh
# Uses no index at all: gathers the words, sorts them by text, merges, sorts by count.
set -e
patch -s -p1 <<'PATCH'
--- a/src/main.c
+++ b/src/main.c
@@ -38,9 +38,9 @@
     }
     while (reader_next(&reader))
         words_add(&words, reader.text, reader.line);
-    words_sort(&words);
-    printf("%zu distinct words\n", words.distinct);
-    for (struct word *w = words.head; w && (top == 0 || printed < top); w = w->next)
+    words_count(&words);
+    printf("%zu distinct words\n", words.n);
+    for (struct word *w = words.all; w < words.all + words.n && (top == 0 || printed < top); w++)
         if (w->count >= min) {
             printf("%lu\t%lu\t%s\n", w->count, w->first, w->text);
             printed++;
--- a/src/reader.c
+++ b/src/reader.c
@@ -3,39 +3,33 @@
 
 #include <ctype.h>
 #include <stdlib.h>
-#include <string.h>
 
 static int is_word(int c)
 {
     return c > 127 || c == '\'' || isalnum(c);
 }
 
-static void append(struct reader *r, int c)
+static void put(struct reader *r, size_t at, int c)
 {
-    size_t len = r->text ? strlen(r->text) : 0;
-
-    r->text = need(realloc(r->text, len + 2));
-    r->text[len] = (char)c;
-    r->text[len + 1] = '\0';
+    if (at >= r->room) {
+        r->room = r->room ? 2 * r->room : 64;
+        r->text = need(realloc(r->text, r->room));
+    }
+    r->text[at] = (char)c;
 }
 
 int reader_next(struct reader *r)
 {
+    size_t len = 0;
     int c;
 
-    free(r->text);
-    r->text = NULL;
     while ((c = getc(r->in)) != EOF && !is_word(c))
         if (c == '\n')
             r->line++;
     for (; c != EOF && is_word(c); c = getc(r->in))
-        append(r, c);
+        put(r, len++, c < 128 ? tolower(c) : c);
     if (c != EOF)
         ungetc(c, r->in);
-    if (!r->text)
-        return 0;
-    for (size_t i = 0; i < strlen(r->text); i++)
-        if ((unsigned char)r->text[i] < 128)
-            r->text[i] = (char)tolower((unsigned char)r->text[i]);
-    return 1;
+    put(r, len, '\0');
+    return len > 0;
 }
--- a/src/reader.h
+++ b/src/reader.h
@@ -7,6 +7,7 @@
 struct reader {
     FILE *in;
     char *text;         /* the current word */
+    size_t room;        /* size of the memory at text */
     unsigned long line; /* line on which it ended, from 1 */
 };
 
--- a/src/words.c
+++ b/src/words.c
@@ -4,48 +4,54 @@
 #include <stdlib.h>
 #include <string.h>
 
-void words_add(struct words *w, const char *text, unsigned long line)
+static int by_text(const void *a, const void *b)
 {
-    struct word **at = &w->head;
-    struct word *new;
+    const struct word *x = a, *y = b;
+    int order = strcmp(x->text, y->text);
 
-    while (*at) {
-        if (strcmp((*at)->text, text) == 0) {
-            (*at)->count++;
-            return;
-        }
-        at = &(*at)->next;
-    }
-    new = need(calloc(1, sizeof *new));
-    new->text = need(strdup(text));
-    new->count = 1;
-    new->first = line;
-    *at = new;
-    w->distinct++;
+    return order ? order : x->seen < y->seen ? -1 : 1;
 }
 
-void words_sort(struct words *w)
+static int by_count(const void *a, const void *b)
 {
-    struct word *sorted = NULL;
+    const struct word *x = a, *y = b;
 
-    while (w->head) {
-        struct word *word = w->head, **at = &sorted;
-        w->head = word->next;
-        while (*at && (*at)->count >= word->count)
-            at = &(*at)->next;
-        word->next = *at;
-        *at = word;
+    if (x->count != y->count)
+        return x->count > y->count ? -1 : 1;
+    return x->seen < y->seen ? -1 : 1;
+}
+
+void words_add(struct words *w, const char *text, unsigned long line)
+{
+    if (w->n == w->room) {
+        w->room = w->room ? 2 * w->room : 1024;
+        w->all = need(realloc(w->all, w->room * sizeof *w->all));
     }
-    w->head = sorted;
+    w->all[w->n] = (struct word){need(strdup(text)), 1, line, w->n};
+    w->n++;
+}
+
+void words_count(struct words *w)
+{
+    size_t kept = 0;
+
+    if (w->n == 0)
+        return;
+    qsort(w->all, w->n, sizeof *w->all, by_text);
+    for (size_t i = 1; i < w->n; i++)
+        if (strcmp(w->all[i].text, w->all[kept].text) == 0) {
+            w->all[kept].count++;
+            free(w->all[i].text);
+        } else {
+            w->all[++kept] = w->all[i];
+        }
+    w->n = kept + 1;
+    qsort(w->all, w->n, sizeof *w->all, by_count);
 }
 
 void words_free(struct words *w)
 {
-    while (w->head) {
-        struct word *word = w->head;
-        w->head = word->next;
-        free(word->text);
-        free(word);
-    }
-    w->distinct = 0;
+    while (w->n)
+        free(w->all[--w->n].text);
+    free(w->all);
 }
--- a/src/words.h
+++ b/src/words.h
@@ -1,4 +1,4 @@
-/* A list of distinct words with their counts, in the order of their first appearance. */
+/* Gathers words; counts them all at once at the end by sorting. */
 #ifndef WORDS_H
 #define WORDS_H
 
@@ -8,19 +8,19 @@
     char *text;
     unsigned long count;
     unsigned long first; /* line of the first appearance, from 1 */
-    struct word *next;
+    size_t seen;         /* number of words that came before */
 };
 
 struct words {
-    struct word *head;
-    size_t distinct;
+    struct word *all;
+    size_t n, room;
 };
 
-/* Counts one appearance of the word. */
+/* Notes one appearance of the word. */
 void words_add(struct words *w, const char *text, unsigned long line);
 
-/* Brings the most frequent words to the front; equally frequent ones keep their order. */
-void words_sort(struct words *w);
+/* Leaves every word once, with its count: the most frequent in front, equally frequent ones by first appearance. */
+void words_count(struct words *w);
 
 void words_free(struct words *w);
 
PATCH
