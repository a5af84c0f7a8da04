/* flips - every bit of a stopped server's directory flipped, one at a time, and `varve verify` asked: it
 * names the file; or the bit lies in the tail of the newest log, which no record promises; or nothing of
 * what `varve scan` shows changes. The commands are the tool's own, called instead of started, which is
 * what makes every bit possible.
 *
 *   flips DIR --promised FILE:OFFSET [--every N]
 *
 * DIR is changed and put right again: give it a copy. --promised is the last place of the log that a
 * record promises. --every 20: the first and the last 128 bytes of each file, CURRENT and the manifest
 * wholly, and each 20th bit of the rest (default 1: all). The last line is
 *
 *   flips: N bits: N named, N in the tail, N without effect, N wrong */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "base/check.h"
#include "base/mem.h"
#include "commands.h"
#include "lsm/names.h"

#define FILES_MAX 64u
#define EDGE_BYTES 128u
#define WRONG_SHOWN_MAX 20u

struct file {
    char name[NAME_MAX_BYTES];
    enum name_kind kind;
    uint64_t file_no;
    uint64_t len; /* bytes */
};

/* What a command said. */
struct said {
    int code;
    char *out; /* of the C library's memory, as memory streams are */
    size_t out_len;
    char *err;
    size_t err_len;
};

struct flips {
    char *dir;
    uint64_t promised_file;
    uint64_t promised_offset;
    uint64_t every;
    struct file files[FILES_MAX];
    size_t file_count;
    struct said scanned; /* of the undamaged directory */
    uint64_t bits;
    uint64_t named;
    uint64_t tail;
    uint64_t without_effect;
    uint64_t wrong;
};

