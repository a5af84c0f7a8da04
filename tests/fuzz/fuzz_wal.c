/* Any bytes as a log file: recovery refuses them and changes nothing, or serves what it serves again
 * after the next open. Input: a byte of enum log_disk_repair, the file. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "log_disk.h"
#include "lsm/record.h"

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("varveWAL"),
    FUZZ_TOKEN("\x01\0\0\0"),
    FUZZ_TOKEN("\0\0\0\0\0\0\0\0"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff"),
    FUZZ_TOKEN("\0\0\x40\0\0\0\0\0"),
    FUZZ_TOKEN("\x01\0\0\0\0\0\0\0"),
    FUZZ_TOKEN("\x02\0\0\0\0\0\0\0"),
    FUZZ_TOKEN("\x12\x01"),
    FUZZ_TOKEN("\x12\x03"),
    FUZZ_TOKEN("\x12\x02"),
    FUZZ_TOKEN("\x13\x04"),
    FUZZ_TOKEN("\x14\0"),
    FUZZ_TOKEN("\0\0\0\0\x01\0\0\0\0\x01\x01kv"),
    FUZZ_TOKEN("\0\0\0\0\x02\0\0\0\0\x01k"),
    {NULL, 0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim_env *fresh;
    struct dir_id id = log_disk_id();

    if (size == 0)
        return 0;
    if (fresh == NULL)
        fresh = log_disk_create();
    struct sim_env *sim = sim_image(fresh, sim_event_count(fresh), SIM_KILL, 0);
    uint8_t *file = mem_alloc(size);
    CHECK(file != NULL);
    memcpy(file, data + 1, size - 1);
    log_disk_repair(file, size - 1, WAL_MAGIC, &id, LOG_DISK_WAL_NO, data[0]);
    log_disk_put(sim, "/db/000002.wal", file, size - 1);
    mem_free(file);
    log_disk_open(sim, size);
    sim_env_destroy(sim);
    return 0;
}
