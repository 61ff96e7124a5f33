/* SPDX-License-Identifier: Apache-2.0 */
/* Reads JSON that this command wrote, and whatever else lies in its place: hostile text gives NULL, nothing worse. */
#ifndef FLOWRUN_JSON_H
#define FLOWRUN_JSON_H

#include <stdbool.h>
#include <stddef.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_LIST, JSON_OBJECT };

struct json {
    enum json_kind kind;
    const char *key;  /* in an object */
    const char *text; /* TEXT */
    double number;
    const struct json *first, *next; /* LIST, OBJECT: entries */
};

struct json_document {
    struct json *root; /* NULL: it is no JSON */
    char *bytes;       /* that texts lie in */
};
/* A copy of the text is made. At most 64 levels deep. */
struct json_document json_read(const char *text, size_t length);
void json_free(struct json_document *document);

const struct json *json_get(const struct json *object, const char *key); /* NULL; `object` may be NULL, too */
double json_number(const struct json *object, const char *key);          /* NaN where there is none */
const char *json_text(const struct json *object, const char *key);       /* NULL */

#endif
