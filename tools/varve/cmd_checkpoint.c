/* varve checkpoint: can a checkpoint be restored? And to restore it.
 *
 * Four questions, in this order: is every byte what was written, and every file there (verify); what is in
 * it (the hash of merkle); does the engine open it, and show the same; and, if that is wanted, a new
 * directory of its files. To open a directory writes to it: that is done to another one, made of links and
 * copies beside it. */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "content.h"
#include "leaves.h"
#include "restore.h"
#include "trial.h"
#include "verify.h"

struct check {
    const char *path;
    const char *restore_to; /* NULL: nowhere */
    const char *scratch;    /* NULL: beside the checkpoint */
    struct verify verify;
    struct leaves leaves;
    uint8_t root[MERKLE_HASH_BYTES];
    uint64_t seq;
    uint64_t clock_ms;
    struct trial trial;
    struct restore opened;
    struct restore restored;
    int is_opened;
    int is_restored;
};

/* ---- the questions ---- */

/* What is wrong with the data is a finding; the rest is about us. */
static int judge(struct check *check, int rc, struct varve_err *err)
{
    if (rc != VARVE_ECORRUPT && rc != VARVE_EFOREIGN && rc != VARVE_EVERSION)
        return rc;
    verify_finding(&check->verify, "opened", err);
    err_clear(err);
    return 0;
}

/* At its own time, so that the hash of a checkpoint never changes. */
static int read_content(struct check *check, struct content *content, struct varve_err *err)
{
    uint64_t named_ms = manifest_state(check->verify.dir.manifest)->clock_ms;
    uint64_t logged_ms = content->log.clock_ms;

    check->seq = content->seq;
    check->clock_ms = logged_ms > named_ms ? logged_ms : named_ms;
    content->now_ms = check->clock_ms;
    progress_begin(&check->verify.progress, 0);
    int rc = leaves_read(&check->leaves, content, check->verify.raw, &check->verify.progress, err);
    if (rc == 0)
        rc = merkle_tree_root(&check->leaves.tree, check->root);
    progress_end(&check->verify.progress);
    return rc;
}

/* "PLACE/NAME.check", absolute: of a checkpoint at "." too. mem_free() it. */
static char *scratch_name(const struct check *check, struct varve_err *err)
{
    char real[PATH_MAX];
    char *name = NULL;

    if (realpath(check->path, real) == NULL) {
        err_set_errno(err, errno, "%s", check->path);
        return NULL;
    }
    const char *place = check->scratch != NULL ? check->scratch : "";
    const char *own = check->scratch != NULL ? strrchr(real, '/') : real;
    size_t cap = strlen(place) + strlen(own) + sizeof(".check");
    name = mem_alloc(cap);
    if (name == NULL)
        err_set(err, VARVE_ENOMEM, "no memory for a path");
    else
        snprintf(name, cap, "%s%s.check", place, own);
    return name;
}

static int try_opening(struct check *check, struct content *content, struct varve_err *err)
{
    struct progress *progress = &check->verify.progress;
    char *name = scratch_name(check, err);
    char *made = NULL;

    if (name == NULL)
        return err->code;
    check->opened = (struct restore){.from = &check->verify.dir, .progress = progress};
    check->trial.raw = check->verify.raw;
    progress_begin(progress, 0);
    int rc = restore_make(&check->opened, name, &made, err);
    progress_begin(progress, 0);
    if (rc == 0)
        rc = trial_run(&check->trial, made, content, progress, err);
    progress_end(progress);
    check->is_opened = rc == 0;
    int removed = restore_remove(made, rc == 0 ? err : NULL);
    mem_free(made);
    mem_free(name);
    return rc == 0 ? removed : rc;
}

