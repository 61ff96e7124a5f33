/* SPDX-License-Identifier: Apache-2.0 */
/* ${...}: variables and arithmetic put into scalars. */
#include "graph/expression.h"
#include "graph/network_private.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 64, WHY_MOST = 400 };

struct lookup {
    struct reader *reader;
    const struct environment *environment;
    char why[WHY_MOST];
};

/* A subgraph's own variables hide `index`, which hides the file's. *value is NULL where an error was told about it. */
static bool find(const struct environment *environment, const char *name, const struct document **value) {
    int64_t index;
    if (map_get(&environment->names, name, &index)) *value = environment->values[index];
    else if (environment->index && strcmp(name, "index") == 0) *value = environment->index;
    else return environment->outer && find(environment->outer, name, value);
    return true;
}

static int unknown(struct lookup *lookup, const char *name) {
    struct hint hint;
    hint_init(lookup->reader, &hint, name);
    for (const struct environment *e = lookup->environment; e; e = e->outer)
        for (size_t i = 0; i < e->count; i++) hint_offer(&hint, e->keys[i]);
    snprintf(lookup->why, sizeof lookup->why, "unknown variable '%.100s'%s", name, hint_text(&hint));
    return FLOW_ERROR_GRAPH;
}

/* expression_lookup */
static int number_of(void *context, const char *name, size_t length, struct number *value) {
    struct lookup *lookup = context;
    char copy[NAME_MOST + 1];
    if (length > NAME_MOST) length = NAME_MOST;
    memcpy(copy, name, length);
    copy[length] = 0;
    const struct document *found;
    if (!find(lookup->environment, copy, &found)) return unknown(lookup, copy);
    if (!found) return FLOW_ERROR_GRAPH;
    *value = (struct number){0};
    if (document_int(found, &value->i)) {
        value->r = (double)value->i;
        return 1;
    }
    if (document_real(found, &value->r)) {
        value->real = true;
        return 1;
    }
    if (found->kind == DOCUMENT_SCALAR)
        snprintf(lookup->why, sizeof lookup->why, "variable '%s' is '%.60s', not a number", copy, found->text);
    else snprintf(lookup->why, sizeof lookup->why, "variable '%s' is a list, not a number", copy);
    return FLOW_ERROR_GRAPH;
}

/* ---- Numbers as text that parses back to the same number and kind ---- */

static void write_number(const struct number *number, char *text, size_t size) {
    if (!number->real) {
        snprintf(text, size, "%" PRId64, number->i);
        return;
    }
    if (isnan(number->r) || isinf(number->r)) {
        snprintf(text, size, "%s", isnan(number->r) ? ".nan" : number->r < 0 ? "-.inf" : ".inf");
        return;
    }
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = c ? uselocale(c) : (locale_t)0;
    for (int digits = 15; digits <= 17; digits++) { /* the shortest of these that gives the number back; 17 always do */
        snprintf(text, size, "%.*g", digits, number->r);
        if (strtod(text, NULL) == number->r) break;
    }
    if (c) uselocale(before), freelocale(c);
    if (!strpbrk(text, ".e") && strlen(text) + 3 <= size) strcat(text, ".0");
}

static struct document *scalar_new(struct reader *reader, const char *text, struct position at, bool quoted) {
    struct document *made = reader_new(reader, 1, sizeof *made);
    char *copy = made ? reader_new(reader, strlen(text) + 1, 1) : NULL;
    if (!copy) return NULL;
    strcpy(copy, text);
    *made = (struct document){.kind = DOCUMENT_SCALAR, .quoted = quoted, .size = 1, .at = at, .text = copy};
    return made;
}

const struct document *variables_number(struct reader *reader, int64_t value, struct position at) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return scalar_new(reader, text, at, false);
}

/* ---- Putting in ---- */

