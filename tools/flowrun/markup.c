/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/markup.h"

#include "flowrun/command.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void markup_bytes(struct markup *out, const char *bytes, size_t length) {
    if (out->failed) return;
    if (out->length + length + 1 > out->room) {
        size_t room = 2 * (out->length + length) + 65536;
        char *grown = realloc(out->at, room);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->at = grown, out->room = room;
    }
    memcpy(out->at + out->length, bytes, length);
    out->length += length;
    out->at[out->length] = 0;
}

void markup_put(struct markup *out, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0) markup_bytes(out, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

void markup_escaped(struct markup *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        const char *entity = text[i] == '<'   ? "&lt;"
                             : text[i] == '>' ? "&gt;"
                             : text[i] == '&' ? "&amp;"
                             : text[i] == '"' ? "&quot;"
                                              : NULL;
        if (entity) markup_bytes(out, entity, strlen(entity));
        else markup_bytes(out, text + i, 1);
    }
}

void markup_text(struct markup *out, const char *text) { markup_escaped(out, text, strlen(text)); }

void markup_base64(struct markup *out, const unsigned char *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        unsigned word =
            (unsigned)bytes[i] << 16 | (i + 1 < length ? (unsigned)bytes[i + 1] << 8 : 0) | (i + 2 < length ? bytes[i + 2] : 0u);
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63], i + 1 < length ? digits[word >> 6 & 63] : '=',
                        i + 2 < length ? digits[word & 63] : '='};
        markup_bytes(out, four, 4);
    }
}

void markup_json(struct markup *out, const char *text) {
    if (!text) {
        markup_bytes(out, "null", 4);
        return;
    }
    markup_bytes(out, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') markup_put(out, "\\%c", c);
        else if (c < 0x20 || c == '<' || c == 0x7f) markup_put(out, "\\u%04x", c);
        else markup_bytes(out, text, 1);
    }
    markup_bytes(out, "\"", 1);
}

void markup_real(struct markup *out, double value) {
    if (isfinite(value)) markup_put(out, "%.9g", value);
    else markup_bytes(out, "null", 4);
}

int markup_write(struct markup *out, struct flow_runtime *runtime, const char *path) {
    flow_errors *errors = NULL;
    int rc = out->failed ? command_say(EXIT_FAILED, "out of memory") : 0;
    if (rc == 0 && flow_file_write_bytes(runtime, path, out->at ? out->at : "", out->length, &errors) < 0) rc = command_fail(errors);
    free(out->at);
    *out = (struct markup){0};
    return rc;
}
