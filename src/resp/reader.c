/* How the bytes lie.
 *
 * Input comes into `tail`. All that is not parsed yet, [at, end), is in it, so an element (a length
 * line, an argument, an inline line) is whole in one run of bytes when it is taken. If the tail is
 * full, what is left over of the unfinished element is copied to a new tail, and the old one is
 * retired: arguments point into it. Retired slabs stand in a queue in the order of the last command
 * that needs them; resp_reader_release() takes from its front those whose command was given out.
 * An argument that is big and not all there leaves the tail for a slab of its own, `big`, into
 * which the caller then reads; nobody holds a slice of it yet, so it may move as it grows. It is
 * retired like the others when it is whole.
 *
 * The slots of argument vectors lie in a slab too, command behind command. If it is full, the slots
 * of the unfinished command move on to a larger one; those of the commands before stay where they are.
 *
 * The framing rules are those of Redis 7.0, odd ones included: a NUL byte hides the end of a line
 * from the search for it, the byte behind the CR of a length line and the two behind an argument may
 * be anything, and a line is judged only when its end is there. */
#include "resp/reader.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "resp/slab.h"
#include "resp/inline.h"

#define BULK_NONE SIZE_MAX          /* the length line of the next argument is still to come */
#define BULK_END_BYTES ((size_t)2)  /* CR LF */
#define BIG_FIRST_BYTES (64 * 1024) /* a big argument's first buffer */
#define FAST_DIGITS_MAX 9           /* a length that cannot overflow while it is summed up */
#define INT64_TEXT_BYTES 20         /* the longest number in decimal, with its sign */
#define UNAUTHENTICATED_ARGS_MAX 10
#define UNAUTHENTICATED_BULK_MAX 16384

struct resp_reader {
    uint8_t *at;    /* the first byte that is not parsed */
    uint8_t *end;   /* behind the last byte that came */
    uint8_t *mark;  /* up to here wire_bytes has counted */
    uint8_t *limit; /* the end of the tail */

    struct varve_slice *argv; /* the slots of the unfinished command: [argv, slot_next) */
    struct varve_slice *slot_next;
    struct varve_slice *slot_end;

    size_t bulk_len;      /* of the argument that comes now, or BULK_NONE */
    size_t scanned_bytes; /* of an unfinished line: its end is not in here */
    size_t wire_bytes;    /* of the unfinished command, up to mark */
    int args_left;        /* of an array that has begun */

    enum resp_status status; /* RESP_MORE, or the failure that every call repeats */
    uint64_t command_no;     /* of the unfinished command, from 1 */
    uint64_t released_no;    /* command_no when release() was last called */

    struct resp_slab *tail;
    struct resp_slab *slots;
    struct resp_slab *big;
    struct resp_slab *retired; /* oldest first */
    struct resp_slab *retired_last;
    size_t held_bytes; /* cap of all slabs */

    const struct resp_limits *limits;
    struct resp_pool *pool;
    const char *error;
    char error_text[32];
};

static int argc_now(const struct resp_reader *reader)
{
    return (int)(reader->slot_next - reader->argv);
}

/* --- memory --- */

static struct resp_slab *take_slab(struct resp_reader *reader, size_t cap)
{
    size_t most = reader->limits->query_max_bytes;

    if (cap > most || reader->held_bytes > most - cap)
        return NULL;
    struct resp_slab *slab = resp_slab_take(reader->pool, cap);
    if (slab != NULL)
        reader->held_bytes += slab->cap;
    return slab;
}

static void give_slab(struct resp_reader *reader, struct resp_slab *slab)
{
    if (slab != NULL)
        reader->held_bytes -= slab->cap;
    resp_slab_give(reader->pool, slab);
}

/* Keeps a slab for the commands given out, and for the unfinished one if it has arguments. */
static void retire_slab(struct resp_reader *reader, struct resp_slab *slab)
{
    slab->command_no = reader->command_no - (argc_now(reader) == 0);
    slab->next = NULL;
    if (reader->retired == NULL)
        reader->retired = slab;
    else
        reader->retired_last->next = slab;
    reader->retired_last = slab;
}

