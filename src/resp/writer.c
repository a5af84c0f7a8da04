#include "resp/writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "varve/status.h"

#define HEAD_BYTES_MAX 32 /* type byte, 20 digits, CR LF, a verbatim string's kind */
#define CRLF_BYTES 2
#define TEXT_GUESS_BYTES 256 /* formatted text is longer only rarely */
#define DOUBLE_TEXT_BYTES 32
#define VERBATIM_KIND_BYTES 3

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

/* Room for `bytes` more, or NULL: the writer has failed. */
static inline uint8_t *reserve(struct resp_writer *w, size_t bytes)
{
    if (UNLIKELY(w->failed != 0))
        return NULL;
    w->failed = buf_reserve(w->out, bytes);
    return LIKELY(w->failed == 0) ? w->out->data + w->out->len : NULL;
}

static inline void advance(struct resp_writer *w, const uint8_t *end)
{
    w->out->len = (size_t)(end - w->out->data);
}

static inline uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

static inline uint8_t *put_crlf(uint8_t *at)
{
    at[0] = '\r';
    at[1] = '\n';
    return at + CRLF_BYTES;
}

static inline uint8_t *put_decimal(uint8_t *at, uint64_t value)
{
    uint8_t digits[20];
    size_t first = sizeof(digits);

    if (value < 10) {
        *at = (uint8_t)('0' + value);
        return at + 1;
    }
    while (value >= 100) {
        first -= 2;
        memcpy(digits + first, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        first -= 2;
        memcpy(digits + first, digit_pairs + value * 2, 2);
    } else {
        digits[--first] = (uint8_t)('0' + value);
    }
    return put_bytes(at, digits + first, sizeof(digits) - first);
}

static inline uint8_t *put_head(uint8_t *at, char type, uint64_t value)
{
    *at++ = (uint8_t)type;
    return put_crlf(put_decimal(at, value));
}

static void write_head(struct resp_writer *w, char type, uint64_t value)
{
    uint8_t *at = reserve(w, HEAD_BYTES_MAX);

    if (LIKELY(at != NULL))
        advance(w, put_head(at, type, value));
}

static void write_literal(struct resp_writer *w, const char *text)
{
    resp_raw(w, varve_slice_str(text));
}

/* Room for a reply with a head and len bytes of payload, or NULL. */
static inline uint8_t *reserve_payload(struct resp_writer *w, size_t len)
{
    size_t bytes = 0;

    if (UNLIKELY(__builtin_add_overflow(len, HEAD_BYTES_MAX + CRLF_BYTES, &bytes)))
        bytes = SIZE_MAX;
    return reserve(w, bytes);
}

void resp_raw(struct resp_writer *w, struct varve_slice bytes)
{
    uint8_t *at = reserve(w, bytes.len);

    if (LIKELY(at != NULL))
        advance(w, put_bytes(at, bytes.data, bytes.len));
}

void resp_simple(struct resp_writer *w, const char *text)
{
    size_t len = strlen(text);
    uint8_t *at = reserve_payload(w, len);

    if (at == NULL)
        return;
    *at++ = '+';
    advance(w, put_crlf(put_bytes(at, text, len)));
}

void resp_ok(struct resp_writer *w)
{
    write_literal(w, "+OK\r\n");
}

/* Formats behind the buffer's end with `ahead` bytes left free before the text and room for a CR LF
 * behind it. Returns the text's first byte and *len, or NULL. */
static uint8_t *format_ahead(struct resp_writer *w, size_t ahead, size_t *len, const char *fmt,
                             va_list args) __attribute__((format(printf, 4, 0)));

static uint8_t *format_ahead(struct resp_writer *w, size_t ahead, size_t *len, const char *fmt,
                             va_list args)
{
    size_t room = TEXT_GUESS_BYTES;
    va_list again;
    uint8_t *at = reserve(w, ahead + room + CRLF_BYTES);

    if (at == NULL)
        return NULL;
    va_copy(again, args);
    int n = vsnprintf((char *)at + ahead, room, fmt, args);
    CHECK(n >= 0);
    *len = (size_t)n;
    if (*len >= room) {
        room = *len + 1; /* the NUL */
        at = reserve(w, ahead + room + CRLF_BYTES);
        if (at != NULL)
            vsnprintf((char *)at + ahead, room, fmt, again);
    }
    va_end(again);
    return at == NULL ? NULL : at + ahead;
}

void resp_error(struct resp_writer *w, const char *fmt, ...)
{
    size_t len = 0;
    va_list args;

    va_start(args, fmt);
    uint8_t *text = format_ahead(w, 1, &len, fmt, args);
    va_end(args);
    if (text == NULL)
        return;
    text[-1] = '-';
    while (len > 0 && (text[len - 1] == '\r' || text[len - 1] == '\n'))
        len--;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' || (text[i] == '\n' && !MUTANT("error-keeps-newline")))
            text[i] = ' ';
    }
    advance(w, put_crlf(text + len));
}

void resp_integer(struct resp_writer *w, int64_t value)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint8_t *at = reserve(w, HEAD_BYTES_MAX);

    if (UNLIKELY(at == NULL))
        return;
    *at++ = ':';
    *at = '-';
    at += value < 0;
    advance(w, put_crlf(put_decimal(at, magnitude)));
}

void resp_bulk(struct resp_writer *w, struct varve_slice bytes)
{
    uint8_t *at = reserve_payload(w, bytes.len);

    if (UNLIKELY(at == NULL))
        return;
    at = put_head(at, '$', bytes.len);
    advance(w, put_crlf(put_bytes(at, bytes.data, bytes.len)));
}

