#include "reader.h"
#include "memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int is_word(int c)
{
    return c > 127 || c == '\'' || isalnum(c);
}

static void append(struct reader *r, int c)
{
    size_t len = r->text ? strlen(r->text) : 0;

    r->text = need(realloc(r->text, len + 2));
    r->text[len] = (char)c;
    r->text[len + 1] = '\0';
}

int reader_next(struct reader *r)
{
    int c;

    free(r->text);
    r->text = NULL;
    while ((c = getc(r->in)) != EOF && !is_word(c))
        if (c == '\n')
            r->line++;
    for (; c != EOF && is_word(c); c = getc(r->in))
        append(r, c);
    if (c != EOF)
        ungetc(c, r->in);
    if (!r->text)
        return 0;
    for (size_t i = 0; i < strlen(r->text); i++)
        if ((unsigned char)r->text[i] < 128)
            r->text[i] = (char)tolower((unsigned char)r->text[i]);
    return 1;
}
