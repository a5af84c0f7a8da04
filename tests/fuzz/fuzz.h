/* fuzz.h - what a fuzz target gives to the two programs made of it: libFuzzer's (clang, option
 * `fuzzers`), and the replayer (replay.c), which any compiler builds; and what both give to it. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input. A finding is a crash: a failed CHECK, or a sanitizer's report. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that the format knows, for the replayer's mutations; ends with one of len 0. */
struct fuzz_token {
    const char *bytes;
    size_t len;
};

extern const struct fuzz_token fuzz_tokens[];

#define FUZZ_TOKEN(text)                                                                           \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

/* From now on an allocation of ours above so many bytes is a finding, where it is asked for; 0: none is
 * (alloc_bound.c, which is linked to every target). */
void fuzz_bound_allocations(size_t bytes_max);

#endif
