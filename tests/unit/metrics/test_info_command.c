/* INFO and CONFIG as a client sees them: through the processor, on the engine's stand-in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/processor.h"
#include "cmd/session.h"
#include "config/config.h"
#include "fake_db.h"
#include "metrics/metrics.h"
#include "types/keyspace.h"

/* The stand-in has neither. */
const char *__attribute__((weak)) varve_id(const struct varve_db *db)
{
    (void)db;
    return "0123456789abcdef0123456789abcdef";
}

const char *__attribute__((weak)) varve_version(void)
{
    return "0.1.0";
}

struct fixture {
    struct varve_db *db;
    struct keyspace *keyspace;
    struct config *config;
    struct metrics metrics;
    struct processor_host host;
    struct processor *processor;
    struct session *session;
    struct buf out;
    struct resp_writer writer;
    const char *refusal; /* of config_changed() */
};

static const char *config_changed(void *arg, const char *name)
{
    struct fixture *f = arg;

    return strcmp(name, "maxclients") == 0 ? f->refusal : NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    f->db = fake_db_create();
    f->config = config_create();
    f->host = (struct processor_host){.arg = f, .config_changed = config_changed};
    if (keyspace_open(f->db, &f->keyspace, NULL) != 0 || metrics_init(&f->metrics) != 0)
        return -1;
    f->processor = processor_create(f->keyspace, f->config, &f->metrics, &f->host);
    f->session = session_create(f->processor, "127.0.0.1:5000", "127.0.0.1:6379", NULL, NULL);
    buf_init(&f->out, 1 << 20);
    f->writer = (struct resp_writer){.out = &f->out, .proto = 2};
    return f->session == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->out);
    session_destroy(f->session);
    processor_destroy(f->processor);
    keyspace_close(f->keyspace);
    config_destroy(f->config);
    fake_db_destroy(f->db);
    free(f);
    return 0;
}

/* Runs a line of words; the reply, as a string. "''" is an empty word. */
static const char *run(struct fixture *f, const char *line)
{
    struct processor_outcome outcome = {0};
    struct varve_slice argv[16];
    enum processor_step step;
    int argc = 0;

    while (*line != '\0' && argc < 16) {
        size_t len = strcspn(line, " ");
        argv[argc++] = varve_slice(line, strncmp(line, "''", len) == 0 ? 0 : len);
        line += len + (line[len] == ' ');
    }
    buf_clear(&f->out);
    f->writer.proto = f->session->proto;
    step = processor_run(f->processor, f->session, argc, argv, &f->writer, &outcome);
    if (step == PROCESSOR_COMMIT_FIRST) {
        assert_int_equal(varve_group_commit(f->db, NULL), 0);
        step = processor_run(f->processor, f->session, argc, argv, &f->writer, &outcome);
    }
    assert_int_not_equal(step, PROCESSOR_COMMIT_FIRST);
    assert_int_equal(f->writer.failed, 0);
    assert_int_equal(buf_append(&f->out, "", 1), 0);
    return (const char *)f->out.data;
}

/* ---- INFO ---- */

static int has_field(const char *text, const char *name)
{
    char line[128];

    snprintf(line, sizeof(line), "\r\n%s:", name);
    return strstr(text, line) != NULL;
}

/* What tools read of a default INFO. */
static const char *const needed[] = {
    "redis_version",
    "redis_mode",
    "os",
    "process_id",
    "run_id",
    "tcp_port",
    "uptime_in_seconds",
    "executable",
    "config_file",
    "varve_version",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "used_memory",
    "used_memory_human",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_lua",
    "maxmemory",
    "maxmemory_policy",
    "mem_fragmentation_ratio",
    "mem_allocator",
    "loading",
    "rdb_changes_since_last_save",
    "rdb_bgsave_in_progress",
    "rdb_last_save_time",
    "rdb_last_bgsave_status",
    "aof_enabled",
    "aof_rewrite_in_progress",
    "aof_last_write_status",
    "total_connections_received",
    "total_commands_processed",
    "instantaneous_ops_per_sec",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "rejected_connections",
    "expired_keys",
    "evicted_keys",
    "keyspace_hits",
    "keyspace_misses",
    "pubsub_channels",
    "latest_fork_usec",
    "total_error_replies",
    "role",
    "connected_slaves",
    "master_replid",
    "master_repl_offset",
    "used_cpu_sys",
    "used_cpu_user",
    "used_cpu_sys_children",
    "cluster_enabled",
    "health",
    "seq_durable",
    "memtable_bytes",
    "wal_syncs",
    "recovered_ops",
    "segment_bytes",
    "write_amplification",
    "cache_hits",
    "row_cache_hits",
    "write_stall",
    "stall_level0",
    "delayed_writes",
    "parked_clients",
    "disk_free_bytes",
};