/* A variable's value where it is used: errors about it point there. */
static const struct document *copy_at(struct reader *reader, const struct document *value, struct position at, int depth) {
    if (!reader_spend(reader, at, 32)) return NULL;
    if (depth > DEPTH_MOST) {
        reader_fail(reader, at, "lists are nested more than %d deep", DEPTH_MOST);
        return NULL;
    }
    struct document *copy = reader_new(reader, 1, sizeof *copy);
    if (!copy) return NULL;
    *copy = *value, copy->at = at;
    if (value->kind == DOCUMENT_SCALAR) return copy;
    copy->values = reader_new(reader, value->count, sizeof *copy->values);
    for (size_t i = 0; copy->values && i < value->count; i++) {
        const struct document *entry = copy_at(reader, value->values[i], at, depth + 1);
        if (!entry) return NULL;
        copy->values[i] = (struct document *)entry;
    }
    return copy->values ? copy : NULL;
}

/* The name alone, without blanks, into name[]; false when there is more than a name. */
static bool name_alone(const char *text, size_t length, char name[NAME_MOST + 1]) {
    while (length && text[0] == ' ') text++, length--;
    while (length && text[length - 1] == ' ') length--;
    if (!length || length > NAME_MOST || (text[0] >= '0' && text[0] <= '9')) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) return false;
    }
    memcpy(name, text, length);
    name[length] = 0;
    return true;
}

/* The value of what stands between ${ and }. */
static const struct document *evaluate(struct reader *reader, const struct environment *environment, const struct document *scalar,
                                       const char *text, size_t length, int depth) {
    struct lookup lookup = {reader, environment, ""};
    char name[NAME_MOST + 1], written[64];
    if (name_alone(text, length, name)) {
        const struct document *found;
        if (find(environment, name, &found)) return found ? copy_at(reader, found, scalar->at, depth) : NULL;
        unknown(&lookup, name);
        reader_fail(reader, scalar->at, "%s", lookup.why);
        return NULL;
    }
    struct number number;
    if (expression_evaluate(text, length, number_of, &lookup, &number, lookup.why, sizeof lookup.why) < 0) {
        if (lookup.why[0]) reader_fail(reader, scalar->at, "in '${%.*s}': %s", length > 100 ? 100 : (int)length, text, lookup.why);
        return NULL;
    }
    write_number(&number, written, sizeof written);
    return scalar_new(reader, written, scalar->at, false);
}

/* Text with values inside. */
static const struct document *put_text(struct reader *reader, const struct environment *environment, const struct document *scalar) {
    struct text text;
    text_init(&text, reader->from);
    const struct document *made = NULL;
    const char *at = scalar->text;
    for (const char *open; (open = strstr(at, "${"));) {
        const char *close = strchr(open, '}');
        if (!close) {
            reader_fail(reader, scalar->at, "'${' without its '}'");
            goto done;
        }
        const struct document *value = evaluate(reader, environment, scalar, open + 2, (size_t)(close - open) - 2, 0);
        if (!value) goto done;
        if (value->kind != DOCUMENT_SCALAR) {
            reader_fail(reader, scalar->at, "'%.*s' is a list: it cannot stand inside text",
                        (int)(close - open) > 100 ? 100 : (int)(close - open) + 1, open);
            goto done;
        }
        text_add(&text, at, (size_t)(open - at));
        text_put(&text, value->text);
        at = close + 1;
        if (text.length > TEXT_MOST) break;
    }
    text_put(&text, at);
    if (text.failed) reader_memory(reader);
    else if (text.length > TEXT_MOST) reader_fail(reader, scalar->at, "with variables put in this is longer than %d bytes", TEXT_MOST);
    else if (reader_spend(reader, scalar->at, (int64_t)text.length / 4)) made = scalar_new(reader, text.at, scalar->at, false);
done:
    text_free(&text);
    return made;
}

static const struct document *put_scalar(struct reader *reader, const struct environment *environment, const struct document *scalar,
                                         int depth) {
    const char *text = scalar->text, *close = strchr(text, '}');
    if (text[0] == '$' && text[1] == '{' && close && !close[1])
        return evaluate(reader, environment, scalar, text + 2, (size_t)(close - text) - 2, depth);
    return put_text(reader, environment, scalar);
}

static const struct document *put(struct reader *reader, const struct environment *environment, const struct document *value, int depth);

