#include "json.h"

#include <inttypes.h>

#include "base/check.h"

void json_init(struct json *json, FILE *to)
{
    *json = (struct json){.to = to};
}

static void put_string(FILE *to, struct varve_slice text)
{
    putc('"', to);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(to, "\\u%04x", c);
        else
            putc(c, to);
    }
    putc('"', to);
}

/* The comma and the name before a value. */
static void begin_value(struct json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->has_member[json->depth - 1])
            fputs(", ", json->to);
        json->has_member[json->depth - 1] = 1;
    }
    if (key != NULL) {
        put_string(json->to, varve_slice_str(key));
        fputs(": ", json->to);
    }
}

static void open_value(struct json *json, const char *key, char bracket)
{
    begin_value(json, key);
    CHECK(json->depth < JSON_DEPTH_MAX);
    putc(bracket, json->to);
    json->has_member[json->depth++] = 0;
}

static void close_value(struct json *json, char bracket)
{
    CHECK(json->depth > 0);
    json->depth--;
    putc(bracket, json->to);
    if (json->depth == 0)
        putc('\n', json->to);
}

void json_begin_object(struct json *json, const char *key)
{
    open_value(json, key, '{');
}

void json_end_object(struct json *json)
{
    close_value(json, '}');
}

void json_begin_array(struct json *json, const char *key)
{
    open_value(json, key, '[');
}

void json_end_array(struct json *json)
{
    close_value(json, ']');
}

void json_number(struct json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    fprintf(json->to, "%" PRIu64, value);
}

void json_signed(struct json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    fprintf(json->to, "%" PRId64, value);
}

void json_bool(struct json *json, const char *key, int value)
{
    begin_value(json, key);
    fputs(value ? "true" : "false", json->to);
}

/* The length of the UTF-8 character at `at`; 0: there is none (RFC 3629: no surrogates, nothing overlong,
 * nothing above U+10FFFF). */
static size_t utf8_len(const uint8_t *at, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : 4;

    if (len == 1)
        return 1;
    if ((len == 4 && at[0] >> 3 != 30) || len > left)
        return 0;
    uint32_t point = at[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (at[i] >> 6 != 2)
            return 0;
        point = point << 6 | (at[i] & 0x3fu);
    }
    return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

static int is_utf8(struct varve_slice bytes)
{
    for (size_t i = 0; i < bytes.len;) {
        size_t len = utf8_len(bytes.data + i, bytes.len - i);
        if (len == 0)
            return 0;
        i += len;
    }
    return 1;
}

void json_bytes(struct json *json, const char *key, struct varve_slice bytes)
{
    begin_value(json, key);
    if (is_utf8(bytes)) {
        put_string(json->to, bytes);
        return;
    }
    fputs("{\"hex\": \"", json->to);
    for (size_t i = 0; i < bytes.len; i++)
        fprintf(json->to, "%02x", bytes.data[i]);
    fputs("\"}", json->to);
}

/* Our own words and file names; a name that is no UTF-8 shall not make the document unreadable. */
void json_text(struct json *json, const char *key, const char *text)
{
    json_bytes(json, key, varve_slice_str(text));
}
