/* Any bytes as a manifest: the open refuses them and changes nothing, or serves what it serves again
 * after the next open. Input: a byte of enum log_disk_repair, the file. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "log_disk.h"
#include "lsm/record.h"

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("varveMAN"),
    FUZZ_TOKEN("\x01\x03\x02\0"),
    FUZZ_TOKEN("\x03\x02"),
    FUZZ_TOKEN("\x04\x02\x88\x01"),
    FUZZ_TOKEN("\x05\x02"),
    FUZZ_TOKEN("\x06\x09\x00\x05\x80\x20"),
    FUZZ_TOKEN("\x06\x09\x03\x00\x80\x20"),
    FUZZ_TOKEN("\x07\x09"),
    FUZZ_TOKEN("\x08\x05"),
    FUZZ_TOKEN("\x09\x01\x07\x05\x02gg"),
    FUZZ_TOKEN("\x09\x02\x00\x00\x02gg"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    FUZZ_TOKEN("\0\0\0\0\0\0\0\0"),
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
    log_disk_repair(file, size - 1, MANIFEST_MAGIC, &id, LOG_DISK_MANIFEST_NO, data[0]);
    log_disk_put(sim, "/db/MANIFEST-000001", file, size - 1);
    mem_free(file);
    log_disk_open(sim, size);
    sim_env_destroy(sim);
    return 0;
}