static void count_wire_bytes(struct resp_reader *reader)
{
    reader->wire_bytes += (size_t)(reader->at - reader->mark);
    reader->mark = reader->at;
}

static void set_tail(struct resp_reader *reader, struct resp_slab *tail, size_t pending_bytes)
{
    reader->tail = tail;
    reader->at = tail == NULL ? NULL : tail->data;
    reader->mark = reader->at;
    reader->end = tail == NULL ? NULL : tail->data + pending_bytes;
    reader->limit = tail == NULL ? NULL : tail->data + tail->cap;
}

/* Forgets what is not a whole command; those given out live on until release(). */
static enum resp_status reader_fail(struct resp_reader *reader, enum resp_status status,
                                    const char *text)
{
    reader->status = status;
    reader->error = text;
    reader->end = reader->at;
    reader->mark = reader->at;
    reader->wire_bytes = 0;
    reader->slot_next = reader->argv;
    reader->args_left = 0;
    reader->bulk_len = BULK_NONE;
    reader->scanned_bytes = 0;
    give_slab(reader, reader->big);
    reader->big = NULL;
    reader->command_no++; /* release() may take what the unfinished command kept */
    return status;
}

static enum resp_status no_memory(struct resp_reader *reader)
{
    return reader_fail(reader, RESP_NO_MEMORY, "out of memory");
}

static enum resp_status protocol_error(struct resp_reader *reader, const char *text)
{
    return reader_fail(reader, RESP_PROTOCOL_ERROR, text);
}

struct resp_reader *resp_reader_create(const struct resp_limits *limits, struct resp_pool *pool)
{
    struct resp_reader *reader = mem_alloc_zero(sizeof(*reader));

    if (reader == NULL)
        return NULL;
    reader->limits = limits;
    reader->pool = pool;
    reader->bulk_len = BULK_NONE;
    reader->status = RESP_MORE;
    reader->command_no = 1;
    reader->released_no = 1;
    reader->error = "";
    return reader;
}

void resp_reader_destroy(struct resp_reader *reader)
{
    if (reader == NULL)
        return;
    while (reader->retired != NULL) {
        struct resp_slab *next = reader->retired->next;
        give_slab(reader, reader->retired);
        reader->retired = next;
    }
    give_slab(reader, reader->tail);
    give_slab(reader, reader->slots);
    give_slab(reader, reader->big);
    CHECK(reader->held_bytes == 0);
    mem_free(reader);
}

/* --- input --- */

/* Moves what is not parsed to a new tail with room for the rest of its element. */
static enum resp_status start_tail(struct resp_reader *reader)
{
    size_t pending_bytes = (size_t)(reader->end - reader->at);
    size_t cap = pending_bytes * 2;

    if (reader->bulk_len < RESP_BIG_ARG_BYTES && cap < reader->bulk_len + BULK_END_BYTES)
        cap = reader->bulk_len + BULK_END_BYTES;
    if (cap < resp_pool_slab_bytes(reader->pool))
        cap = resp_pool_slab_bytes(reader->pool);
    struct resp_slab *tail = take_slab(reader, cap);
    if (tail == NULL)
        return no_memory(reader);
    if (pending_bytes > 0)
        memcpy(tail->data, reader->at, pending_bytes);
    count_wire_bytes(reader);
    if (reader->tail != NULL) {
        if (argc_now(reader) == 0 && reader->released_no == reader->command_no)
            give_slab(reader, reader->tail);
        else
            retire_slab(reader, reader->tail);
    }
    set_tail(reader, tail, pending_bytes);
    return RESP_MORE;
}

/* Doubles the buffer of the big argument, up to what was declared: the length line alone gets
 * nothing. */
