/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: windows of a text file, as numbers of bytes, characters or words. The text is never held: opening goes through the file once,
 * counts the units, and remembers where every 1024th of them begins; a window is then read from the mark before it. Where every unit is one
 * byte (bytes, and characters of plain ASCII) windows are read from where they stand.
 */
#include "text.h"

#include <stdlib.h>
#include <string.h>

struct text_attrs {
    int64_t window, stride;
    int32_t unit;
    const char *vocabulary;
    int64_t max_vocabulary;
    const char *unknown, *end_of_line;
};

struct text {
    void *file;
    int64_t bytes, units, stride;
    int64_t *marks; /* [units / UNIT_MARK + 1], NULL: a unit is a byte */
    int32_t ids[256];
    struct text_words words;
    int32_t unknown; /* -1: none */
    const char *end_of_line;
};

enum { SCAN_BYTES = 1 << 18, WINDOW_BYTES = 1 << 14 };

static const struct flow_port outputs[] = {
    {"tokens", "numbers of the units in the window", "B window", FLOW_TYPE(I64), 0},
    {"next", "the same, one unit further on", "B window", FLOW_TYPE(I64), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct text_attrs, window, "units in a row", FLOW_REQUIRED, 1, 1 << 24),
    FLOW_ATTR(struct text_attrs, stride, "units from one row's beginning to the next; absent: the window", FLOW_ABSENT, 1, 1 << 24),
    FLOW_ATTR_CHOICES(struct text_attrs, unit, "what is numbered: bytes by their value, characters (UTF-8), words between white space",
                      "byte", "byte|char|word"),
    FLOW_ATTR_PLAIN(
        struct text_attrs, vocabulary,
        "file with one unit a line (\\n, \\t, \\s, \\\\ for newline, tabulator, space, backslash), the first is number 0; absent: "
        "the text's own, characters by code point, words by how often they come",
        FLOW_ABSENT),
    FLOW_ATTR(struct text_attrs, max_vocabulary, "most units in a vocabulary of the text's own, the commonest", "1000000", 1, 1 << 24),
    FLOW_ATTR_PLAIN(struct text_attrs, unknown, "unit that stands for all that are not in the vocabulary, such as <unk>; absent: an error",
                    FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct text_attrs, end_of_line, "word that stands for the end of each line, such as <eos>; absent: none", FLOW_ABSENT),
};

/* ---- Going through the file ------------------------------------------------------------------------------------ */

/* Calls `each` for the units from byte `offset` on, until it says to stop (positive) or fails. */
struct walk {
    int (*read)(void *call, void *file, int64_t offset, int64_t bytes, void *into);
    void *call; /* open or fill */
    int (*wrong)(void *call, int64_t offset);
    int (*each)(struct walk *walk, const struct text_unit *unit, int64_t offset);
    const struct text *text;
    int32_t unit;
    char *buffer;
    int64_t room;
    /* of `each` */
    int64_t number;
    struct text_words *words;
    int64_t *marks;
    bool add;
    int64_t skip, wanted, got;
    int64_t *tokens, *next;
};

static int walk_units(struct walk *walk, int64_t offset) {
    const int64_t bytes = walk->text->bytes;
    int64_t held = 0;
    int status = FLOW_OK;
    while (status == FLOW_OK && (offset < bytes || held)) {
        int64_t more = bytes - offset < walk->room - held ? bytes - offset : walk->room - held;
        status = walk->read(walk->call, walk->text->file, offset, more, walk->buffer + held);
        if (status < 0) return status;
        const int64_t start = offset - held;
        offset += more, held += more;
        const bool last = offset == bytes;
        const char *at = walk->buffer, *end = at + held;
        int found = 0;
        struct text_unit unit;
        while (status == FLOW_OK && (found = text_unit_next(walk->unit, walk->text->end_of_line, at, end, last, &unit)) == 1) {
            status = walk->each(walk, &unit, start + (at - walk->buffer));
            at += unit.used;
        }
        if (status == FLOW_OK && found < 0) return walk->wrong(walk->call, start + (at - walk->buffer));
        if (found == 2) break;
        at += status == FLOW_OK ? unit.used : 0;
        held = end - at;
        memmove(walk->buffer, at, (size_t)held);
    }
    return status;
}

static int open_read(void *call, void *file, int64_t offset, int64_t bytes, void *into) {
    const struct flow_source_open *open = call;
    return open->host->file_read(open->owner, file, offset, bytes, into);
}

static int fill_read(void *call, void *file, int64_t offset, int64_t bytes, void *into) {
    const struct flow_source_fill *fill = call;
    return fill->host->file_read(fill->owner, file, offset, bytes, into);
}

