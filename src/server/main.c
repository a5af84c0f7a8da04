/* varved: the server's program. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "config/config.h"
#include "server/server.h"
#include "varve/db.h"

/* Read by jemalloc, where the program is linked with it: what is free goes back to the system after a second, also
 * while nothing is allocated. By default that is ten seconds, and an idle thread never gives back. */
extern const char *malloc_conf;
__attribute__((visibility("default"), used))
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

static int complain(const struct varve_err *err)
{
    fprintf(stderr, "varved: %s\n", err_text(err));
    return 1;
}

static int serve(struct config *config)
{
    struct varve_err err = {0};
    struct server *server;
    int rc = log_open(config_str(config, OPT_LOGFILE));

    if (rc != 0) {
        err_set_errno(&err, -rc, "open the logfile %s", config_str(config, OPT_LOGFILE));
        return complain(&err);
    }
    log_set_level((enum log_level)config_int(config, OPT_LOGLEVEL));
    config_log_ignored(config);
    if (server_start(config, &server, &err) != 0)
        return complain(&err);
    server_run(server);
    if (server_stop(server, &err) != 0) {
        log_line(LOG_WARNING, "the last writes may not be durable: %s", err_text(&err));
        return complain(&err);
    }
    log_line(LOG_NOTICE, "the log is sealed, bye");
    return 0;
}

int main(int argc, char **argv)
{
    struct varve_err err = {0};
    struct config *config = config_create();
    enum config_action action;
    int code = 0;

    if (config == NULL) {
        err_set(&err, VARVE_ENOMEM, "no memory");
        return complain(&err);
    }
    if (config_parse_args(config, argc, argv, &action, &err) != 0) {
        code = complain(&err);
        action = CONFIG_CHECK;
    } else if (action == CONFIG_CHECK) {
        printf("the settings are good\n");
    }
    switch (action) {
    case CONFIG_RUN: code = serve(config); break;
    case CONFIG_HELP: config_print_help(stdout); break;
    case CONFIG_VERSION: printf("varved %s\n", varve_version()); break;
    case CONFIG_PRINT: config_print_default(stdout); break;
    case CONFIG_CHECK: break;
    }
    config_destroy(config);
    return code;
}
