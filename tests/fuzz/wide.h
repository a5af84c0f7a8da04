/* wide.h - 128 bits, in which an oracle need not think of overflows. */
#ifndef TESTS_FUZZ_WIDE_H
#define TESTS_FUZZ_WIDE_H

__extension__ typedef __int128 wide;

#endif
