/* wc-words [-n TOP] [-m MIN] [FILE]: words by frequency, as "COUNT<TAB>FIRST-LINE<TAB>WORD". */
#include "reader.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = text ? strtoul(text, &end, 10) : 0;

    if (!text || end == text || *end) {
        fputs("usage: wc-words [-n TOP] [-m MIN] [FILE]\n", stderr);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    struct reader reader = {.in = stdin, .line = 1};
    struct words words = {0};
    unsigned long top = 0, min = 0, printed = 0;
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-n") == 0)
            top = number(argv[++i]);
        else if (strcmp(argv[i], "-m") == 0)
            min = number(argv[++i]);
        else
            number(NULL);
    }
    if (i < argc && !(reader.in = fopen(argv[i], "rb"))) {
        perror(argv[i]);
        return 1;
    }
    while (reader_next(&reader))
        words_add(&words, reader.text, reader.line);
    words_sort(&words);
    printf("%zu distinct words\n", words.distinct);
    for (struct word *w = words.head; w && (top == 0 || printed < top); w = w->next)
        if (w->count >= min) {
            printf("%lu\t%lu\t%s\n", w->count, w->first, w->text);
            printed++;
        }
    words_free(&words);
    free(reader.text);
    return 0;
}
