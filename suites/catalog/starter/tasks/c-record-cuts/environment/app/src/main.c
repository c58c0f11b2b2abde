/* rpk FILE: prints an RPK file. Exit status 0, or 1 if it cannot be read, or 2 if it is malformed (nothing is printed then). */
#include "rpk.h"

#include <stdlib.h>

static unsigned char *read_all(FILE *in, size_t *size)
{
    unsigned char *data = NULL;
    size_t room = 0, got = 1;

    for (*size = 0; got; *size += got) {
        if (*size == room) {
            room = room ? 2 * room : 4096;
            data = realloc(data, room);
            if (!data)
                return NULL;
        }
        got = fread(data + *size, 1, room - *size, in);
    }
    return data;
}

int main(int argc, char **argv)
{
    struct rpk_error err;
    struct rpk_doc doc;
    unsigned char *data;
    size_t size;
    FILE *in;

    if (argc != 2 || !(in = fopen(argv[1], "rb")) || !(data = read_all(in, &size))) {
        fprintf(stderr, "usage: rpk FILE\n");
        return 1;
    }
    fclose(in);
    if (rpk_parse(data, size, &doc, &err)) {
        fprintf(stderr, "rpk: offset %zu: %s\n", err.offset, err.reason);
        free(data);
        return 2;
    }
    free(data);
    rpk_dump(&doc, stdout);
    rpk_free(&doc);
    return 0;
}
