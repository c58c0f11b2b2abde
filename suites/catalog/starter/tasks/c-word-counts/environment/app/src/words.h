/* A list of distinct words with their counts, in the order of their first appearance. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

struct word {
    char *text;
    unsigned long count;
    unsigned long first; /* line of the first appearance, from 1 */
    struct word *next;
};

struct words {
    struct word *head;
    size_t distinct;
};

/* Counts one appearance of the word. */
void words_add(struct words *w, const char *text, unsigned long line);

/* Brings the most frequent words to the front; equally frequent ones keep their order. */
void words_sort(struct words *w);

void words_free(struct words *w);

#endif