static enum resp_status grow_big(struct resp_reader *reader)
{
    struct resp_slab *big = reader->big;
    size_t whole_bytes = reader->bulk_len + BULK_END_BYTES;
    size_t cap = big->cap > whole_bytes / 2 ? whole_bytes : big->cap * 2;
    size_t more_bytes = cap - big->cap;

    if (reader->held_bytes + more_bytes > reader->limits->query_max_bytes)
        return no_memory(reader);
    struct resp_slab *grown = resp_slab_grow(big, cap);
    if (grown == NULL)
        return no_memory(reader);
    reader->held_bytes += more_bytes;
    reader->big = grown;
    return RESP_MORE;
}

/* Bytes that the big argument still lacks; what comes after it goes to the tail. */
static size_t big_rest_bytes(const struct resp_reader *reader)
{
    return reader->big == NULL ? 0 : reader->bulk_len + BULK_END_BYTES - reader->big->len;
}

static enum resp_status big_room(struct resp_reader *reader, uint8_t **room, size_t *room_bytes)
{
    size_t rest_bytes = big_rest_bytes(reader);

    if (reader->big->len == reader->big->cap && grow_big(reader) != RESP_MORE)
        return RESP_NO_MEMORY;
    size_t free_bytes = reader->big->cap - reader->big->len;
    *room = reader->big->data + reader->big->len;
    *room_bytes = free_bytes < rest_bytes ? free_bytes : rest_bytes;
    return RESP_MORE;
}

enum resp_status resp_reader_room(struct resp_reader *reader, uint8_t **room, size_t *room_bytes)
{
    size_t free_bytes = (size_t)(reader->limit - reader->end);
    enum resp_status status = RESP_MORE;

    if (reader->status == RESP_NO_MEMORY)
        return RESP_NO_MEMORY;
    if (big_rest_bytes(reader) > 0)
        return big_room(reader, room, room_bytes);
    /* A short room costs a system call for few bytes; but what is copied to make a longer one must
     * be little, or a slow sender would make it happen at every byte. */
    if (reader->tail == NULL || free_bytes == 0 ||
        (free_bytes < reader->tail->cap / 8 &&
         (size_t)(reader->end - reader->at) < reader->tail->cap / 4))
        status = start_tail(reader);
    if (status != RESP_MORE)
        return status;
    *room = reader->end;
    *room_bytes = (size_t)(reader->limit - reader->end);
    return RESP_MORE;
}

void resp_reader_filled(struct resp_reader *reader, size_t bytes)
{
    if (bytes == 0 || reader->status != RESP_MORE)
        return;
    if (big_rest_bytes(reader) > 0) {
        CHECK(bytes <= big_rest_bytes(reader) && bytes <= reader->big->cap - reader->big->len);
        reader->big->len += bytes;
        return;
    }
    CHECK(bytes <= (size_t)(reader->limit - reader->end));
    reader->end += bytes;
}

/* --- parsing: RESP_COMMAND means that the step is done --- */

static enum resp_status grow_slots(struct resp_reader *reader)
{
    size_t used_bytes = (size_t)argc_now(reader) * sizeof(*reader->argv);
    size_t cap = used_bytes * 2;

    if (cap < resp_pool_slab_bytes(reader->pool))
        cap = resp_pool_slab_bytes(reader->pool);
    struct resp_slab *slots = take_slab(reader, cap);
    if (slots == NULL)
        return no_memory(reader);
    if (used_bytes > 0)
        memcpy(slots->data, reader->argv, used_bytes);
    if (reader->slots != NULL) {
        if (reader->argv == (void *)reader->slots->data)
            give_slab(reader, reader->slots);
        else
            retire_slab(reader, reader->slots);
    }
    reader->slot_next = (struct varve_slice *)(void *)(slots->data + used_bytes);
    reader->argv = (struct varve_slice *)(void *)slots->data;
    reader->slot_end = reader->argv + slots->cap / sizeof(*reader->argv);
    reader->slots = slots;
    return RESP_COMMAND;
}

