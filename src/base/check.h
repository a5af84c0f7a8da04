/* check.h - assertions that stay on in release, and compiler attributes.
 * A failed CHECK is a bug of ours, never bad input: it prints where and aborts. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
/* Of a function that is rarely called: kept out of its callers. */
#define COLD __attribute__((noinline, cold))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (UNLIKELY(!(cond)))                                                                     \
            check_failed(__FILE__, __LINE__, #cond);                                               \
    } while (0)

#endif
