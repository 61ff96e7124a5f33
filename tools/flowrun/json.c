/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64 };

/* Texts are decoded in place: they never grow. */
struct reader {
    char *at, *end;
    struct json *nodes;
    size_t used, room;
};

static struct json *new_node(struct reader *reader) {
    if (reader->used == reader->room) return NULL;
    struct json *node = &reader->nodes[reader->used++];
    *node = (struct json){.number = NAN};
    return node;
}

static void skip_space(struct reader *reader) {
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at) reader->at++;
}

static bool take(struct reader *reader, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || strncmp(reader->at, word, length) != 0) return false;
    reader->at += length;
    return true;
}

static int hex4(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = at[i], digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* One \uXXXX as UTF-8; halves of pairs become a question mark, which is all that names need. */
static char *put_code(char *to, int code) {
    if (code < 0x80) *to++ = (char)(code ? code : '?');
    else if (code < 0x800) *to++ = (char)(0xc0 | code >> 6), *to++ = (char)(0x80 | (code & 63));
    else if (code >= 0xd800 && code < 0xe000) *to++ = '?';
    else *to++ = (char)(0xe0 | code >> 12), *to++ = (char)(0x80 | (code >> 6 & 63)), *to++ = (char)(0x80 | (code & 63));
    return to;
}

static const char *read_text(struct reader *reader) {
    if (!take(reader, "\"")) return NULL;
    char *begin = reader->at, *to = begin;
    while (reader->at < reader->end && *reader->at != '"') {
        char c = *reader->at++;
        if ((unsigned char)c < 0x20) return NULL;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        if (reader->at == reader->end) return NULL;
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        c = *reader->at++;
        const char *plain = c ? strchr(from, c) : NULL;
        if (plain) *to++ = into[plain - from];
        else if (c == 'u' && reader->end - reader->at >= 4 && hex4(reader->at) >= 0) to = put_code(to, hex4(reader->at)), reader->at += 4;
        else return NULL;
    }
    if (reader->at == reader->end) return NULL;
    reader->at++;
    *to = 0;
    return begin;
}

static struct json *read_value(struct reader *reader, int depth);

static bool read_entries(struct reader *reader, struct json *parent, int depth) {
    const char *close = parent->kind == JSON_OBJECT ? "}" : "]";
    const struct json **tail = &parent->first;
    skip_space(reader);
    if (take(reader, close)) return true;
    for (;;) {
        const char *key = NULL;
        skip_space(reader);
        if (parent->kind == JSON_OBJECT) {
            key = read_text(reader);
            skip_space(reader);
            if (!key || !take(reader, ":")) return false;
        }
        struct json *value = read_value(reader, depth + 1);
        if (!value) return false;
        value->key = key;
        *tail = value, tail = &value->next;
        skip_space(reader);
        if (take(reader, close)) return true;
        if (!take(reader, ",")) return false;
    }
}

static bool read_number(struct reader *reader, struct json *node) {
    char *end;
    if (!strchr("-0123456789", *reader->at)) return false;
    node->kind = JSON_NUMBER;
    node->number = strtod(reader->at, &end);
    if (end == reader->at || end > reader->end || !isfinite(node->number)) return false;
    reader->at = end;
    return true;
}

static struct json *read_value(struct reader *reader, int depth) {
    skip_space(reader);
    struct json *node = depth < DEEPEST && reader->at < reader->end ? new_node(reader) : NULL;
    if (!node) return NULL;
    if (*reader->at == '"') {
        node->kind = JSON_TEXT;
        return (node->text = read_text(reader)) ? node : NULL;
    }
    if (take(reader, "{")) node->kind = JSON_OBJECT;
    else if (take(reader, "[")) node->kind = JSON_LIST;
    else if (take(reader, "null")) return node;
    else if (take(reader, "true")) node->kind = JSON_TRUE;
    else if (take(reader, "false")) node->kind = JSON_FALSE;
    else return read_number(reader, node) ? node : NULL;
    if (node->kind == JSON_TRUE || node->kind == JSON_FALSE) return node;
    return read_entries(reader, node, depth) ? node : NULL;
}

struct json_document json_read(const char *text, size_t length) {
    struct json_document document = {0};
    size_t room = 1;
    for (size_t i = 0; i < length; i++) room += text[i] == ',' || text[i] == '[' || text[i] == '{';
    struct reader reader = {.room = room, .nodes = calloc(room, sizeof *reader.nodes)};
    document.bytes = malloc(length + 1);
    if (reader.nodes && document.bytes) {
        memcpy(document.bytes, text, length);
        document.bytes[length] = 0;
        reader.at = document.bytes, reader.end = document.bytes + length;
        struct json *root = read_value(&reader, 0);
        skip_space(&reader);
        if (root && reader.at == reader.end) document.root = reader.nodes;
    }
    if (!document.root) free(reader.nodes), free(document.bytes), document.bytes = NULL;
    return document;
}

void json_free(struct json_document *document) {
    free(document->root);
    free(document->bytes);
    *document = (struct json_document){0};
}

const struct json *json_get(const struct json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (const struct json *entry = object->first; entry; entry = entry->next)
        if (strcmp(entry->key, key) == 0) return entry;
    return NULL;
}

double json_number(const struct json *object, const char *key) {
    const struct json *found = json_get(object, key);
    return found ? found->number : NAN;
}

const char *json_text(const struct json *object, const char *key) {
    const struct json *found = json_get(object, key);
    return found && found->kind == JSON_TEXT ? found->text : NULL;
}