static inline enum resp_status push_argument(struct resp_reader *reader, struct varve_slice arg)
{
    if (UNLIKELY(reader->slot_next == reader->slot_end) && grow_slots(reader) != RESP_COMMAND)
        return RESP_NO_MEMORY;
    *reader->slot_next++ = arg;
    return RESP_COMMAND;
}

/* The end of the line that begins at reader->at, or NULL and *status. */
static uint8_t *find_line_end(struct resp_reader *reader, uint8_t stop, const char *too_big,
                              enum resp_status *status)
{
    size_t pending_bytes = (size_t)(reader->end - reader->at);
    size_t max_bytes = reader->limits->inline_max_bytes;
    size_t scan_bytes = pending_bytes <= max_bytes ? pending_bytes : max_bytes + 1;
    size_t n = reader->scanned_bytes;

    while (n < scan_bytes && reader->at[n] != stop && reader->at[n] != '\0')
        n++;
    reader->scanned_bytes = n;
    if (n < scan_bytes && reader->at[n] == stop)
        return reader->at + n;
    *status = pending_bytes > max_bytes ? protocol_error(reader, too_big) : RESP_MORE;
    return NULL;
}

/* A decimal number without blanks, plus sign or leading zeros, and not zero, which parse_fast_length()
 * takes. Returns 1, or 0 if it is none. */
static int parse_int64(const uint8_t *at, const uint8_t *end, int64_t *value)
{
    int negative = at < end && *at == '-';
    uint64_t sum = 0;

    if (at == end || end - at > INT64_TEXT_BYTES)
        return 0;
    at += negative;
    if (at == end || *at == '0')
        return 0;
    for (; at < end; at++) {
        uint64_t digit = (uint64_t)*at - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, digit, &sum))
            return 0;
    }
    if (sum > (uint64_t)INT64_MAX + negative)
        return 0;
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return 1;
}

/* A length line as clients write it: a short number without sign, its end in sight. Returns what
 * follows the line, or NULL: look at it closely. */
static inline uint8_t *parse_fast_length(uint8_t *at, const uint8_t *end, size_t *value)
{
    const uint8_t *first = at;
    size_t sum = 0;

    for (; at < end && at - first <= FAST_DIGITS_MAX; at++) {
        unsigned digit = (unsigned)*at - '0';
        if (digit > 9)
            break;
        sum = sum * 10 + digit;
    }
    if (at - first > FAST_DIGITS_MAX || at == first || end - at < 2 || *at != '\r' ||
        (*first == '0' && at - first > 1))
        return NULL;
    *value = sum;
    return at + 2;
}

static enum resp_status read_count(struct resp_reader *reader)
{
    enum resp_status status = RESP_MORE;
    size_t fast = 0;
    int64_t count = 0;
    uint8_t *next = parse_fast_length(reader->at + 1, reader->end, &fast);

    if (LIKELY(next != NULL)) {
        count = (int64_t)fast;
    } else {
        uint8_t *line_end = find_line_end(reader, '\r', "too big mbulk count string", &status);
        if (line_end == NULL || reader->end - line_end < 2)
            return status;
        next = line_end + 2;
        if (!parse_int64(reader->at + 1, line_end, &count))
            count = INT64_MAX;
    }
    if (count > INT_MAX)
        return protocol_error(reader, "invalid multibulk length");
    if (count > UNAUTHENTICATED_ARGS_MAX && reader->limits->unauthenticated)
        return protocol_error(reader, "unauthenticated multibulk length");
    reader->at = next;
    reader->scanned_bytes = 0;
    reader->args_left = count > 0 ? (int)count : 0;
    return RESP_COMMAND;
}

static enum resp_status expected_bulk(struct resp_reader *reader, uint8_t got)
{
    if (got == '\r' || got == '\n')
        got = ' ';
    snprintf(reader->error_text, sizeof(reader->error_text), "expected '$', got '%c'", got);
    return protocol_error(reader, reader->error_text);
}

