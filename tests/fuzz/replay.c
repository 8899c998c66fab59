/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The main() of every fuzz target when no fuzzing engine is linked: feeds each file named on the
 * command line, and each file below a directory named there, to LLVMFuzzerTestOneInput(). Thus
 * `make check' replays the corpus with any compiler, and one input that made a fuzzer stop can be
 * debugged by giving its file name. Options (-runs=0 and the like) are the engine's and ignored.
 *
 * Each input is copied to an allocation of exactly its size, so that a sanitizer sees a read past
 * its end. No input at all is a failure: a corpus that was moved must not look like success.
 */
#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLAY_INPUT_MAX_BYTES = 64 << 20, REPLAY_OPEN_DIRECTORIES = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* nftw() has no argument for its caller, hence a variable of the file. */
static unsigned replayed;

static int replay_file(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)ftw;
    if (kind == FTW_D)
        return 0;
    if (kind != FTW_F || st->st_size > REPLAY_INPUT_MAX_BYTES) {
        fprintf(stderr, "%s: not a readable file of at most %d bytes\n", path,
                REPLAY_INPUT_MAX_BYTES);
        return 1;
    }

    int result = 1;
    size_t size = (size_t)st->st_size;
    uint8_t *data = malloc(size); /* of no bytes as well: a pointer that must not be read */
    FILE *file = fopen(path, "rb");
    if (!data || !file || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
        goto out;
    }
    /* Printed first and flushed: the last line names the input that crashed. */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    replayed++;
    result = 0;
out:
    if (file)
        fclose(file);
    free(data);
    return result;
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        int r = nftw(argv[i], replay_file, REPLAY_OPEN_DIRECTORIES, FTW_PHYS);
        if (r != 0) {
            if (r < 0)
                fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
    }
    if (replayed == 0) {
        fprintf(stderr, "no inputs: name files or directories to replay\n");
        return 1;
    }
    printf("%u inputs replayed\n", replayed);
    return 0;
}
