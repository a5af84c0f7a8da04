/* session.h - what the command processor knows of one client: who it is, its database and protocol,
 * what it sent last. The connection behind it belongs to src/net and is seen only through figures().
 * One thread, the loop's. */
#ifndef CMD_SESSION_H
#define CMD_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/list.h"
#include "cmd/transaction.h"
#include "varve/slice.h"

#define SESSION_ADDRESS_MAX_BYTES 128

struct command;      /* src/cmd/table.h */
struct parked_fetch; /* src/cmd/park.h */
struct processor;    /* src/cmd/processor.h */

/* What only the connection knows; names as in CLIENT LIST. Bytes, but for the counts. */
struct session_figures {
    int fd;                /* -1: none */
    int closing;           /* 1: it ends with this turn, or as soon as its loop has it */
    int writable;          /* 1: output waits for the socket ("rw" in events, else "r") */
    size_t qbuf_bytes;     /* input held */
    size_t qbuf_free;      /* room left in the input buffer */
    size_t argv_mem;       /* of a command that is not whole yet */
    size_t reply_buf_size; /* rbs; here with what the connection itself takes */
    size_t reply_buf_peak; /* rbp */
    size_t obl;            /* output in the reply buffer */
    size_t oll_count;      /* output buffers beyond it */
    size_t omem;           /* bytes in those */
};

/* CLIENT REPLY. */
enum session_muted {
    SESSION_MUTED = 1,      /* OFF */
    SESSION_SKIP = 2,       /* the reply to the next command, */
    SESSION_SKIP_FRESH = 4, /* which is not the present one */
};

/* Fills *figures, which is zeroed before (fd: -1). */
typedef void (*session_figures_fn)(void *arg, struct session_figures *figures);

struct session {
    struct list node; /* in the ring of processor_sessions() */
    struct processor *processor;
    struct processor *reader; /* of the loop that has its socket; NULL: it has none */
    uint64_t id;              /* from 1, never reused while the program runs */
    int db;
    int proto;         /* 2 or 3; a change is seen by the next reply */
    int authenticated; /* 1: no password was required, or it was given */
    char peer[SESSION_ADDRESS_MAX_BYTES];
    char local[SESSION_ADDRESS_MAX_BYTES];
    struct buf name; /* CLIENT SETNAME; len 0: none */
    struct buf lib_name;
    struct buf lib_ver;
    int is_unix;         /* 1: the peer is a Unix socket (an address that begins with '/') */
    uint64_t created_ms; /* these two on the clock of cmd_ctx.now_ms */
    uint64_t active_ms;
    const struct command *last_command; /* NULL: none yet */
    uint64_t command_count;
    struct parked_fetch
        *fetches;             /* for its command, which is parked; held until that ran to its end */
    unsigned fetches_running; /* of those; it runs again when there are none */
    unsigned fetch_rounds;    /* how often the command was fetched for */
    struct transaction *transaction; /* NULL: nothing is queued or watched */
    struct transaction_saved saved;
    unsigned muted;         /* enum session_muted: replies that are not sent */
    uint64_t unmuted_group; /* of the command for which SESSION_SKIP was used up last */
    int killed;             /* 1: by CLIENT KILL or eviction, in this turn */
    int no_evict;           /* CLIENT NO-EVICT */
    uint64_t write_held_us; /* since when its write is held back, on clock_mono_us(); 0: none is */
    struct list pause_node; /* among those that CLIENT PAUSE holds; empty ring: it does not */
    struct list monitor_node;   /* among those that MONITOR; likewise */
    session_figures_fn figures; /* may be NULL */
    void *figures_arg;
};

/* Makes a session and enters it into the processor's ring. peer and local ("ip:port", or "path:0")
 * are copied, cut at SESSION_ADDRESS_MAX_BYTES. NULL: no memory. */
struct session *session_create(struct processor *processor, const char *peer, const char *local,
                               session_figures_fn figures, void *figures_arg);
void session_destroy(struct session *session); /* takes NULL */

/* 1 if the client has to AUTH before anything else: the loop then holds its input short
 * (resp_limits.unauthenticated). Cheap enough to be asked after every command. */
int session_auth_required(const struct session *session);

/* Sets one of the texts above. Returns 0 or VARVE_ENOMEM: then it is as it was. */
int session_set_text(struct buf *text, struct varve_slice value) MUST_CHECK;

#endif
