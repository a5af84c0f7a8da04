/* The program's manners: what it prints, its exit codes, that a refused start changes nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"

#define ARGS_MAX 12
#define OUTPUT_MS 20000

struct run {
    pid_t pid;
    int out_fd;
    int err_fd;
    char out[8192];
    char err[8192];
};

static char root[] = "/tmp/varve-varved-XXXXXX";

static void start(struct run *run, const char *const *args)
{
    const char *argv[ARGS_MAX + 2] = {getenv("VARVED")};
    int out[2];
    int err[2];

    assert_non_null(argv[0]);
    for (int i = 0; args[i] != NULL; i++)
        argv[i + 1] = args[i];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    *run = (struct run){.pid = fork(), .out_fd = out[0], .err_fd = err[0]};
    assert_true(run->pid >= 0);
    if (run->pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        if (chdir(root) == 0)
            execv(argv[0], (char *const *)(const void *)argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
}

/* Reads on until `until` was seen, or the end if that is NULL. */
static void read_output(int fd, char *text, size_t cap, const char *until)
{
    size_t used = strlen(text);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t n = 1;

    while (n > 0 && used < cap - 1 && (until == NULL || strstr(text, until) == NULL)) {
        assert_int_equal(poll(&wait, 1, OUTPUT_MS), 1);
        n = read(fd, text + used, cap - 1 - used);
        used += n > 0 ? (size_t)n : 0;
        text[used] = '\0';
    }
    if (until != NULL)
        assert_non_null(strstr(text, until));
}

/* Waits for the end; the exit code, or -1 if a signal ended it. */
static int finish(struct run *run)
{
    int status = 0;

    read_output(run->out_fd, run->out, sizeof(run->out), NULL);
    read_output(run->err_fd, run->err, sizeof(run->err), NULL);
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    close(run->out_fd);
    close(run->err_fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int files_in(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2;
}

/* One line on stderr that has `part` in it, exit code 1, nothing new in the directory. */
static void expect_refused(const char *const *args, const char *part)
{
    int before = files_in(root);
    struct run run;

    start(&run, args);
    assert_int_equal(finish(&run), 1);
    assert_non_null(strstr(run.err, part));
    assert_ptr_equal(strchr(run.err, '\n'), run.err + strlen(run.err) - 1);
    assert_int_equal(files_in(root), before);
}

static void start_ready(struct run *run, const char *dir)
{
    const char *const args[] = {"--port", "0", "--dir", dir, "--wal-size", "64kb", NULL};

    start(run, args);
    read_output(run->out_fd, run->out, sizeof(run->out), "Ready to accept connections");
}

static int port_of(const struct run *run)
{
    const char *at = strstr(run->out, ", port ");

    assert_non_null(at);
    return atoi(at + strlen(", port "));
}

static void test_version_and_help__exit_0(void **state)
{
    const char *const version[] = {"--version", NULL};
    const char *const help[] = {"--help", NULL};
    struct run run;

    (void)state;
    start(&run, version);
    assert_int_equal(finish(&run), 0);
    assert_memory_equal(run.out, "varved ", 7);
    assert_string_equal(run.err, "");
    start(&run, help);
    assert_int_equal(finish(&run), 0);
    assert_non_null(strstr(run.out, "appendfsync"));
    assert_int_equal(files_in(root), 0);
}

static void test_bad_settings__are_refused(void **state)
{
    const char *const unknown[] = {"--prot", "7000", NULL};
    const char *const value[] = {"--port", "seven", NULL};
    const char *const file[] = {"no-such.conf", NULL};

    (void)state;
    expect_refused(unknown, "port");
    expect_refused(value, "port");
    expect_refused(file, "no-such.conf");
}

static void test_banner__and_sigterm(void **state)
{
    char pid[32];
    struct run run;

    (void)state;
    start_ready(&run, "banner");
    snprintf(pid, sizeof(pid), "pid %d", (int)run.pid);
    assert_non_null(strstr(run.out, pid));
    assert_non_null(strstr(run.out, "varve "));
    assert_non_null(strstr(run.out, "/banner"));
    assert_non_null(strstr(run.out, "everysec"));
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(finish(&run), 0);
    assert_string_equal(run.err, "");
    start_ready(&run, "banner");
    assert_int_equal(kill(run.pid, SIGINT), 0);
    assert_int_equal(finish(&run), 0);
}

static void test_port_in_use_and_locked_directory__are_refused(void **state)
{
    char port[16];
    const char *const same_port[] = {"--port", port, "--dir", "other", NULL};
    const char *const same_dir[] = {"--port", "0", "--dir", "first", NULL};
    struct run run;

    (void)state;
    start_ready(&run, "first");
    snprintf(port, sizeof(port), "%d", port_of(&run));
    int before = files_in(root);
    expect_refused(same_port, "in use");
    assert_int_equal(files_in(root), before);
    expect_refused(same_dir, "first");
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(finish(&run), 0);
}

static void test_foreign_directory__is_refused(void **state)
{
    const char *const args[] = {"--port", "0", "--dir", "foreign", NULL};
    char path[128];

    (void)state;
    snprintf(path, sizeof(path), "%s/foreign", root);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    expect_refused(args, "foreign"); /* a file, no directory */
    unlink(path);
}

/* 1 if the process has a handler of its own for the signal. */
static int handles_signal(pid_t pid, int number)
{
    unsigned long long caught = 0;
    char path[64];
    char line[256];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL)
        if (sscanf(line, "SigCgt: %llx", &caught) == 1)
            break;
    fclose(status);
    return (int)(caught >> (number - 1) & 1);
}

/* Recovery hangs on a CURRENT that is a pipe to which nobody writes. */
static void test_sigterm_during_recovery__ends_at_once(void **state)
{
    const char *const args[] = {"--port", "0", "--dir", "slow", NULL};
    char path[256];
    struct run run;

    (void)state;
    snprintf(path, sizeof(path), "%s/slow", root);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/slow/CURRENT", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    start(&run, args);
    while (!handles_signal(run.pid, SIGTERM))
        sched_yield();
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(finish(&run), 0);
    assert_null(strstr(run.out, "Ready"));
}

static int remove_all(void **state)
{
    const char *const argv[] = {"rm", "-r", root, NULL};
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        execvp(argv[0], (char *const *)(const void *)argv);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid ? 0 : -1;
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) != NULL ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_help__exit_0),
        cmocka_unit_test(test_bad_settings__are_refused),
        cmocka_unit_test(test_banner__and_sigterm),
        cmocka_unit_test(test_port_in_use_and_locked_directory__are_refused),
        cmocka_unit_test(test_foreign_directory__is_refused),
        cmocka_unit_test(test_sigterm_during_recovery__ends_at_once),
    };
    return cmocka_run_group_tests(tests, make_root, remove_all);
}
