/* SPDX-License-Identifier: Apache-2.0 */
/* Text under construction: HTML, SVG, JSON. After a failed allocation `failed` stays set and writing does nothing: check once, at the end.
 */
#ifndef FLOWRUN_MARKUP_H
#define FLOWRUN_MARKUP_H

#include <stdbool.h>
#include <stddef.h>

struct markup {
    char *at;
    size_t length, room;
    bool failed;
};

void markup_bytes(struct markup *out, const char *bytes, size_t length);
void markup_put(struct markup *out, const char *format, ...) __attribute__((format(__printf__, 2, 3))); /* at most 1023 bytes */
void markup_text(struct markup *out, const char *text);                                                 /* with < > & " escaped */
void markup_escaped(struct markup *out, const char *text, size_t length);
void markup_base64(struct markup *out, const unsigned char *bytes, size_t length);
/* A JSON string with its quotes, "null" for NULL; `<` is escaped so that it can stand in a script. */
void markup_json(struct markup *out, const char *text);
void markup_real(struct markup *out, double value); /* JSON: null where it is not finite */
/* Writes it to a file, whole or not at all, and frees it. 0, or an exit status after saying why. */
struct flow_runtime;
int markup_write(struct markup *out, struct flow_runtime *runtime, const char *path);

#endif
