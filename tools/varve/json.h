/* json.h - one JSON document, written to a stream as it is made. One thread. Errors of the stream are seen
 * at its end: output_close(). */
#ifndef VARVE_TOOL_JSON_H
#define VARVE_TOOL_JSON_H

#include <stdint.h>
#include <stdio.h>

#include "varve/slice.h"

#define JSON_DEPTH_MAX 16

struct json {
    FILE *to;
    unsigned depth;
    int has_member[JSON_DEPTH_MAX]; /* of each open object or array */
};

void json_init(struct json *json, FILE *to);

/* key: the member's name; NULL in an array and at the top. */
void json_begin_object(struct json *json, const char *key);
void json_end_object(struct json *json); /* the last one ends the line */
void json_begin_array(struct json *json, const char *key);
void json_end_array(struct json *json);
void json_number(struct json *json, const char *key, uint64_t value);
void json_signed(struct json *json, const char *key, int64_t value);
void json_bool(struct json *json, const char *key, int value);
void json_text(struct json *json, const char *key, const char *text);
/* Valid UTF-8 is a string; other bytes are an object {"hex": "00ff"}. */
void json_bytes(struct json *json, const char *key, struct varve_slice bytes);

#endif