static void test_info__has_what_tools_read(void **state)
{
    struct fixture *f = *state;
    const char *text = run(f, "INFO");

    for (size_t i = 0; i < COUNT_OF(needed); i++)
        if (!has_field(text, needed[i]))
            fail_msg("%s is missing", needed[i]);
    assert_non_null(strstr(text, "\r\nredis_version:7.0.15\r\n"));
    assert_non_null(strstr(text, "\r\nmaxmemory_policy:noeviction\r\n"));
    assert_non_null(strstr(text, "\r\nconnected_clients:1\r\n"));
    assert_non_null(strstr(text, "\r\nhealth:ok\r\n"));
    assert_null(strstr(text, "# Commandstats"));
}

/* Exporters split at the first colon and stop at what they cannot split. */
static void test_info__every_line_is_a_title_or_a_field(void **state)
{
    struct fixture *f = *state;
    const char *text;

    run(f, "SET k v");
    run(f, "NOSUCH");
    text = run(f, "INFO everything");
    assert_int_equal(text[0], '$');
    for (const char *line = strstr(text, "\r\n") + 2; *line != '\0';) {
        const char *end = strstr(line, "\r\n");
        assert_non_null(end);
        size_t len = (size_t)(end - line);
        assert_null(memchr(line, '\n', len));
        size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_|.ERNOMSI");
        if (len > 0 && strncmp(line, "# ", 2) != 0 && line[name] != ':')
            fail_msg("'%.*s' is no field", (int)len, line);
        line = end + 2;
    }
}

