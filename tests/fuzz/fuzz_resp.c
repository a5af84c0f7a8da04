/* Any bytes, cut anywhere, in any turns and with any buffer size, make the same commands; what
 * the writer writes of them is read as the same again; a failed allocation is said and leaks nothing.
 *
 * Input: a byte that chooses limits and buffer size, four bytes that seed the cuts, the stream. */
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "feed.h"
#include "fuzz.h"
#include "resp/writer.h"

#define HEAD_BYTES 5
#define BY_BYTE_MAX 4096 /* longer streams are not fed byte by byte: it takes too long */
#define WHOLE_BUFFER_BYTES ((size_t)1 << 20)
#define WRITTEN_BYTES_MAX ((size_t)1 << 30)

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("*1\r\n$4\r\nPING\r\n"),
    FUZZ_TOKEN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n"),
    FUZZ_TOKEN("PING\r\n"),
    FUZZ_TOKEN("\r\n"),
    FUZZ_TOKEN("\n"),
    FUZZ_TOKEN("\r"),
    FUZZ_TOKEN("\0"),
    FUZZ_TOKEN("*0\r\n"),
    FUZZ_TOKEN("*-1\r\n"),
    FUZZ_TOKEN("*2\r\n"),
    FUZZ_TOKEN("*10\r\n"),
    FUZZ_TOKEN("*11\r\n"),
    FUZZ_TOKEN("*2147483647\r\n"),
    FUZZ_TOKEN("$0\r\n\r\n"),
    FUZZ_TOKEN("$1\r\na\r\n"),
    FUZZ_TOKEN("$16385\r\n"),
    FUZZ_TOKEN("$32768\r\n"),
    FUZZ_TOKEN("$33000\r\n"),
    FUZZ_TOKEN("$536870912\r\n"),
    FUZZ_TOKEN("-"),
    FUZZ_TOKEN("\""),
    FUZZ_TOKEN("'"),
    FUZZ_TOKEN("\\x41"),
    FUZZ_TOKEN("\\"),
    FUZZ_TOKEN(" "),
    FUZZ_TOKEN("\v"),
    {NULL, 0},
};

struct input {
    const uint8_t *bytes;
    size_t len;
    size_t buffer_bytes;
    uint64_t seed;
    int unauthenticated;
    int short_lines;
};

static void open_feed(struct feed *feed, const struct input *input, size_t buffer_bytes)
{
    CHECK(feed_open(feed, buffer_bytes) == 0);
    feed->limits.unauthenticated = input->unauthenticated;
    if (input->short_lines)
        feed->limits.inline_max_bytes = 64;
}

static void check_same(const struct feed *feed, const struct feed *whole)
{
    CHECK(!feed->no_memory);
    CHECK(feed->status == whole->status);
    CHECK(feed->count == whole->count);
    CHECK(feed->wire_bytes == whole->wire_bytes);
    CHECK(feed->transcript.len == whole->transcript.len);
    CHECK(memcmp(feed->transcript.data, whole->transcript.data, whole->transcript.len) == 0);
}

static void run_cut(const struct input *input, const struct feed *whole, size_t piece_max)
{
    struct feed feed;
    struct rng rng;

    rng_init(&rng, input->seed);
    open_feed(&feed, input, input->buffer_bytes);
    for (size_t at = 0; at < input->len;) {
        size_t n = 1 + rng_below(&rng, piece_max);
        if (n > input->len - at)
            n = input->len - at;
        feed_bytes(&feed, input->bytes + at, n);
        if (rng_below(&rng, 3) == 0)
            feed_end_turn(&feed);
        at += n;
    }
    feed_finish(&feed);
    check_same(&feed, whole);
    feed_close(&feed);
}

/* Writes the commands of the stream as arrays, whatever they were, and reads those. */
static void run_rewritten(const struct input *input)
{
    struct feed first;
    struct feed again;
    struct buf out;
    struct resp_writer writer = {.out = &out, .proto = 2 + (int)(input->seed & 1)};

    buf_init(&out, WRITTEN_BYTES_MAX);
    open_feed(&first, input, input->buffer_bytes);
    feed_bytes(&first, input->bytes, input->len);
    for (size_t i = 0; i < first.live_count; i++) {
        resp_array(&writer, (uint64_t)first.live[i].argc);
        for (int j = 0; j < first.live[i].argc; j++)
            resp_bulk(&writer, first.live[i].argv[j]);
    }
    CHECK(writer.failed == 0);
    CHECK(feed_open(&again, input->buffer_bytes) == 0);
    feed_bytes(&again, out.data, out.len);
    feed_end_turn(&again);
    feed_end_turn(&first);
    CHECK(again.status == RESP_MORE && again.count == first.count);
    CHECK(again.wire_bytes == out.len);
    CHECK(again.transcript.len == first.transcript.len);
    CHECK(first.transcript.len == 0 ||
          memcmp(again.transcript.data, first.transcript.data, first.transcript.len) == 0);
    feed_close(&first);
    feed_close(&again);
    buf_deinit(&out);
}

static void run_without_memory(const struct input *input, const struct feed *whole)
{
    struct feed feed;
    uint64_t used_bytes = mem_used_bytes();
    struct rng rng;

    rng_init(&rng, input->seed);
    open_feed(&feed, input, input->buffer_bytes);
    uint64_t nth = 1 + rng_below(&rng, 12);
    mem_fail_nth(nth, rng_below(&rng, 2) == 0);
    feed_bytes(&feed, input->bytes, input->len);
    int failed = mem_alloc_count() >= nth;
    mem_fail_nth(0, 0);
    if (!failed)
        CHECK(feed.status == whole->status);
    else if (!feed.no_memory)
        CHECK(feed.status == RESP_NO_MEMORY);
    feed_end_turn(&feed);
    if (feed.status == RESP_NO_MEMORY)
        CHECK(resp_reader_held_bytes(feed.reader) == 0);
    feed_close(&feed);
    CHECK(mem_used_bytes() == used_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t buffer_sizes[] = {128, 200, 1024, 16384};
    struct feed whole;

    if (size < HEAD_BYTES)
        return 0;
    struct input input = {.bytes = data + HEAD_BYTES,
                          .len = size - HEAD_BYTES,
                          .buffer_bytes = buffer_sizes[data[0] & 3],
                          .seed = get_u32(data + 1),
                          .unauthenticated = (data[0] & 4) != 0,
                          .short_lines = (data[0] & 8) != 0};
    open_feed(&whole, &input, WHOLE_BUFFER_BYTES);
    feed_bytes(&whole, input.bytes, input.len);
    feed_finish(&whole);
    if (input.len <= BY_BYTE_MAX)
        run_cut(&input, &whole, 1);
    run_cut(&input, &whole, 64);
    run_cut(&input, &whole, 1 + input.len);
    run_rewritten(&input);
    run_without_memory(&input, &whole);
    feed_close(&whole);
    return 0;
}
