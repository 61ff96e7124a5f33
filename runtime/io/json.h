/* SPDX-License-Identifier: Apache-2.0 */
/* A strict reader of JSON (RFC 8259), value by value, without a tree: the caller says what it expects. After the first error `error` is
 * set, and all calls fail. */
#ifndef FLOW_IO_JSON_H
#define FLOW_IO_JSON_H

#include "base/memory.h"

enum { JSON_DEPTH_MOST = 64 };

struct json {
    const char *start, *at, *end;
    struct arena *arena; /* of strings */
    const char *error;   /* what is wrong at `at` */
    bool no_memory;
    int depth;
};
void io_json_init(struct json *json, struct arena *arena, const char *text, size_t size);
bool must_use io_json_open(struct json *json, char bracket); /* '{' or '[' */
/* Is there one more member? Takes the comma or the closing bracket; `first` is true before the first. */
bool must_use io_json_more(struct json *json, char closing, bool *first);
/* A string, decoded, zero-terminated, valid UTF-8 without a zero. NULL on error. */
const char *io_json_string(struct json *json);
const char *io_json_key(struct json *json); /* and its colon */
bool must_use io_json_integer(struct json *json, int64_t *value);
bool must_use io_json_skip(struct json *json);            /* any value */
bool must_use io_json_finish(struct json *json);          /* nothing but spaces may follow */
bool io_json_wrong(struct json *json, const char *error); /* false */

#endif