static int open_wrong(void *call, int64_t offset) {
    const struct flow_source_open *open = call;
    return data_wrong(open, FLOW_ERROR_FORMAT,
                      "%s: from byte %lld on there is no unit: the text is not UTF-8 (`unit: byte` reads any file), or "
                      "has a word of more than %d bytes",
                      open->path, (long long)offset, UNIT_BYTES_MOST);
}

static int fill_wrong(void *call, int64_t offset) {
    const struct flow_source_fill *fill = call;
    return data_wrong(fill, FLOW_ERROR_FORMAT, "the text has changed since it was opened: about byte %lld it has another unit, or none",
                      (long long)offset);
}

/* ---- Opening --------------------------------------------------------------------------------------------------- */

static int count_unit(struct walk *walk, const struct text_unit *unit, int64_t offset) {
    const struct flow_source_open *open = walk->call;
    if (walk->number % UNIT_MARK == 0) walk->marks[walk->number / UNIT_MARK] = offset;
    walk->number++;
    struct text_word *word = text_words_get(walk->words, unit->at, unit->length, walk->add);
    if (word) word->count++;
    else if (walk->add) return data_wrong(open, FLOW_ERROR_MEMORY, "out of memory, or more than 2^24 different units");
    else if (walk->text->unknown < 0)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s: '%.*s' at byte %lld is not in the vocabulary, and no unit `unknown` is named",
                          open->path, unit->length > 40 ? 40 : (int)unit->length, unit->at, (long long)offset);
    return open->host->cancelled(open->owner) ? FLOW_ERROR_CANCELLED : FLOW_OK;
}

static int find_unknown(struct flow_source_open *open, struct text *text, const struct text_attrs *a) {
    struct text_word *word = a->unknown ? text_words_get(&text->words, a->unknown, strlen(a->unknown), false) : NULL;
    text->unknown = word ? word->id : -1;
    if (a->unknown && (!word || word->id < 0))
        return data_wrong(open, FLOW_ERROR_USAGE, "the unit `unknown`, '%s', is not in the vocabulary", a->unknown);
    return FLOW_OK;
}

static int scan(struct flow_source_open *open, struct text *text, const struct text_attrs *a) {
    int status = a->vocabulary ? text_words_load(open, a->vocabulary, &text->words) : FLOW_OK;
    if (status == FLOW_OK && a->vocabulary) status = find_unknown(open, text, a);
    if (status < 0) return status;
    struct walk walk = {.read = open_read,
                        .wrong = open_wrong,
                        .each = count_unit,
                        .call = open,
                        .text = text,
                        .unit = a->unit,
                        .room = SCAN_BYTES,
                        .words = &text->words,
                        .add = !a->vocabulary};
    walk.marks = text->marks = data_memory(open, text->bytes / UNIT_MARK + 2, sizeof *text->marks);
    walk.buffer = malloc(SCAN_BYTES);
    if (!walk.buffer) data_wrong(open, FLOW_ERROR_MEMORY, "out of memory");
    status = walk.buffer && walk.marks ? walk_units(&walk, 0) : FLOW_ERROR_MEMORY;
    free(walk.buffer);
    text->units = walk.number;
    if (status == FLOW_OK && !a->vocabulary)
        status = text_words_number(open, &text->words, a->unit == UNIT_CHAR, a->max_vocabulary, a->unknown);
    if (status == FLOW_OK && !a->vocabulary) status = find_unknown(open, text, a);
    return status;
}

/* Characters that are all single bytes need no marks. */
static void look_for_ascii(struct text *text, int32_t unit) {
    if (unit == UNIT_WORD || text->units != text->bytes) return;
    for (int c = 0; c < 256; c++) {
        const char byte = (char)c;
        const struct text_word *word = text_words_get(&text->words, &byte, 1, false);
        text->ids[c] = word && word->id >= 0 ? word->id : text->unknown;
    }
    text->marks = NULL;
}

