/* CONFIG: the words of the client; the rules are config's. */
#include "base/err.h"
#include "base/log.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"
#include "metrics/metrics.h"

static void visit_setting(void *arg, struct varve_slice name, struct varve_slice value)
{
    struct resp_writer *out = arg;

    resp_bulk(out, name);
    resp_bulk(out, value);
}

void cmd_config_get(struct cmd_ctx *ctx)
{
    const struct varve_slice *patterns = ctx->argv + 2;
    size_t count = (size_t)(ctx->argc - 2);

    resp_map(ctx->out, config_match(ctx->config, patterns, count, NULL, NULL));
    config_match(ctx->config, patterns, count, visit_setting, ctx->out);
}

static const char *apply_setting(void *arg, const char *name)
{
    const struct cmd_ctx *ctx = arg;
    const struct processor_host *host = ctx->host;

    return host->config_changed == NULL ? NULL : host->config_changed(host->arg, name);
}

void cmd_config_set(struct cmd_ctx *ctx)
{
    const struct varve_slice *pairs = ctx->argv + 2;
    size_t count = (size_t)(ctx->argc - 2) / 2;
    struct varve_err err = {0};

    if (ctx->argc % 2 != 0) {
        cmd_reply_syntax_error(ctx);
        return;
    }
    if (config_set_pairs(ctx->config, pairs, count, apply_setting, ctx, &err) != 0) {
        resp_error(ctx->out, "ERR %s", err_text(&err));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        int option = config_find(pairs[2 * i]);
        const struct config_row *row = config_row((enum config_option)option);
        if ((row->flags & CONFIG_IGNORED) != 0)
            log_line(LOG_VERBOSE, "CONFIG SET %s: without effect here, ignored", row->name);
    }
    processor_read_settings(ctx->processor);
    resp_ok(ctx->out);
}

void cmd_config_resetstat(struct cmd_ctx *ctx)
{
    metrics_reset(ctx->metrics);
    processor_reset_stats(ctx->processor);
    resp_ok(ctx->out);
}

void cmd_config_rewrite(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};

    if (config_file(ctx->config)[0] == '\0') {
        resp_error(ctx->out, "ERR The server is running without a config file");
        return;
    }
    if (config_rewrite(ctx->config, &err) != 0) {
        log_line(LOG_WARNING, "CONFIG REWRITE failed: %s", err_text(&err));
        resp_error(ctx->out, "ERR Rewriting config file: %s", err_text(&err));
        return;
    }
    log_line(LOG_NOTICE, "CONFIG REWRITE wrote %s", config_file(ctx->config));
    resp_ok(ctx->out);
}

void cmd_config_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    The settings whose names match the pattern, with their values.",
        "SET <directive> <value>",
        "    Gives a setting a new value, until the server ends.",
        "RESETSTAT",
        "    Sets the counters of INFO to zero.",
        "REWRITE",
        "    Writes the present settings into the configuration file.",
    };

    cmd_reply_help(ctx, lines, (int)COUNT_OF(lines));
}