/* Keys may have become equal. */
static bool keys_differ(struct reader *reader, const struct document *mapping) {
    struct map seen;
    map_init(&seen, &reader->scratch);
    for (size_t i = 0; i < mapping->count; i++) {
        int64_t first;
        if (map_get(&seen, mapping->keys[i]->text, &first)) {
            reader_fail(reader, mapping->keys[i]->at, "'%.100s' is given twice: the first is on line %d", mapping->keys[i]->text,
                        mapping->keys[first]->at.line);
            return false;
        }
        if (!reader_set(reader, &seen, mapping->keys[i]->text, (int64_t)i)) return false;
    }
    return true;
}

static const struct document *put_collection(struct reader *reader, const struct environment *environment, const struct document *value,
                                             int depth) {
    bool right = true, keys_vary = false;
    struct document *copy = reader_new(reader, 1, sizeof *copy);
    if (!copy) return NULL;
    *copy = *value, copy->varies = false, copy->size = 1;
    copy->values = reader_new(reader, value->count, sizeof *copy->values);
    if (value->keys) copy->keys = reader_new(reader, value->count, sizeof *copy->keys);
    if (!copy->values || (value->keys && !copy->keys)) return NULL;
    for (size_t i = 0; i < value->count && !reader->stopped; i++) {
        copy->values[i] = (struct document *)put(reader, environment, value->values[i], depth + 1);
        if (value->keys) copy->keys[i] = value->keys[i];
        if (value->keys && value->keys[i]->varies) {
            keys_vary = true;
            const struct document *key = put_text(reader, environment, value->keys[i]);
            copy->keys[i] = (struct document *)key;
            right = right && key;
        }
        right = right && copy->values[i];
        if (copy->values[i] && __builtin_add_overflow(copy->size, copy->values[i]->size + (value->keys != NULL), &copy->size))
            copy->size = INT32_MAX;
    }
    return right && !reader->stopped && (!keys_vary || keys_differ(reader, copy)) ? copy : NULL;
}

static const struct document *put(struct reader *reader, const struct environment *environment, const struct document *value, int depth) {
    if (!value->varies) return value;
    if (!reader_spend(reader, value->at, 16)) return NULL;
    if (depth > DEPTH_MOST) {
        reader_fail(reader, value->at, "lists are nested more than %d deep", DEPTH_MOST);
        return NULL;
    }
    if (value->kind == DOCUMENT_SCALAR) return put_scalar(reader, environment, value, depth);
    return put_collection(reader, environment, value, depth);
}

const struct document *variables_put(struct reader *reader, const struct environment *environment, const struct document *value) {
    return put(reader, environment, value, 0);
}

const char *variables_text(struct reader *reader, const struct environment *environment, const struct document *scalar, const char *what) {
    const struct document *made = variables_put(reader, environment, scalar);
    if (!made) return NULL;
    if (made->kind == DOCUMENT_SCALAR && !document_null(made)) return made->text;
    reader_fail(reader, made->at, "%s is expected here, this is %s", what,
                made->kind == DOCUMENT_SCALAR ? "empty"
                : made->kind == DOCUMENT_LIST ? "a list"
                                              : "a mapping");
    return NULL;
}

const char *variables_key(struct reader *reader, const struct environment *environment, const struct document *key) {
    if (!key->varies) return key->text;
    const struct document *made = put_text(reader, environment, key);
    return made ? made->text : NULL;
}

/* ---- Environments ---- */

static bool variable_name(struct reader *reader, const struct document *key) {
    char name[NAME_MOST + 1];
    size_t length = strlen(key->text);
    if (name_alone(key->text, length, name) && strcmp(name, key->text) == 0) return true;
    reader_fail(reader, key->at, "'%.100s' cannot name a variable: names are made of letters, digits and '_'", key->text);
    return false;
}

