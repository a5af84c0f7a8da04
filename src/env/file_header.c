#include "env/file_header.h"

#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mutant.h"

uint32_t file_salt(const struct dir_id *id, uint64_t file_no)
{
    uint8_t seed[DIR_ID_BYTES + 8];

    memcpy(seed, id->bytes, DIR_ID_BYTES);
    put_u64(seed + DIR_ID_BYTES, MUTANT("salt-without-number") ? 0 : file_no);
    return crc32c(0, seed, sizeof(seed));
}

void file_header_put(uint8_t at[FILE_HEADER_BYTES], const char magic[8], const struct dir_id *id,
                     uint64_t file_no)
{
    memset(at, 0, FILE_HEADER_BYTES);
    memcpy(at, magic, 8);
    put_u32(at + 8, FORMAT_VERSION);
    memcpy(at + 16, id->bytes, DIR_ID_BYTES);
    put_u64(at + 32, file_no);
    put_u32(at + 60, crc32c(0, at, 60));
}

int file_header_check(const uint8_t at[FILE_HEADER_BYTES], const char magic[8],
                      const struct dir_id *id, uint64_t file_no, struct varve_err *err)
{
    if (crc32c(0, at, 60) != get_u32(at + 60) && !MUTANT("skip-file-header-crc"))
        return err_set(err, VARVE_ECORRUPT, "offset 0: the file header's CRC does not match");
    if (memcmp(at, magic, 8) != 0)
        return err_set(err, VARVE_EFOREIGN, "offset 0: not a %.8s file", magic);
    if (get_u32(at + 8) != FORMAT_VERSION)
        return err_set(err, VARVE_EVERSION, "format version %u, this build reads version %u",
                       get_u32(at + 8), FORMAT_VERSION);
    if (memcmp(at + 16, id->bytes, DIR_ID_BYTES) != 0 && !MUTANT("accept-foreign-id"))
        return err_set(err, VARVE_EFOREIGN, "it belongs to another data directory");
    if (get_u64(at + 32) != file_no)
        return err_set(err, VARVE_ECORRUPT, "offset 32: it says that it is file %llu",
                       (unsigned long long)get_u64(at + 32));
    return 0;
}
