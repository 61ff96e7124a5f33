/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw_words.h"

#include <stdio.h>
#include <string.h>

/* Advance of a monospaced letter in parts of its size: Courier New 0.600, DejaVu Sans Mono and Menlo 0.602, Cascadia 0.586, Consolas 0.550.
 */
static const double ADVANCE = 0.605;

/* One character of UTF-8: its code, or -1 where it is broken (`*length` is then 1). */
static int32_t decode(const unsigned char *at, int *length) {
    *length = 1;
    if (at[0] < 0x80) return at[0];
    int more = at[0] >= 0xf0 && at[0] < 0xf5 ? 3 : at[0] >= 0xe0 ? 2 : at[0] >= 0xc2 ? 1 : 0;
    if (!more || at[0] >= 0xf5) return -1;
    int32_t code = at[0] & (0x3f >> more);
    for (int k = 1; k <= more; k++) {
        if ((at[k] & 0xc0) != 0x80) return -1;
        code = code << 6 | (at[k] & 0x3f);
    }
    if ((more == 2 && code < 0x800) || (more == 3 && (code < 0x10000 || code > 0x10ffff)) || (code >= 0xd800 && code < 0xe000)) return -1;
    *length = more + 1;
    return code;
}

/* East Asian wide blocks and pictures. */
static bool is_wide(int32_t code) {
    return (code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) || (code >= 0xac00 && code < 0xd7a4) ||
           (code >= 0xf900 && code < 0xfb00) || (code >= 0xfe30 && code < 0xfe70) || (code >= 0xff00 && code < 0xff61) ||
           (code >= 0x1f300 && code < 0x1fb00) || (code >= 0x20000 && code < 0x40000);
}

double words_width(const char *words, double size) {
    double columns = 0;
    int length;
    for (const unsigned char *at = (const unsigned char *)(words ? words : ""); *at; at += length)
        columns += is_wide(decode(at, &length)) ? 2 : 1;
    return columns * size * ADVANCE;
}

const char *words_cut(struct arena *arena, const char *words, size_t columns) {
    size_t used = 0, keep = 0;
    int length;
    for (const unsigned char *at = (const unsigned char *)words; *at; at += length) {
        used += is_wide(decode(at, &length)) ? 2 : 1;
        if (used > columns) return arena_format(arena, "%.*s\xe2\x80\xa6", (int)keep, words);
        if (used < columns) keep = (size_t)(at - (const unsigned char *)words) + (size_t)length;
    }
    return words;
}

void words_xml(struct text *out, const char *words) {
    int length;
    for (const unsigned char *at = (const unsigned char *)(words ? words : ""); *at; at += length) {
        int32_t code = decode(at, &length);
        const char *entity = code == '<'    ? "&lt;"
                             : code == '>'  ? "&gt;"
                             : code == '&'  ? "&amp;"
                             : code == '"'  ? "&quot;"
                             : code == '\'' ? "&#39;"
                                            : NULL;
        bool bad = code < 0 || (code < 0x20 && code != '\n' && code != '\t') || code == 0x7f || code == 0xfffe || code == 0xffff;
        if (entity) text_put(out, entity);
        else if (bad) text_put(out, "\xef\xbf\xbd");
        else text_add(out, (const char *)at, (size_t)length);
    }
}

const char *words_count(char text[16], int64_t count) {
    static const char units[] = " kMGTP";
    double value = (double)count;
    int unit = 0;
    while (value >= 999.5 && unit < 5) value /= 1000, unit++;
    snprintf(text, 16, unit == 0 ? "%.0f" : value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return text;
}

const char *words_bytes(char text[24], int64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) value /= 1024, unit++;
    snprintf(text, 24, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
