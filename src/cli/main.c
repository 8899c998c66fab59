/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The program's verbs: a table of names, functions and one-line descriptions. main() finds the
 * verb and hands the rest of the command line to it. Each verb lives in a file of its own.
 */
#include <stdio.h>
#include <string.h>

enum exit_code { EXIT_OK = 0, EXIT_USAGE = 2 };

struct verb {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *summary;
};

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

static const struct verb verbs[] = {
    {"help", help_main, "this text"},
    {"--version", version_main, "print the version"},
};

static void usage_print(FILE *out)
{
    fprintf(out, "usage: adit VERB [OPTION...]\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(out, "    %-12s %s\n", verbs[i].name, verbs[i].summary);
}

static int help_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    usage_print(stdout);
    return EXIT_OK;
}

static int version_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("adit %s\n", PACKAGE_VERSION);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].main(argc - 1, argv + 1);
    }
    if (argc > 1)
        fprintf(stderr, "adit: there is no verb '%s'\n", argv[1]);
    usage_print(stderr);
    return EXIT_USAGE;
}