static void die(const char *what)
{
    fprintf(stderr, "flips: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- the tool's commands ---- */

static void said_free(struct said *said)
{
    free(said->out);
    free(said->err);
}

/* Runs a command with its output in memory. */
static struct said ask(int (*command)(int argc, char **argv), char *dir)
{
    char name[] = "varve";
    char option[] = "--raw";
    char *argv[] = {name, dir, option, NULL};
    struct said said = {0};
    FILE *out = stdout;
    FILE *err = stderr;

    optind = 0;
    stdout = open_memstream(&said.out, &said.out_len);
    stderr = open_memstream(&said.err, &said.err_len);
    if (stdout == NULL || stderr == NULL)
        abort();
    said.code = command(3, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = out;
    stderr = err;
    return said;
}

/* Does some line of verify that is no note begin with the file's name? *any: with whatever name. */
static int is_named(const struct said *said, const char *name, int *any)
{
    size_t len = strlen(name);

    *any = 0;
    for (const char *line = said->out; line != NULL && *line != '\0';) {
        const char *next = strchr(line, '\n');
        if (strncmp(line, name, len) == 0 && strncmp(line + len, ": ", 2) == 0)
            return 1;
        line = next == NULL ? NULL : next + 1;
    }
    *any = said->code != TOOL_OK;
    return 0;
}

/* ---- the directory ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int open_file(const struct flips *flips, const char *name)
{
    char *path = name_path(flips->dir, name);
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        die(name);
    mem_free(path);
    return fd;
}

static void list_files(struct flips *flips)
{
    DIR *dir = opendir(flips->dir);
    struct dirent *entry;
    struct stat about;

    if (dir == NULL)
        die(flips->dir);
    while ((entry = readdir(dir)) != NULL) {
        struct file *file = &flips->files[flips->file_count];
        if (entry->d_name[0] == '.')
            continue;
        CHECK(flips->file_count < FILES_MAX && strlen(entry->d_name) < NAME_MAX_BYTES);
        snprintf(file->name, NAME_MAX_BYTES, "%.39s", entry->d_name);
        file->kind = name_parse(file->name, &file->file_no);
        int fd = open_file(flips, file->name);
        if (fstat(fd, &about) != 0)
            die(file->name);
        file->len = (uint64_t)about.st_size;
        close(fd);
        flips->file_count++;
    }
    closedir(dir);
    qsort(flips->files, flips->file_count, sizeof(flips->files[0]), by_name);
}

static void flip(int fd, uint64_t bit)
{
    uint8_t byte;

    if (pread(fd, &byte, 1, (off_t)(bit / 8)) != 1)
        die("read");
    byte ^= (uint8_t)(1u << bit % 8);
    if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1)
        die("write");
}

/* ---- one bit ---- */

static int in_tail(const struct flips *flips, const struct file *file, uint64_t offset)
{
    if (file->kind != NAME_WAL || file->file_no < flips->promised_file)
        return 0;
    return file->file_no > flips->promised_file || offset >= flips->promised_offset;
}

static void tell_wrong(struct flips *flips, const struct file *file, uint64_t bit, const char *what)
{
    if (flips->wrong++ < WRONG_SHOWN_MAX)
        printf("WRONG: %s byte %" PRIu64 " bit %" PRIu64 ": %s\n", file->name, bit / 8, bit % 8,
               what);
}

static void judge(struct flips *flips, const struct file *file, uint64_t bit)
{
    struct said verify = ask(command_verify, flips->dir);
    int any;
    int named = is_named(&verify, file->name, &any);

    if (named && verify.code == TOOL_FINDINGS) {
        flips->named++;
    } else if (named || any) {
        tell_wrong(flips, file, bit, "verify names another file, or none");
    } else if (in_tail(flips, file, bit / 8)) {
        flips->tail++;
    } else {
        struct said scan = ask(command_scan, flips->dir);
        if (scan.code == TOOL_OK && scan.out_len == flips->scanned.out_len &&
            memcmp(scan.out, flips->scanned.out, scan.out_len) == 0)
            flips->without_effect++;
        else
            tell_wrong(flips, file, bit, "verify is content, but scan shows something else");
        said_free(&scan);
    }
    said_free(&verify);
}

static int is_wanted(const struct flips *flips, const struct file *file, uint64_t bit)
{
    uint64_t at = bit / 8;

    return bit % flips->every == 0 || file->kind == NAME_CURRENT || file->kind == NAME_MANIFEST ||
           at < EDGE_BYTES || at + EDGE_BYTES >= file->len;
}

static void flip_all(struct flips *flips, const struct file *file)
{
    int fd = open_file(flips, file->name);

    for (uint64_t bit = 0; bit < 8 * file->len; bit++) {
        if (!is_wanted(flips, file, bit))
            continue;
        flip(fd, bit);
        judge(flips, file, bit);
        flip(fd, bit);
        flips->bits++;
    }
    close(fd);
}

/* ---- arguments ---- */

static int parse(struct flips *flips, int argc, char **argv)
{
    static const struct option options[] = {
        {"promised", 1, NULL, 'p'}, {"every", 1, NULL, 'e'}, {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p' && sscanf(optarg, "%" SCNu64 ":%" SCNu64, &flips->promised_file,
                                    &flips->promised_offset) == 2)
            continue;
        if (option != 'e' || sscanf(optarg, "%" SCNu64, &flips->every) != 1 || flips->every == 0)
            return -1;
    }
    if (optind + 1 != argc || flips->promised_file == 0)
        return -1;
    flips->dir = argv[optind];
    return 0;
}

int main(int argc, char **argv)
{
    static struct flips flips = {.every = 1};

    if (parse(&flips, argc, argv) != 0) {
        fprintf(stderr, "usage: flips DIR --promised FILE:OFFSET [--every N]\n");
        return 2;
    }
    list_files(&flips);
    struct said verify = ask(command_verify, flips.dir);
    flips.scanned = ask(command_scan, flips.dir);
    if (verify.code != TOOL_OK || flips.scanned.code != TOOL_OK) {
        printf("WRONG: the directory is not clean: %s%s\n", verify.out, verify.err);
        return 1;
    }
    said_free(&verify);
    for (size_t i = 0; i < flips.file_count; i++)
        flip_all(&flips, &flips.files[i]);
    said_free(&flips.scanned);
    printf("flips: %" PRIu64 " bits: %" PRIu64 " named, %" PRIu64 " in the tail, %" PRIu64
           " without effect, %" PRIu64 " wrong\n",
           flips.bits, flips.named, flips.tail, flips.without_effect, flips.wrong);
    return flips.wrong == 0 && flips.bits > 0 ? 0 : 1;
}
