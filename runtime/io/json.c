/* SPDX-License-Identifier: Apache-2.0 */
#include "io/json.h"

#include <string.h>

void io_json_init(struct json *json, struct arena *arena, const char *text, size_t size) {
    *json = (struct json){.start = text, .at = text, .end = text + size, .arena = arena};
}

bool io_json_wrong(struct json *json, const char *error) {
    if (!json->error) json->error = error;
    return false;
}

static void spaces(struct json *json) {
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\r' || *json->at == '\t')) json->at++;
}

/* The next character that is no space; 0 at the end. */
static char peek(struct json *json) {
    spaces(json);
    return json->at < json->end ? *json->at : 0;
}

bool io_json_open(struct json *json, char bracket) {
    if (json->error) return false;
    if (peek(json) != bracket) return io_json_wrong(json, bracket == '{' ? "expected an object: '{'" : "expected a list: '['");
    if (++json->depth > JSON_DEPTH_MOST) return io_json_wrong(json, "nested too deeply");
    json->at++;
    return true;
}

bool io_json_more(struct json *json, char closing, bool *first) {
    if (json->error) return false;
    const char c = peek(json);
    if (c == closing) {
        json->at++, json->depth--;
        return false;
    }
    if (*first) *first = false;
    else if (c != ',') return io_json_wrong(json, closing == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    else json->at++;
    return true;
}

/* Four hexadecimal digits; -1 when they are not. */
static int hex4(struct json *json) {
    int value = 0;
    if (json->end - json->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char c = *json->at++;
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static char *put_utf8(char *to, unsigned code) {
    if (code < 0x80) *to++ = (char)code;
    else if (code < 0x800) *to++ = (char)(0xC0 | code >> 6), *to++ = (char)(0x80 | (code & 63));
    else if (code < 0x10000) *to++ = (char)(0xE0 | code >> 12), *to++ = (char)(0x80 | (code >> 6 & 63)), *to++ = (char)(0x80 | (code & 63));
    else
        *to++ = (char)(0xF0 | code >> 18), *to++ = (char)(0x80 | (code >> 12 & 63)), *to++ = (char)(0x80 | (code >> 6 & 63)),
        *to++ = (char)(0x80 | (code & 63));
    return to;
}

/* What follows a backslash. NULL on error. An escape is never shorter than what it stands for. */
static char *escape(struct json *json, char *to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char c = json->at < json->end ? *json->at++ : 0;
    const char *simple = c ? memchr(from, c, sizeof from - 1) : NULL;
    if (simple) {
        *to = into[simple - from];
        return to + 1;
    }
    int code = c == 'u' ? hex4(json) : -1;
    if (code >= 0xD800 && code < 0xDC00) { /* first half of a pair */
        const bool pair = json->end - json->at >= 2 && json->at[0] == '\\' && json->at[1] == 'u';
        if (pair) json->at += 2;
        const int low = pair ? hex4(json) : -1;
        code = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : -1;
    }
    if (code == 0) io_json_wrong(json, "a string holds a zero character");
    else if (code < 0 || (code >= 0xDC00 && code < 0xE000)) io_json_wrong(json, "a wrong escape in a string");
    return json->error ? NULL : put_utf8(to, (unsigned)code);
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), 0 when it is not one. */
static size_t utf8_length(const char *text, const char *end) {
    const unsigned char *s = (const unsigned char *)text;
    const size_t room = (size_t)(end - text);
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    const size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (length > room) return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    const bool outside = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || outside ? 0 : length;
}

/* The end of a string that starts at `at` (behind its quote); NULL when there is none. */
static const char *string_end(const struct json *json) {
    for (const char *c = json->at; c < json->end; c++) {
        if (*c == '"') return c;
        if (*c == '\\') c++;
    }
    return NULL;
}

const char *io_json_string(struct json *json) {
    if (json->error) return NULL;
    if (peek(json) != '"') {
        io_json_wrong(json, "expected a string");
        return NULL;
    }
    json->at++;
    const char *end = string_end(json);
    if (!end) {
        io_json_wrong(json, "a string does not end");
        return NULL;
    }
    char *text = arena_new(json->arena, (size_t)(end - json->at) + 1), *to = text;
    if (!text) json->no_memory = true, io_json_wrong(json, "out of memory");
    while (!json->error && json->at < json->end && *json->at != '"') {
        const size_t length = utf8_length(json->at, json->end);
        if (*json->at == '\\') json->at++, to = escape(json, to);
        else if (length == 0) io_json_wrong(json, "a string is not UTF-8");
        else if ((unsigned char)*json->at < 0x20) io_json_wrong(json, "a control character in a string");
        else
            for (size_t i = 0; i < length; i++) *to++ = *json->at++;
    }
    if (json->error) return NULL;
    json->at++;
    *to = 0;
    return text;
}

const char *io_json_key(struct json *json) {
    const char *key = io_json_string(json);
    if (key && peek(json) != ':') io_json_wrong(json, "expected ':'");
    if (!key || json->error) return NULL;
    json->at++;
    return key;
}

bool io_json_integer(struct json *json, int64_t *value) {
    int64_t result = 0;
    if (json->error) return false;
    if (peek(json) < '0' || *json->at > '9') return io_json_wrong(json, "expected a whole number that is not negative");
    const char *first = json->at;
    for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++)
        if (!size_multiply(result, 10, &result) || !size_add(result, *json->at - '0', &result))
            return io_json_wrong(json, "a number is too large");
    if (*first == '0' && json->at - first > 1) return io_json_wrong(json, "a number starts with 0");
    if (json->at < json->end && (*json->at == '.' || *json->at == 'e' || *json->at == 'E'))
        return io_json_wrong(json, "expected a whole number");
    *value = result;
    return true;
}

static size_t digits(struct json *json) {
    size_t count = 0;
    for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++) count++;
    return count;
}

static bool skip_number(struct json *json) {
    if (*json->at == '-') json->at++;
    const char *first = json->at;
    const size_t whole = digits(json);
    if (whole == 0 || (whole > 1 && *first == '0')) return io_json_wrong(json, "expected a value");
    if (json->at < json->end && *json->at == '.') {
        json->at++;
        if (digits(json) == 0) return io_json_wrong(json, "a number ends with its point");
    }
    if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
        if (digits(json) == 0) return io_json_wrong(json, "a number has no exponent");
    }
    return true;
}

static bool skip_word(struct json *json, const char *word) {
    const size_t length = strlen(word);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0) return io_json_wrong(json, "expected a value");
    json->at += length;
    return true;
}

/* Recursion is bounded by the depth that io_json_open allows. */
bool io_json_skip(struct json *json) {
    bool first = true;
    if (json->error) return false;
    switch (peek(json)) {
    case '"': return io_json_string(json) != NULL;
    case 't': return skip_word(json, "true");
    case 'f': return skip_word(json, "false");
    case 'n': return skip_word(json, "null");
    case '[':
        if (!io_json_open(json, '[')) return false;
        while (io_json_more(json, ']', &first))
            if (!io_json_skip(json)) return false;
        return !json->error;
    case '{':
        if (!io_json_open(json, '{')) return false;
        while (io_json_more(json, '}', &first))
            if (!io_json_key(json) || !io_json_skip(json)) return false;
        return !json->error;
    case 0: return io_json_wrong(json, "the text ends too early");
    default: return skip_number(json);
    }
}

bool io_json_finish(struct json *json) {
    if (json->error) return false;
    spaces(json);
    return json->at == json->end || io_json_wrong(json, "something follows the end");
}