/* Every key of `with` must be a variable. */
static void check_with(struct reader *reader, const struct document *with, const struct environment *own, const char *graph) {
    for (size_t i = 0; i < with->count && !reader->stopped; i++) {
        const char *key = with->keys[i]->text;
        if (map_get(&own->names, key, NULL)) continue;
        struct hint hint;
        hint_init(reader, &hint, key);
        for (size_t k = 0; k < own->count; k++) hint_offer(&hint, own->keys[k]);
        if (graph) reader_fail(reader, with->keys[i]->at, "subgraph '%s' has no variable '%.100s'%s", graph, key, hint_text(&hint));
        else reader_fail(reader, with->keys[i]->at, "the graph has no variable '%.100s'%s", key, hint_text(&hint));
    }
}

/* A variable's value: the one given, else its default with variables before it put in. */
static const struct document *value_of(struct reader *reader, const struct environment *made, const struct document *key,
                                       const struct document *fallback, const struct document *with, const struct map *given) {
    int64_t at;
    const struct document *value = map_get(given, key->text, &at) ? with->values[at] : variables_put(reader, made, fallback);
    if (!value || value->kind != DOCUMENT_MAPPING) return value;
    reader_fail(reader, value->at, "variable '%.100s' is a mapping: variables are numbers, text or lists", key->text);
    return NULL;
}

struct environment *variables_new(struct reader *reader, const struct environment *outer, const struct document *index,
                                  const struct document *defaults, const struct document *with, const char *graph) {
    struct environment *made = reader_scratch(reader, 1, sizeof *made);
    if (!made) return NULL;
    made->outer = outer, made->index = index;
    map_init(&made->names, &reader->scratch);
    if (defaults && defaults->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, defaults->at, "'vars' is a mapping from names to values");
        return NULL;
    }
    size_t count = defaults ? defaults->count : 0;
    if (count == 0 && !(with && with->count)) return made;
    struct map given;
    map_init(&given, &reader->scratch);
    for (size_t i = 0; with && i < with->count; i++)
        if (!reader_set(reader, &given, with->keys[i]->text, (int64_t)i)) return NULL;
    made->values = reader_scratch(reader, count, sizeof *made->values);
    made->keys = reader_scratch(reader, count, sizeof *made->keys);
    for (size_t i = 0; made->values && made->keys && i < count && !reader->stopped; i++) {
        const struct document *key = defaults->keys[i];
        if (!variable_name(reader, key)) continue;
        made->values[made->count] = value_of(reader, made, key, defaults->values[i], with, &given);
        made->keys[made->count] = key->text;
        if (!reader_set(reader, &made->names, key->text, (int64_t)made->count++)) return NULL;
    }
    if (with) check_with(reader, with, made, graph);
    return reader->stopped ? NULL : made;
}

/* "name=value", value as in YAML, into a mapping as `with` is one. */
const struct document *variables_settings(struct reader *reader, const struct network_options *options) {
    struct document *with = reader_new(reader, 1, sizeof *with);
    size_t count = options ? options->set_count : 0;
    if (!with) return NULL;
    *with = (struct document){.kind = DOCUMENT_MAPPING, .size = 1, .at = {"--set", 0, 0}};
    with->keys = reader_new(reader, count, sizeof *with->keys);
    with->values = reader_new(reader, count, sizeof *with->values);
    for (size_t i = 0; with->keys && with->values && i < count && !reader->stopped; i++) {
        const char *setting = options->set[i], *equals = strchr(setting, '=');
        if (!equals || !equals[1] || equals == setting) {
            reader_fail_as(reader, FLOW_ERROR_USAGE, with->at, "'%.100s' is not of the form NAME=VALUE", setting);
            continue;
        }
        struct document *value = document_read(reader->arena, "--set", equals + 1, strlen(equals + 1), reader->report);
        char *name = reader_new(reader, (size_t)(equals - setting) + 1, 1);
        if (name) memcpy(name, setting, (size_t)(equals - setting));
        struct document *key = name ? scalar_new(reader, name, with->at, false) : NULL;
        if (!value || !key) {
            reader->stopped = true;
            return NULL;
        }
        with->keys[with->count] = key, with->values[with->count++] = value;
    }
    return reader->stopped || !with->keys || !with->values ? NULL : with;
}