static int restore(struct check *check, struct varve_err *err)
{
    size_t len = strlen(check->restore_to);
    char *name = mem_alloc(len + sizeof(".restore"));
    char *made = NULL;

    if (name == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a path");
    while (len > 1 && check->restore_to[len - 1] == '/')
        len--;
    snprintf(name, len + sizeof(".restore"), "%.*s.restore", (int)len, check->restore_to);
    check->restored = (struct restore){.from = &check->verify.dir,
                                       .progress = &check->verify.progress};
    progress_begin(&check->verify.progress, 0);
    int rc = restore_make(&check->restored, name, &made, err);
    progress_end(&check->verify.progress);
    if (rc == 0)
        rc = restore_publish(&check->restored, made, check->restore_to, err);
    if (rc != 0)
        (void)restore_remove(made,
                             NULL); /* if it has its name already, there is none of this one */
    check->is_restored = rc == 0;
    mem_free(made);
    mem_free(name);
    return rc;
}

static int ask(struct check *check, struct varve_err *err)
{
    struct verify *verify = &check->verify;
    struct content content = {.dir = NULL};
    int rc = verify_files(verify, err);

    if (rc != 0 || verify->findings > 0)
        return rc;
    rc = content_open(&verify->dir, &content, err);
    if (rc == 0)
        rc = read_content(check, &content, err);
    if (rc == 0)
        rc = try_opening(check, &content, err);
    rc = judge(check, rc, err);
    content_close(&content);
    if (rc == 0 && verify->findings == 0 && check->restore_to != NULL)
        rc = restore(check, err);
    return rc;
}

/* ---- what is said ---- */

static const char *time_text(uint64_t ms, char text[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;

    if (gmtime_r(&seconds, &parts) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(text, 32, "%" PRIu64 " ms", ms);
    return text;
}

static void show_text(const struct check *check)
{
    const struct verify *verify = &check->verify;
    char id[2 * DIR_ID_BYTES + 1];
    char hash[2 * MERKLE_HASH_BYTES + 1];
    char time[32];
    char size[24];
    char more[24];

    if (check->is_opened) {
        merkle_hex(check->root, hash);
        printf("id %s, sequence %" PRIu64 ", time %s\n", dir_id_text(&verify->dir.id, id),
               check->seq, time_text(check->clock_ms, time));
        printf("%" PRIu64 " files, %s: %" PRIu64 " logs, %" PRIu64
               " segments; each byte is right\n",
               verify->files, output_size(verify->bytes, size), verify->wals, verify->segments);
        printf("opened: %" PRIu64 " records, %s, as the files have them\n", check->trial.records,
               output_size(check->trial.bytes, size));
        printf("root %s %" PRIu64 " leaves, %" PRIu64 " keys, now %" PRIu64 "\n", hash,
               check->leaves.tree.leaves, check->leaves.tree.keys, check->clock_ms);
    }
    if (check->is_restored)
        printf("restored to %s: %" PRIu64 " files linked (%s), %" PRIu64 " copied (%s)\n",
               check->restore_to, check->restored.linked_files,
               output_size(check->restored.linked_bytes, size), check->restored.copied_files,
               output_size(check->restored.copied_bytes, more));
    if (verify->findings > 0)
        printf("%s cannot be restored: %" PRIu64 " findings%s\n", check->path, verify->findings,
               check->restore_to != NULL ? "; nothing was made" : "");
    else if (check->is_opened && check->restore_to == NULL)
        printf("%s can be restored\n", check->path);
}

static void json_restore(struct json *json, const char *member, const struct restore *restore,
                         const char *dir)
{
    json_begin_object(json, member);
    if (dir != NULL)
        json_text(json, "dir", dir);
    json_number(json, "linked_files", restore->linked_files);
    json_number(json, "linked_bytes", restore->linked_bytes);
    json_number(json, "copied_files", restore->copied_files);
    json_number(json, "copied_bytes", restore->copied_bytes);
    json_end_object(json);
}

static void show_json(struct check *check)
{
    struct verify *verify = &check->verify;
    struct json *json = &verify->json;
    char text[2 * MERKLE_HASH_BYTES + 1];

    json_end_array(json);
    json_number(json, "damage", verify->findings);
    json_number(json, "notes", verify->notes);
    json_number(json, "files", verify->files);
    json_number(json, "file_bytes", verify->bytes);
    json_number(json, "logs", verify->wals);
    json_number(json, "segments", verify->segments);
    if (check->is_opened) {
        json_text(json, "id", dir_id_text(&verify->dir.id, text));
        json_number(json, "seq", check->seq);
        json_number(json, "now_ms", check->clock_ms);
        merkle_hex(check->root, text);
        json_text(json, "root", text);
        json_number(json, "leaves", check->leaves.tree.leaves);
        json_number(json, "keys", check->leaves.tree.keys);
        json_number(json, "opened_records", check->trial.records);
        json_number(json, "opened_bytes", check->trial.bytes);
        json_restore(json, "scratch", &check->opened, NULL);
    }
    if (check->is_restored)
        json_restore(json, "restored", &check->restored, check->restore_to);
    json_bool(json, "restorable", check->is_opened && verify->findings == 0);
    json_end_object(json);
}

/* ---- the command ---- */

/* Before hours are spent: can the new directory be made at all? */
static int check_places(const struct check *check, struct varve_err *err)
{
    char *scratch = scratch_name(check, err);

    if (scratch == NULL)
        return err->code;
    int is_inside = dir_contains(check->path, scratch);
    mem_free(scratch);
    if (is_inside)
        return err_set(err, VARVE_EINVAL, "--scratch %s lies in %s, which is not written to",
                       check->scratch, check->path);
    if (check->restore_to == NULL)
        return 0;
    int rc = dir_check_new(check->restore_to, check->path, err);
    char *copy = mem_strdup(check->restore_to); /* dirname() writes to it */
    if (rc == 0 && copy == NULL)
        rc = err_set(err, VARVE_ENOMEM, "no memory for a path");
    if (rc == 0 && access(dirname(copy), W_OK | X_OK) != 0)
        rc = err_set_errno(err, errno, "%s cannot be made", check->restore_to);
    mem_free(copy);
    return rc;
}

static int run(struct check *check)
{
    struct verify *verify = &check->verify;
    struct varve_err err = {0};
    int code;

    leaves_init(&check->leaves);
    int rc = dir_open(check->path, &verify->dir, &err);
    if (rc == 0)
        rc = check_places(check, &err);
    if (rc != 0) {
        code = output_fail("checkpoint", &err);
        goto out;
    }
    if (verify->as_json) {
        json_init(&verify->json, stdout);
        json_begin_object(&verify->json, NULL);
        json_text(&verify->json, "dir", check->path);
        json_begin_array(&verify->json, "findings");
    }
    rc = ask(check, &err);
    if (verify->as_json)
        show_json(check);
    else
        show_text(check);
    code = verify->findings > 0 ? TOOL_FINDINGS : TOOL_OK;
    if (rc != 0)
        code = output_fail("checkpoint", &err);
out:
    leaves_deinit(&check->leaves);
    dir_close(&verify->dir);
    return code;
}

int command_checkpoint(int argc, char **argv)
{
    struct check check = {.path = NULL};
    const struct arg_option options[] = {
        {"--restore", "NEW", "then make the data directory NEW of it, durably", NULL,
         &check.restore_to},
        {"--scratch", "PLACE", "where the copy to open is made, and removed (default: beside DIR)",
         NULL, &check.scratch},
        {"--raw", NULL, "not a server's directory: keys are in no databases", &check.verify.raw,
         NULL},
        {"--json", NULL, "one JSON document", &check.verify.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "checkpoint",
        .operands = "DIR",
        .operand_count = 1,
        .text =
            "Proves that a checkpoint (or any stopped data directory) can be restored: every file "
            "that its\n"
            "manifest names is there and every byte is right, as `varve verify` has it; the engine "
            "opens\n"
            "it, and shows each key, value and expiry as the files have them. Says its id, "
            "sequence, time,\n"
            "keys, and the root of `varve merkle`. DIR is only read: what is opened is a second "
            "directory,\n"
            "DIR.check-XXXXXX, of hard links to the segments (copies, where the file system gives "
            "none) and\n"
            "copies of the rest. It is removed at the end; what a kill leaves of it may be "
            "removed.\n\n"
            "--restore makes NEW in the same way. NEW must not be there, or be empty; it appears "
            "whole or\n"
            "not at all, and not if there is any finding. DIR stays as it is, whatever a server "
            "does in NEW.\n"
            "Both, and the original, have the same id: never put files of one into another.\n",
        .examples = "  varve checkpoint /backup/monday\n"
                    "  varve checkpoint /backup/monday --restore ./data && varved --dir ./data\n"
                    "  varve checkpoint --json --scratch /tmp /mnt/readonly/monday | jq .root\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX] = {NULL};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    check.path = operands[0];
    return run(&check);
}
