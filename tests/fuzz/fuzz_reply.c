/* Any sequence of replies, in RESP2 or RESP3, is read by a client as what was written; with a buffer that is
 * too small or no memory, the writer says so and what was whole stays. Input: a byte for the protocol,
 * then a byte for each call and what it is given. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "reply.h"
#include "resp/writer.h"
#include "take.h"

#define CALLS_MAX 200
#define CALL_KINDS 14
#define OUT_MAX_BYTES ((size_t)1 << 20)

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\r\n"),
    FUZZ_TOKEN("\x02\x05\0hello"),
    FUZZ_TOKEN("\x03\0\0\0\0\0\0\0\x80"),
    FUZZ_TOKEN("\x09\0\0\0\0\0\0\xf8\x7f"),
    FUZZ_TOKEN("\x01\x04\0a\r\nb"),
    FUZZ_TOKEN("%s%n"),
    {NULL, 0},
};

struct call {
    unsigned kind;
    int64_t number;
    double real;
    char text[600]; /* without NUL bytes: for simple strings and errors */
    struct varve_slice bytes;
};

static void take_call(struct take *take, struct call *call)
{
    call->kind = take_byte(take) % CALL_KINDS;
    call->number = 0;
    call->bytes = varve_slice(NULL, 0);
    if (call->kind < 3 || call->kind == 12 || call->kind == 13) {
        size_t len = (size_t)take_number(take, 2) % (sizeof(call->text) - 1);
        call->bytes = take_slice(take, len);
    } else if (call->kind == 3 || call->kind == 9) {
        call->number = (int64_t)take_number(take, 8);
        memcpy(&call->real, &call->number, 8);
    } else {
        call->number = take_byte(take);
    }
    if (call->bytes.len > 0)
        memcpy(call->text, call->bytes.data, call->bytes.len);
    call->text[call->bytes.len] = '\0';
    if (call->kind == 0) /* a simple string is our own text */
        for (char *c = call->text; *c != '\0'; c++)
            *c = *c == '\r' || *c == '\n' ? '_' : *c;
}

static void write_call(struct resp_writer *w, const struct call *call)
{
    uint64_t count = (uint64_t)call->number;

    switch (call->kind) {
    case 0: resp_simple(w, call->text); break;
    case 1: resp_error(w, "ERR %s", call->text); break;
    case 2: resp_bulk(w, call->bytes); break;
    case 3: resp_integer(w, call->number); break;
    case 4: resp_null(w); break;
    case 5: resp_null_array(w); break;
    case 6: resp_array(w, count); break;
    case 7: resp_map(w, count); break;
    case 8: resp_set(w, count); break;
    case 9: resp_double(w, call->real); break;
    case 10: resp_bool(w, call->number & 1); break;
    case 11: resp_push(w, count); break;
    case 12: resp_verbatim(w, "txt", call->bytes); break;
    case 13: resp_bulk_fmt(w, "%s;%d", call->text, 7); break;
    default: CHECK(0);
    }
}

static void check_bytes(const struct reply *reply, char type, struct varve_slice wanted)
{
    CHECK(reply->type == type && !reply->is_null && varve_slice_equal(reply->bytes, wanted));
}

static void check_count(const struct reply *reply, int proto, char type3, int64_t count)
{
    int64_t wanted = proto == 2 && type3 == '%' ? 2 * count : count;

    CHECK(reply->type == (proto == 2 ? '*' : type3) && !reply->is_null && reply->number == wanted);
}

/* The words of an error, without the line ends behind them, with blanks where others were. */
static void check_error(const struct reply *reply, const struct call *call)
{
    char wanted[sizeof(call->text) + 8] = "ERR ";
    size_t len = strlen(strcat(wanted, call->text));

    while (wanted[len - 1] == '\r' || wanted[len - 1] == '\n')
        wanted[--len] = '\0';
    for (char *c = wanted; *c != '\0'; c++)
        *c = *c == '\r' || *c == '\n' ? ' ' : *c;
    check_bytes(reply, '-', varve_slice_str(wanted));
}

static void check_double(const struct reply *reply, int proto, double wanted)
{
    char text[64] = "";

    CHECK(reply->type == (proto == 2 ? '$' : ',') && reply->bytes.len < sizeof(text));
    memcpy(text, reply->bytes.data, reply->bytes.len);
    double is = strtod(text, NULL);
    CHECK(isnan(wanted) ? strcmp(text, "nan") == 0 : is == wanted);
}

static void check_call(const struct reply *reply, int proto, const struct call *call)
{
    char text[sizeof(call->text) + 2];

    switch (call->kind) {
    case 0: check_bytes(reply, '+', varve_slice_str(call->text)); break;
    case 1: check_error(reply, call); break;
    case 2: check_bytes(reply, '$', call->bytes); break;
    case 3: CHECK(reply->type == ':' && reply->number == call->number); break;
    case 4: CHECK(reply->is_null && reply->type == (proto == 2 ? '$' : '_')); break;
    case 5: CHECK(reply->is_null && reply->type == (proto == 2 ? '*' : '_')); break;
    case 6: check_count(reply, proto, '*', call->number); break;
    case 7: check_count(reply, proto, '%', call->number); break;
    case 8: check_count(reply, proto, '~', call->number); break;
    case 9: check_double(reply, proto, call->real); break;
    case 10:
        CHECK(reply->type == (proto == 2 ? ':' : '#') && reply->number == (call->number & 1));
        break;
    case 11: check_count(reply, proto, '>', call->number); break;
    case 12: check_bytes(reply, proto == 2 ? '$' : '=', call->bytes); break;
    case 13:
        strcat(strcpy(text, call->text), ";7");
        check_bytes(reply, '$', varve_slice_str(text));
        break;
    default: CHECK(0);
    }
}

/* Writes as many as fit; what was written is the beginning of `all`, and whole up to the call that failed. */
static void run_short(const struct call *calls, size_t count, int proto, const struct buf *all,
                      size_t bytes_max)
{
    struct buf out;
    struct resp_writer writer = {.out = &out, .proto = proto};
    size_t whole = 0;

    buf_init(&out, bytes_max);
    for (size_t i = 0; i < count; i++) {
        write_call(&writer, &calls[i]);
        if (writer.failed == 0)
            whole = out.len;
    }
    CHECK(out.len == whole && out.cap <= bytes_max);
    CHECK(writer.failed != 0 || out.len == all->len);
    CHECK(out.len == 0 || memcmp(out.data, all->data, out.len) == 0);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct call calls[CALLS_MAX];
    struct take take = take_from(data, size);
    struct buf out;
    struct reply reply;
    size_t count = 0;
    uint8_t head = take_byte(&take);
    uint16_t room = (uint16_t)take_number(&take, 2);
    struct resp_writer writer = {.out = &out, .proto = 2 + (head & 1)};

    buf_init(&out, OUT_MAX_BYTES);
    while (take_left(&take) > 0 && count < CALLS_MAX) {
        take_call(&take, &calls[count]);
        write_call(&writer, &calls[count++]);
    }
    CHECK(writer.failed == 0);
    struct take written = take_from(out.data, out.len);
    for (size_t i = 0; i < count; i++) {
        CHECK(reply_read(&written, writer.proto, &reply) == 0);
        check_call(&reply, writer.proto, &calls[i]);
    }
    CHECK(take_left(&written) == 0);
    run_short(calls, count, writer.proto, &out, room);
    buf_deinit(&out);
    return 0;
}
