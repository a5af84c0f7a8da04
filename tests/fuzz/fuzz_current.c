/* Any bytes as CURRENT: the open refuses them and changes nothing, or it serves what it serves again after
 * the next open. Input: a byte (1: the CRC at the end is made right), the file. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "log_disk.h"
#include "lsm/manifest.h"
#include "take.h"

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("varve 3 "),
    FUZZ_TOKEN("varve 4294967298 "),
    FUZZ_TOKEN("000102030405060708090a0b0c0d0e0f"),
    FUZZ_TOKEN("MANIFEST-000001"),
    FUZZ_TOKEN("MANIFEST-000002"),
    FUZZ_TOKEN("MANIFEST-99999999999999999"),
    FUZZ_TOKEN(" crc32c=00000000\n"),
    FUZZ_TOKEN("\0"),
    {NULL, 0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim_env *fresh;
    struct take take = take_from(data, size);
    struct dir_id id = {{0}};
    struct varve_err err = {0};
    uint64_t manifest_no = 0;
    uint8_t flags = take_byte(&take);
    struct varve_slice rest = take_slice(&take, size);
    uint8_t *file = mem_alloc(rest.len + 1);

    if (fresh == NULL)
        fresh = log_disk_create();
    struct sim_env *sim = sim_image(fresh, sim_event_count(fresh), SIM_KILL, 0);
    CHECK(file != NULL);
    if (rest.len > 0)
        memcpy(file, rest.data, rest.len);
    if (flags & 1)
        log_disk_repair_current(file, rest.len);
    log_disk_put(sim, "/db/CURRENT", file, rest.len);
    mem_free(file);
    int rc = current_read(sim_as_env(sim), "/db", &id, &manifest_no, &err);
    CHECK(rc == 0 || (rc < 0 && strstr(err.text, "/db/CURRENT") != NULL));
    log_disk_open(sim, size);
    sim_env_destroy(sim);
    return 0;
}