/* ---- bytes that stay where they are ---- */

void resp_pins_drop(struct resp_pins *pins, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        pins->bytes -= pins->items[i].bytes.len;
        pins->items[i].release(pins->items[i].owner);
    }
    pins->count -= count;
    if (count > 0 && pins->count > 0)
        memmove(pins->items, pins->items + count, pins->count * sizeof(*pins->items));
}

void resp_pins_drop_from(struct resp_pins *pins, uint32_t first)
{
    while (pins->count > first) {
        struct resp_pinned *last = &pins->items[--pins->count];
        pins->bytes -= last->bytes.len;
        last->release(last->owner);
    }
}

void resp_pins_deinit(struct resp_pins *pins)
{
    resp_pins_drop(pins, pins->count);
    mem_free(pins->items);
    *pins = (struct resp_pins){0};
}

static int pins_reserve(struct resp_pins *pins)
{
    if (pins->count < pins->cap)
        return 0;
    uint32_t cap = pins->cap == 0 ? 4 : pins->cap * 2;
    struct resp_pinned *grown = mem_realloc(pins->items, cap * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    pins->items = grown;
    pins->cap = cap;
    return 0;
}

/* A reply ends behind what is pinned in it, so one at `len` or before belongs to what stays. */
void resp_cut(struct resp_writer *w, size_t len)
{
    const struct resp_pins *pins = w->pins;
    uint32_t kept = pins == NULL ? 0 : pins->count;

    w->out->len = len;
    while (kept > 0 && pins->items[kept - 1].at > len)
        kept--;
    if (pins != NULL)
        resp_pins_drop_from(w->pins, kept);
}

void resp_bulk_pinned(struct resp_writer *w, struct varve_slice bytes, void (*release)(void *owner),
                      void *owner)
{
    if (w->pins == NULL || bytes.len < RESP_PINNED_MIN_BYTES || w->pins->count >= RESP_PINS_MAX ||
        pins_reserve(w->pins) != 0) {
        resp_bulk(w, bytes);
        release(owner);
        return;
    }
    uint8_t *at = reserve(w, HEAD_BYTES_MAX + CRLF_BYTES);
    if (at == NULL) {
        release(owner);
        return;
    }
    at = put_head(at, '$', bytes.len);
    w->pins->items[w->pins->count++] = (struct resp_pinned){
        .at = (size_t)(at - w->out->data), .bytes = bytes, .release = release, .owner = owner};
    w->pins->bytes += bytes.len;
    advance(w, put_crlf(at));
}

void resp_bulk_str(struct resp_writer *w, const char *text)
{
    resp_bulk(w, varve_slice_str(text));
}

void resp_bulk_fmt(struct resp_writer *w, const char *fmt, ...)
{
    size_t len = 0;
    va_list args;

    /* The head's length depends on the text's, so the text is made where the longest head would
     * leave it, and moved back. */
    va_start(args, fmt);
    uint8_t *text = format_ahead(w, HEAD_BYTES_MAX, &len, fmt, args);
    va_end(args);
    if (text == NULL)
        return;
    uint8_t *at = put_head(text - HEAD_BYTES_MAX, '$', len);
    memmove(at, text, len);
    advance(w, put_crlf(at + len));
}

void resp_null(struct resp_writer *w)
{
    write_literal(w, w->proto >= 3 ? "_\r\n" : "$-1\r\n");
}

void resp_null_array(struct resp_writer *w)
{
    write_literal(w, w->proto >= 3 ? "_\r\n" : "*-1\r\n");
}

void resp_array(struct resp_writer *w, uint64_t count)
{
    write_head(w, '*', count);
}

void resp_map(struct resp_writer *w, uint64_t pairs)
{
    CHECK(pairs <= UINT64_MAX / 2);
    if (w->proto >= 3)
        write_head(w, '%', pairs);
    else
        write_head(w, '*', pairs * 2);
}

void resp_set(struct resp_writer *w, uint64_t count)
{
    write_head(w, w->proto >= 3 ? '~' : '*', count);
}

void resp_push(struct resp_writer *w, uint64_t count)
{
    write_head(w, w->proto >= 3 ? '>' : '*', count);
}

void resp_double(struct resp_writer *w, double value)
{
    char text[DOUBLE_TEXT_BYTES];

    /* The C library may print a NaN with its sign. */
    if (isnan(value))
        strcpy(text, "nan");
    else
        snprintf(text, sizeof(text), "%.17g", value);
    if (w->proto < 3) {
        resp_bulk_str(w, text);
        return;
    }
    size_t len = strlen(text);
    uint8_t *at = reserve_payload(w, len);
    if (at == NULL)
        return;
    *at++ = ',';
    advance(w, put_crlf(put_bytes(at, text, len)));
}

void resp_bool(struct resp_writer *w, int value)
{
    if (w->proto >= 3)
        write_literal(w, value ? "#t\r\n" : "#f\r\n");
    else
        write_literal(w, value ? ":1\r\n" : ":0\r\n");
}

void resp_verbatim(struct resp_writer *w, const char *kind, struct varve_slice text)
{
    if (w->proto < 3) {
        resp_bulk(w, text);
        return;
    }
    CHECK(strlen(kind) == VERBATIM_KIND_BYTES);
    uint8_t *at = reserve_payload(w, text.len);
    if (at == NULL)
        return;
    at = put_head(at, '=', text.len + VERBATIM_KIND_BYTES + 1);
    at = put_bytes(at, kind, VERBATIM_KIND_BYTES);
    *at++ = ':';
    advance(w, put_crlf(put_bytes(at, text.data, text.len)));
}
