/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

size_t terminal_width(FILE *out, size_t otherwise) {
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    size_t width = columns ? strtoul(columns, NULL, 10) : 0;
    if (!width && isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0) width = size.ws_col;
    if (!width) return otherwise;
    return width < 40 ? 40 : width > 120 ? 120 : width;
}

size_t terminal_columns_of(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xc0u) != 0x80u;
    return count;
}

size_t terminal_columns(const char *text) { return terminal_columns_of(text, strlen(text)); }

void terminal_spaces(FILE *out, size_t count) { fprintf(out, "%*s", (int)count, ""); }

void terminal_wrap(FILE *out, const char *text, size_t at, size_t indent, size_t width) {
    bool begun = false; /* a word stands on this line */
    while (*text) {
        if (*text == '\n') {
            putc('\n', out);
            at = 0, begun = false, text++;
            continue;
        }
        size_t length = strcspn(text, " \n"), columns = terminal_columns_of(text, length);
        if (begun && at + 1 + columns > width) {
            putc('\n', out);
            at = 0, begun = false;
        }
        if (at < indent) terminal_spaces(out, indent - at), at = indent;
        if (begun) putc(' ', out), at++;
        fwrite(text, 1, length, out);
        at += columns, begun = true, text += length;
        while (*text == ' ') text++;
    }
    putc('\n', out);
}