static enum resp_status read_bulk_len(struct resp_reader *reader)
{
    enum resp_status status = RESP_MORE;
    uint8_t *next = NULL;
    size_t len = 0;

    if (LIKELY(reader->at < reader->end && *reader->at == '$'))
        next = parse_fast_length(reader->at + 1, reader->end, &len);
    if (UNLIKELY(next == NULL)) {
        int64_t number = 0;
        uint8_t *line_end = find_line_end(reader, '\r', "too big bulk count string", &status);
        if (line_end == NULL || reader->end - line_end < 2)
            return status;
        if (*reader->at != '$')
            return expected_bulk(reader, *reader->at);
        if (!parse_int64(reader->at + 1, line_end, &number) || number < 0)
            return protocol_error(reader, "invalid bulk length");
        next = line_end + 2;
        len = (size_t)number;
    }
    if (len > reader->limits->bulk_max_bytes)
        return protocol_error(reader, "invalid bulk length");
    if (len > UNAUTHENTICATED_BULK_MAX && reader->limits->unauthenticated)
        return protocol_error(reader, "unauthenticated bulk length");
    reader->at = next;
    reader->scanned_bytes = 0;
    reader->bulk_len = len;
    return RESP_COMMAND;
}

/* Gives the argument that has begun in the tail a slab of its own. */
static enum resp_status start_big(struct resp_reader *reader)
{
    size_t have_bytes = (size_t)(reader->end - reader->at);
    size_t whole_bytes = reader->bulk_len + BULK_END_BYTES;
    size_t cap = have_bytes * 2 < BIG_FIRST_BYTES ? BIG_FIRST_BYTES : have_bytes * 2;

    if (MUTANT("trust-length"))
        cap = whole_bytes;
    struct resp_slab *big = take_slab(reader, cap < whole_bytes ? cap : whole_bytes);
    if (big == NULL)
        return no_memory(reader);
    if (have_bytes > 0)
        memcpy(big->data, reader->at, have_bytes);
    big->len = have_bytes;
    count_wire_bytes(reader);
    reader->at = reader->end;
    reader->mark = reader->end;
    reader->big = big;
    return RESP_MORE;
}

static enum resp_status finish_big(struct resp_reader *reader)
{
    size_t whole_bytes = reader->bulk_len + BULK_END_BYTES;

    if (reader->big->len < whole_bytes)
        return RESP_MORE;
    if (push_argument(reader, varve_slice(reader->big->data, reader->bulk_len)) != RESP_COMMAND)
        return RESP_NO_MEMORY;
    retire_slab(reader, reader->big);
    reader->big = NULL;
    reader->wire_bytes += whole_bytes;
    return RESP_COMMAND;
}

static enum resp_status take_bulk(struct resp_reader *reader)
{
    if (UNLIKELY(reader->big != NULL))
        return finish_big(reader);
    if ((size_t)(reader->end - reader->at) < reader->bulk_len + BULK_END_BYTES)
        return reader->bulk_len < RESP_BIG_ARG_BYTES ? RESP_MORE : start_big(reader);
    if (push_argument(reader, varve_slice(reader->at, reader->bulk_len)) != RESP_COMMAND)
        return RESP_NO_MEMORY;
    reader->at += reader->bulk_len + BULK_END_BYTES;
    return RESP_COMMAND;
}

static enum resp_status read_arguments(struct resp_reader *reader)
{
    enum resp_status status = RESP_COMMAND;

    while (reader->args_left > 0) {
        if (reader->bulk_len == BULK_NONE)
            status = read_bulk_len(reader);
        if (UNLIKELY(status != RESP_COMMAND))
            return status;
        status = take_bulk(reader);
        if (UNLIKELY(status != RESP_COMMAND))
            return status;
        reader->bulk_len = BULK_NONE;
        reader->args_left--;
    }
    return RESP_COMMAND;
}