static void test_info__sections(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(run(f, "INFO cluster"), "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    assert_string_equal(run(f, "info CLUSTER modules"),
                        "$43\r\n# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    assert_string_equal(run(f, "INFO nonsense"), "$0\r\n\r\n");
    assert_string_equal(run(f, "INFO keyspace"), "$12\r\n# Keyspace\r\n\r\n");
    const char *all = run(f, "INFO all");
    assert_non_null(strstr(all, "# Commandstats\r\n"));
    assert_non_null(strstr(all, "# Modules\r\n"));
    run(f, "HELLO 3");
    assert_string_equal(run(f, "INFO cluster"),
                        "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n");
}

static void test_info__counts(void **state)
{
    struct fixture *f = *state;
    const char *text;

    run(f, "SET a 1");
    run(f, "SELECT 3");
    run(f, "SET b 1");
    run(f, "SET c 1");
    run(f, "GET b");
    run(f, "GET nothing");
    run(f, "INCR");
    run(f, "CONFIG GET port");
    assert_string_equal(run(f, "INFO keyspace"),
                        "$76\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
                        "db3:keys=2,expires=0,avg_ttl=0\r\n\r\n");
    text = run(f, "INFO everything");
    assert_non_null(strstr(text, "\r\nkeyspace_hits:1\r\n"));
    assert_non_null(strstr(text, "\r\nkeyspace_misses:1\r\n"));
    assert_non_null(strstr(text, "\r\ntotal_error_replies:1\r\n"));
    assert_non_null(strstr(text, "\r\nerrorstat_ERR:count=1\r\n"));
    assert_non_null(strstr(text, "\r\ncmdstat_set:calls=3,usec="));
    assert_non_null(strstr(text, "\r\ncmdstat_incr:calls=0,usec=0,usec_per_call=0.00,"
                                 "rejected_calls=1,failed_calls=0\r\n"));
    assert_non_null(strstr(text, "\r\ncmdstat_config|get:calls=1,"));
    f->metrics.net_reads = 5;
    assert_string_equal(run(f, "CONFIG RESETSTAT"), "+OK\r\n");
    text = run(f, "INFO everything");
    assert_non_null(strstr(text, "\r\nkeyspace_hits:0\r\n"));
    assert_non_null(strstr(text, "\r\ntotal_reads_processed:0\r\n"));
    assert_non_null(strstr(text, "\r\ntotal_error_replies:0\r\n"));
    assert_null(strstr(text, "errorstat_"));
    assert_null(strstr(text, "cmdstat_set"));
}

static void test_info__tells_what_expires(void **state)
{
    struct fixture *f = *state;

    run(f, "SET a 1 PX 3000");
    run(f, "SET b 1 PX 5000");
    run(f, "SET c 1");
    run(f, "SELECT 3");
    run(f, "SET d 1 PX 70000");
    const char *text = run(f, "INFO keyspace");
    assert_non_null(strstr(text, "\r\ndb0:keys=3,expires=2,avg_ttl=4000\r\n"));
    assert_non_null(strstr(text, "\r\ndb3:keys=1,expires=1,avg_ttl=70000\r\n"));
}

/* ---- CONFIG ---- */

static void test_config__get(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(run(f, "CONFIG GET port"), "*2\r\n$4\r\nport\r\n$4\r\n6379\r\n");
    assert_string_equal(run(f, "CONFIG GET SAVE appendonly"),
                        "*4\r\n$4\r\nSAVE\r\n$0\r\n\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n");
    assert_string_equal(run(f, "CONFIG GET nothing"), "*0\r\n");
    assert_string_equal(run(f, "CONFIG GET"),
                        "-ERR wrong number of arguments for 'config|get' command\r\n");
    run(f, "HELLO 3");
    assert_string_equal(run(f, "CONFIG GET tim*"), "%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
}

static void test_config__set(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(run(f, "CONFIG SET timeout 5 save ''"), "+OK\r\n");
    assert_string_equal(run(f, "CONFIG GET timeout"), "*2\r\n$7\r\ntimeout\r\n$1\r\n5\r\n");
    assert_string_equal(run(f, "CONFIG SET timeout"),
                        "-ERR wrong number of arguments for 'config|set' command\r\n");
    assert_string_equal(run(f, "CONFIG SET timeout 1 2"), "-ERR syntax error\r\n");
    assert_string_equal(run(f, "CONFIG SET foo bar"),
                        "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n");
    assert_string_equal(run(f, "CONFIG SET timeout x"),
                        "-ERR CONFIG SET failed (possibly related to argument 'timeout') - "
                        "argument couldn't be parsed into an integer\r\n");
    f->refusal = "no files";
    assert_string_equal(run(f, "CONFIG SET timeout 6 maxclients 7"),
                        "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - no "
                        "files\r\n");
    assert_int_equal(config_int(f->config, OPT_TIMEOUT), 5);
}

static void test_config__others(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(run(f, "CONFIG REWRITE"),
                        "-ERR The server is running without a config file\r\n");
    assert_string_equal(run(f, "CONFIG FOO"),
                        "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n");
    assert_ptr_equal(strstr(run(f, "CONFIG HELP"),
                            "*11\r\n+CONFIG <subcommand> [<arg> [value] [opt] ...]. "
                            "Subcommands are:\r\n+GET <pattern>\r\n"),
                     f->out.data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_info__has_what_tools_read),
        TEST(test_info__every_line_is_a_title_or_a_field),
        TEST(test_info__sections),
        TEST(test_info__counts),
        TEST(test_info__tells_what_expires),
        TEST(test_config__get),
        TEST(test_config__set),
        TEST(test_config__others),
    };

    return cmocka_run_group_tests_name("info_command", tests, NULL, NULL);
}
