/* example.c - a program with a database of its own.
 *
 *     cc example.c $(pkg-config --cflags --libs varve) && ./a.out DIR */
#include <stdio.h>
#include <varve/db.h>
#include <varve/iter.h>

static int put(struct varve_batch *batch, const char *key, const char *value)
{
    struct varve_slice k = varve_slice_str(key);
    struct varve_slice v = varve_slice_str(value);

    return varve_batch_put(batch, &k, 1, &v, 1, 0); /* 0: never expires */
}

/* Both, or none of them. A power cut takes neither away once this returned 0. */
static int write_users(struct varve_db *db, const char *first, const char *second,
                       struct varve_err *err)
{
    struct varve_batch *batch = varve_batch_create();
    int rc = VARVE_ENOMEM;

    if (batch != NULL && put(batch, "user:1", first) == 0 && put(batch, "user:2", second) == 0)
        rc = varve_write_durable(db, batch, NULL, err);
    else
        snprintf(err->text, sizeof(err->text), "out of memory");
    varve_batch_destroy(batch);
    return rc;
}

/* One key, where it lies: nothing is copied until the pin is released. */
static int show_user(struct varve_db *db, const char *key, struct varve_err *err)
{
    struct varve_pin pin;
    int rc = varve_get(db, NULL, varve_slice_str(key), &pin, err);

    if (rc == 0)
        printf("%s: %.*s\n", key, (int)pin.value.len, (const char *)pin.value.data);
    else if (rc == VARVE_NOT_FOUND)
        printf("%s: there is none\n", key);
    varve_pin_release(&pin);
    return rc < 0 ? rc : 0;
}

/* All keys that begin with "user:", as the snapshot sees them. */
static int list_users(struct varve_db *db, const struct varve_snapshot *snapshot,
                      struct varve_err *err)
{
    struct varve_read read = {.snapshot = snapshot};
    struct varve_slice lower = varve_slice_str("user:");
    struct varve_slice upper = varve_slice_str("user;"); /* ';' comes next after ':' */
    struct varve_iter *iter = varve_iter_create(db, &read, &lower, &upper, err);

    if (iter == NULL)
        return err->code;
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter)) {
        struct varve_slice key = varve_iter_key(iter);
        struct varve_slice value = varve_iter_value(iter);
        printf("%.*s = %.*s\n", (int)key.len, (const char *)key.data, (int)value.len,
               (const char *)value.data);
    }
    int rc = varve_iter_status(iter, err); /* the end, or a failure? */
    varve_iter_destroy(iter);
    return rc;
}

static int use(struct varve_db *db, struct varve_err *err)
{
    int rc = write_users(db, "Ada", "Grace", err);
    struct varve_snapshot *before = varve_snapshot_acquire(db);

    if (rc == 0)
        rc = write_users(db, "Barbara", "Frances", err);
    if (rc == 0)
        rc = varve_flush(db, err); /* not needed: the log has it all */
    if (rc == 0)
        rc = show_user(db, "user:1", err);
    if (rc == 0)
        rc = show_user(db, "user:3", err);
    if (rc == 0)
        rc = list_users(db, before, err);
    varve_snapshot_release(db, before);
    return rc;
}

int main(int argc, char **argv)
{
    struct varve_options options = {
        0}; /* the defaults; a program that runs on ticks: varve_tick() */
    struct varve_err err = {0};
    struct varve_db *db = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    int rc = varve_executor_threads_create(NULL, &options.executor, &err);
    if (rc == 0)
        rc = varve_open(argv[1], &options, &db, &err);
    if (rc == 0)
        rc = use(db, &err);
    int closed = varve_close(db, rc == 0 ? &err : NULL);
    varve_executor_threads_destroy(options.executor);
    if (rc != 0 || closed != 0)
        fprintf(stderr, "%s\n", err.text);
    return rc != 0 || closed != 0;
}
