/* The generator with a log of its runs and a pause in the middle. gentab INPUT HEADER SOURCE: makes the table of units. One run writes both files. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *need(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);

    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

int main(int argc, char **argv)
{
    char line[256], name[32], dimension[32];
    int count = 0, number = 0, failed = 0;
    double factor;
    FILE *in, *header, *source;

    if (argc != 4)
        return 2;
    in = need(argv[1], "r");
    header = need(argv[2], "w");
    source = need(argv[3], "w");
    if (getenv("GEN_LOG")) {
        FILE *log = need(getenv("GEN_LOG"), "a");
        fputs("run\n", log);
        fclose(log);
    }
    fflush(source);
    usleep(60000);
    fprintf(source, "#include \"units.h\"\n\nconst struct unit units_table[UNITS_COUNT] = {\n");
    while (fgets(line, sizeof line, in)) {
        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (sscanf(line, "%31s %31s %lf", name, dimension, &factor) != 3 || !(factor > 0)) {
            fprintf(stderr, "gentab: %s:%d: bad unit\n", argv[1], number);
            failed = 1;
            break;
        }
        fprintf(source, "    {\"%s\", \"%s\", %.17g},\n", name, dimension, factor);
        count++;
    }
    fprintf(source, "};\n");
    fprintf(header, "#define UNITS_COUNT %d\n", count);
    if (fclose(header) || fclose(source))
        return 1;
    if (!failed)
        printf("gentab: wrote %d units\n", count);
    return failed;
}
