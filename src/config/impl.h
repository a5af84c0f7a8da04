/* impl.h - what the files of src/config share. */
#ifndef CONFIG_IMPL_H
#define CONFIG_IMPL_H

#include "config/config.h"

#define CONFIG_VALUE_MAX_BYTES ((size_t)64 * 1024)
#define CONFIG_FILE_MAX_BYTES ((size_t)1024 * 1024)
#define CONFIG_TEXT_BYTES 256 /* room for any rendered number or limits */
#define CONFIG_RENAMES_MAX 1024
#define CONFIG_INCLUDE_DEPTH 16 /* a file that includes itself ends there */

struct config_value {
    int64_t number; /* INT SIZE BOOL ENUM */
    char *text;     /* owned; NULL is ""; not of INT, SIZE, LIMITS */
    struct config_limit limits[CONFIG_CLASS_COUNT]; /* LIMITS */
};

struct config {
    struct config_value values[OPT_COUNT];
    uint8_t given[OPT_COUNT]; /* 1: by a file or the command line */
    char *file;               /* owned; NULL: none */
    char **renames;           /* owned, and its texts: from, to, from, to ... */
    size_t rename_count;      /* of pairs */
};

/* Other names of options, ended by a row without a name. */
struct config_alias {
    const char *name;
    enum config_option option;
};
extern const struct config_alias config_aliases[];

/* Parses text into *value, which the caller gives zeroed and ends by value_deinit() on success.
 * base is what LIMITS leaves as it is for classes that text does not name. err holds the reason
 * alone, in Redis's words. */
int value_parse(const struct config_row *row, const char *text, const struct config_value *base,
                struct config_value *value, struct varve_err *err) MUST_CHECK;
void value_deinit(struct config_value *value);
int value_equal(const struct config_row *row, const struct config_value *a,
                const struct config_value *b);

/* As CONFIG GET shows it: value's own text, or what is rendered into scratch. */
const char *value_text(const struct config_row *row, const struct config_value *value,
                       char scratch[CONFIG_TEXT_BYTES]);

/* Sets an option and takes note that it was given. err holds the reason alone. */
int config_set_option(struct config *config, enum config_option option, const char *text,
                      struct varve_err *err) MUST_CHECK;

/* Reads a whole file ("-": standard input) of at most CONFIG_FILE_MAX_BYTES. */
int config_read_file(const char *path, struct buf *out, struct varve_err *err) MUST_CHECK;

/* Sets what the lines of text say; name is for errors. */
int config_parse_text(struct config *config, const char *name, struct varve_slice text, int depth,
                      struct varve_err *err) MUST_CHECK;

/* Takes the next line, without its end, off *text; 0 at the end. */
int config_next_line(struct varve_slice *text, struct varve_slice *line);

#endif
