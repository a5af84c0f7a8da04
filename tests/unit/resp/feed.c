#include "feed.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#define KEEP_BUFFERS 4
#define TRANSCRIPT_BYTES_MAX ((size_t)1 << 32)

int feed_open(struct feed *feed, size_t buffer_bytes)
{
    *feed = (struct feed){.limits = {.bulk_max_bytes = (size_t)512 << 20,
                                     .inline_max_bytes = 64 * 1024,
                                     .query_max_bytes = (size_t)1 << 30},
                          .status = RESP_MORE};
    buf_init(&feed->transcript, TRANSCRIPT_BYTES_MAX);
    feed->pool = resp_pool_create(buffer_bytes, KEEP_BUFFERS);
    if (feed->pool == NULL)
        return -1;
    feed->reader = resp_reader_create(&feed->limits, feed->pool);
    return feed->reader == NULL ? -1 : 0;
}

void feed_close(struct feed *feed)
{
    resp_reader_destroy(feed->reader);
    resp_pool_destroy(feed->pool);
    buf_deinit(&feed->transcript);
    mem_free(feed->live);
    *feed = (struct feed){.status = RESP_MORE};
}

static void keep_command(struct feed *feed, const struct resp_command *command)
{
    if (feed->live_count == feed->live_cap) {
        size_t cap = feed->live_cap == 0 ? 64 : feed->live_cap * 2;
        struct resp_command *grown = mem_realloc(feed->live, cap * sizeof(*grown));
        if (grown == NULL) {
            feed->no_memory = 1;
            return;
        }
        feed->live = grown;
        feed->live_cap = cap;
    }
    feed->live[feed->live_count++] = *command;
}

static void take_commands(struct feed *feed)
{
    struct resp_command command;

    while ((feed->status = resp_reader_next(feed->reader, &command)) == RESP_COMMAND) {
        CHECK(command.argc >= 1);
        feed->wire_bytes += command.wire_bytes;
        feed->count++;
        keep_command(feed, &command);
    }
}

enum resp_status feed_bytes(struct feed *feed, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        uint8_t *room = NULL;
        size_t room_bytes = 0;
        enum resp_status status = resp_reader_room(feed->reader, &room, &room_bytes);
        if (status != RESP_MORE) {
            feed->status = status;
            return status;
        }
        CHECK(room_bytes > 0);
        size_t n = len < room_bytes ? len : room_bytes;
        memcpy(room, from, n);
        resp_reader_filled(feed->reader, n);
        from += n;
        len -= n;
        take_commands(feed);
    }
    return feed->status;
}

static void note(struct feed *feed, const void *bytes, size_t len)
{
    if (buf_append(&feed->transcript, bytes, len) != 0)
        feed->no_memory = 1;
}

static void note_number(struct feed *feed, size_t number, char behind)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%zu%c", number, behind);

    note(feed, text, (size_t)n);
}

void feed_end_turn(struct feed *feed)
{
    for (size_t i = 0; i < feed->live_count; i++) {
        const struct resp_command *command = &feed->live[i];
        note_number(feed, (size_t)command->argc, ' ');
        for (int j = 0; j < command->argc; j++) {
            note_number(feed, command->argv[j].len, ':');
            note(feed, command->argv[j].data, command->argv[j].len);
            note(feed, j + 1 < command->argc ? " " : "\n", 1);
        }
    }
    feed->live_count = 0;
    resp_reader_release(feed->reader);
}

const char *feed_finish(struct feed *feed)
{
    feed_end_turn(feed);
    if (feed->status == RESP_MORE) {
        note(feed, "more ", 5);
        note_number(feed, resp_reader_pending_bytes(feed->reader), '\0');
    } else if (feed->status == RESP_NO_MEMORY) {
        note(feed, "no memory", 10);
    } else {
        const char *text = resp_reader_error(feed->reader);
        note(feed, "error ", 6);
        note(feed, text, strlen(text) + 1);
    }
    return feed->no_memory ? "" : (const char *)feed->transcript.data;
}
