#include "words.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

void words_add(struct words *w, const char *text, unsigned long line)
{
    struct word **at = &w->head;
    struct word *new;

    while (*at) {
        if (strcmp((*at)->text, text) == 0) {
            (*at)->count++;
            return;
        }
        at = &(*at)->next;
    }
    new = need(calloc(1, sizeof *new));
    new->text = need(strdup(text));
    new->count = 1;
    new->first = line;
    *at = new;
    w->distinct++;
}

void words_sort(struct words *w)
{
    struct word *sorted = NULL;

    while (w->head) {
        struct word *word = w->head, **at = &sorted;
        w->head = word->next;
        while (*at && (*at)->count >= word->count)
            at = &(*at)->next;
        word->next = *at;
        *at = word;
    }
    w->head = sorted;
}

void words_free(struct words *w)
{
    while (w->head) {
        struct word *word = w->head;
        w->head = word->next;
        free(word->text);
        free(word);
    }
    w->distinct = 0;
}