static int open_source(struct flow_source_open *open) {
    const struct text_attrs *a = open->attrs;
    struct text *text = data_memory(open, 1, sizeof *text);
    if (!text) return FLOW_ERROR_MEMORY;
    open->state = text;
    int status = open->host->file_open(open->owner, open->path, &text->file, &text->bytes);
    if (status < 0) return status;
    uint8_t first[4] = {0};
    const int64_t few = text->bytes < 4 ? text->bytes : 4;
    status = open->host->file_read(open->owner, text->file, 0, few, first);
    if (status == FLOW_OK) status = data_check_packed(open, open->path, first, few);
    if (status < 0) return status;
    text->unknown = -1, text->stride = a->stride == FLOW_INT_ABSENT ? a->window : a->stride;
    text->end_of_line = a->end_of_line;
    if (a->unit == UNIT_BYTE) {
        if (a->vocabulary)
            return data_wrong(open, FLOW_ERROR_USAGE, "bytes are their own numbers: `vocabulary` is for characters and words");
        text->units = text->bytes;
        for (int c = 0; c < 256; c++) text->ids[c] = c;
    } else {
        status = scan(open, text, a);
        if (status == FLOW_OK) look_for_ascii(text, a->unit);
    }
    if (status < 0) return status;
    if (text->units <= a->window)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld units: a window of %lld needs %lld, one more for `next`", open->path,
                          (long long)text->units, (long long)a->window, (long long)a->window + 1);
    open->rows = (text->units - a->window - 1) / text->stride + 1;
    status = data_output(open, "tokens", FLOW_I64, 1, &a->window);
    return status < 0 ? status : data_output(open, "next", FLOW_I64, 1, &a->window);
}

static void close_source(void *state) {
    struct text *text = state;
    text_words_free(&text->words);
}

/* ---- Reading --------------------------------------------------------------------------------------------------- */

/* Bytes are read into the end of the row of `next` and numbered from its beginning: byte i+1 is read before number i can reach it. */
static int fill_bytes(const struct flow_source_fill *fill, const struct text *text, int64_t window, int64_t row, int64_t *tokens,
                      int64_t *next) {
    uint8_t *bytes = (uint8_t *)(next + window) - (window + 1);
    int status = fill->host->file_read(fill->owner, text->file, row * text->stride, window + 1, bytes);
    if (status < 0) return status;
    int32_t all = text->ids[bytes[0]];
    tokens[0] = all;
    for (int64_t i = 1; i < window; i++) {
        const int32_t id = text->ids[bytes[i]];
        next[i - 1] = tokens[i] = id;
        all |= id;
    }
    const int32_t id = text->ids[bytes[window]];
    next[window - 1] = id;
    return (all | id) < 0 ? fill_wrong((void *)(uintptr_t)fill, row * text->stride) : FLOW_OK;
}

static int place_unit(struct walk *walk, const struct text_unit *unit, int64_t offset) {
    if (walk->skip) {
        walk->skip--;
        return FLOW_OK;
    }
    const struct text_word *word = text_words_get(walk->words, unit->at, unit->length, false);
    const int64_t id = word && word->id >= 0 ? word->id : walk->text->unknown;
    if (id < 0) return walk->wrong(walk->call, offset);
    if (walk->got > 0) walk->next[walk->got - 1] = id;
    if (walk->got < walk->wanted) walk->tokens[walk->got] = id;
    return walk->got++ == walk->wanted;
}

static int fill_units(const struct flow_source_fill *fill, const struct text *text, const struct text_attrs *a, int64_t row,
                      int64_t *tokens, int64_t *next) {
    char buffer[WINDOW_BYTES];
    struct flow_source_fill call = *fill;
    struct text_words words = text->words; /* nothing is added: shared */
    const int64_t first = row * text->stride;
    struct walk walk = {.read = fill_read,
                        .wrong = fill_wrong,
                        .each = place_unit,
                        .call = &call,
                        .text = text,
                        .unit = a->unit,
                        .buffer = buffer,
                        .room = WINDOW_BYTES,
                        .words = &words,
                        .skip = first % UNIT_MARK,
                        .wanted = a->window,
                        .tokens = tokens,
                        .next = next};
    int status = walk_units(&walk, text->marks[first / UNIT_MARK]);
    if (status == FLOW_OK) status = fill_wrong(&call, text->bytes);
    return status == 1 ? FLOW_OK : status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct text_attrs *a = fill->attrs;
    const struct text *text = fill->state;
    int status = FLOW_OK;
    for (int64_t i = 0; status == FLOW_OK && i < fill->count; i++) {
        int64_t *tokens = (int64_t *)fill->out[0].data + i * a->window, *next = (int64_t *)fill->out[1].data + i * a->window;
        status = text->marks ? fill_units(fill, text, a, fill->rows[i], tokens, next)
                             : fill_bytes(fill, text, a->window, fill->rows[i], tokens, next);
    }
    return status;
}

const struct flow_source data_text = {
    .size = sizeof data_text,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "text",
    .summary = "windows of a text, as numbers of bytes, characters or words",
    .example = "train: {source: text, path: shakespeare.txt, with: {window: 256, unit: char, batch: 16, shuffle: true}, "
               "feeds: {tokens: tokens, target: next}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct text_attrs),
    .open = open_source,
    .fill = fill_source,
    .close = close_source,
};