static enum resp_status read_inline(struct resp_reader *reader)
{
    enum resp_status status = RESP_MORE;
    struct varve_slice word;
    uint8_t *line_end = find_line_end(reader, '\n', "too big inline request", &status);

    if (line_end == NULL)
        return status;
    uint8_t *at = reader->at;
    uint8_t *words_end = line_end > at && line_end[-1] == '\r' ? line_end - 1 : line_end;
    enum inline_step step = inline_next(&at, words_end, &word);
    while (step == INLINE_WORD) {
        if (push_argument(reader, word) != RESP_COMMAND)
            return RESP_NO_MEMORY;
        step = inline_next(&at, words_end, &word);
    }
    if (step == INLINE_UNBALANCED)
        return protocol_error(reader, "unbalanced quotes in request");
    reader->at = line_end + 1;
    reader->scanned_bytes = 0;
    return RESP_COMMAND;
}

enum resp_status resp_reader_next(struct resp_reader *reader, struct resp_command *command)
{
    enum resp_status status = reader->status;

    if (UNLIKELY(status != RESP_MORE))
        return status;
    for (;;) {
        if (reader->args_left == 0) {
            if (reader->at == reader->end)
                return RESP_MORE;
            status = *reader->at == '*' ? read_count(reader) : read_inline(reader);
            if (UNLIKELY(status != RESP_COMMAND))
                return status;
        }
        status = read_arguments(reader);
        if (UNLIKELY(status != RESP_COMMAND))
            return status;
        count_wire_bytes(reader);
        if (LIKELY(reader->slot_next != reader->argv))
            break;
        reader->wire_bytes = 0; /* an empty array or line: as if it had not been sent */
    }
    command->argv = reader->argv;
    command->argc = argc_now(reader);
    command->wire_bytes = reader->wire_bytes;
    reader->argv = reader->slot_next;
    reader->wire_bytes = 0;
    reader->command_no++;
    return RESP_COMMAND;
}

const char *resp_reader_error(const struct resp_reader *reader)
{
    return reader->error;
}

/* --- between turns --- */

static void release_slots(struct resp_reader *reader)
{
    size_t argc = (size_t)argc_now(reader);

    if (reader->slots == NULL)
        return;
    struct varve_slice *first = (struct varve_slice *)(void *)reader->slots->data;
    if (argc == 0) {
        give_slab(reader, reader->slots);
        reader->slots = NULL;
        reader->argv = NULL;
        reader->slot_next = NULL;
        reader->slot_end = NULL;
    } else if (reader->argv != first) {
        memmove(first, reader->argv, argc * sizeof(*first));
        reader->argv = first;
        reader->slot_next = first + argc;
    }
}

static void release_tail(struct resp_reader *reader)
{
    size_t pending_bytes = (size_t)(reader->end - reader->at);

    if (reader->tail == NULL || argc_now(reader) > 0)
        return;
    count_wire_bytes(reader);
    if (pending_bytes == 0) {
        give_slab(reader, reader->tail);
        set_tail(reader, NULL, 0);
    } else if (reader->at != reader->tail->data) {
        memmove(reader->tail->data, reader->at, pending_bytes);
        set_tail(reader, reader->tail, pending_bytes);
    }
}

void resp_reader_release(struct resp_reader *reader)
{
    while (reader->retired != NULL && reader->retired->command_no < reader->command_no) {
        struct resp_slab *next = reader->retired->next;
        give_slab(reader, reader->retired);
        reader->retired = next;
    }
    release_slots(reader);
    release_tail(reader);
    reader->released_no = reader->command_no;
}

size_t resp_reader_held_bytes(const struct resp_reader *reader)
{
    return reader->held_bytes;
}

size_t resp_reader_pending_bytes(const struct resp_reader *reader)
{
    size_t big_bytes = reader->big == NULL ? 0 : reader->big->len;

    return reader->wire_bytes + (size_t)(reader->end - reader->mark) + big_bytes;
}
