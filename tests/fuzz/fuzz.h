#pragma once

/*
 * What the targets share. A target stands for a family of parsers, and the first byte of its input
 * says which of them gets the rest: '0', '1', ..., so that seeds can be written by hand.
 */

#include <stddef.h>
#include <stdint.h>

typedef void fuzz_parser(const char *data, size_t size);

/* Gives the input to one of the parsers. */
void fuzz_dispatch(fuzz_parser *const *parsers, size_t count, const uint8_t *data, size_t size);

/* Defines the target of an array of parsers. */
#define FUZZ_TARGET(parsers)                                                                       \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);                                  \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                                   \
    {                                                                                              \
        fuzz_dispatch(parsers, sizeof(parsers) / sizeof((parsers)[0]), data, size);                \
        return 0;                                                                                  \
    }

/* Ends the process, so that libFuzzer keeps the input: what was promised doesn't hold. */
void fuzz_expect(int holds);

/* A file of these bytes, to be closed. */
int fuzz_file(const void *data, size_t size);

/* What is left of an input that is several texts, with a NUL between each two. */
struct fuzz_texts {
    const char *at;
    size_t left;
};

/* The next text, cut where it doesn't fit, "" once none is left. Returns @ret. */
char *fuzz_text(struct fuzz_texts *texts, char *ret, size_t size);

/* The whole input as one text: to be freed. */
char *fuzz_whole(const char *data, size_t size);
