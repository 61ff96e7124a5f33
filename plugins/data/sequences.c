/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sequences: what each user chose, in order, from lines `user item`. Users and items with few events are left out, again and again until
 * none is. The last item of each user is for the test, the one before it for validation, the rest for training. Items are 1 .. C, in order
 * of first appearance; 0 is padding, C+1 the mask.
 */
#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, HELD_OUT = 2 };

struct sequences_attrs {
    int64_t length;
    int32_t split;
    int64_t min_events, min_item_events;
    bool renumber;
    int64_t mask_id;
    bool popularity;
};

struct sequences {
    int64_t users, items, mask; /* items: the largest number */
    int64_t *starts;            /* [users + 1] */
    int64_t *events;            /* items, user by user */
    int64_t *popularity;        /* [items + 2], or NULL */
};

static const struct flow_port outputs[] = {
    {"items", "the last items of a user's history, zeros behind them; for validation and test the mask follows the history", "B length",
     FLOW_TYPE(I64), 0},
    {"place_of_mask", "validation and test: where the mask stands", "B", FLOW_TYPE(I64), FLOW_OPTIONAL},
    {"target", "validation and test: the item that came next", "B", FLOW_TYPE(I64), FLOW_OPTIONAL},
    {"popularity", "with `popularity`: how often each number comes in the training parts", "V", FLOW_TYPE(I64), FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct sequences_attrs, length, "items in a row", FLOW_REQUIRED, 1, 1 << 20),
    FLOW_ATTR_CHOICES(struct sequences_attrs, split, "which part is given", "train", "train|valid|test"),
    FLOW_ATTR(struct sequences_attrs, min_events, "users with fewer events are left out", "1", 1, 1 << 30),
    FLOW_ATTR(struct sequences_attrs, min_item_events, "items with fewer events are left out", "1", 1, 1 << 30),
    FLOW_ATTR_PLAIN(struct sequences_attrs, renumber, "number items 1 .. C in order of first appearance; false: as in the file", "true"),
    FLOW_ATTR(struct sequences_attrs, mask_id, "number of the mask; absent: one more than the largest item", FLOW_ABSENT, 0, 1LL << 40),
    FLOW_ATTR_PLAIN(struct sequences_attrs, popularity, "also give how often each item comes", "false"),
};

/* The file while it is being read; malloc's. */
struct reading {
    const struct flow_source_open *open;
    char *text;
    int64_t count;
    int64_t *users, *items; /* of each event: first as in the file, then dense numbers in order of size */
    int64_t *user_values, *item_values;
    int64_t user_count, item_count;
    bool *alive;
};

static void reading_free(struct reading *r) {
    free(r->text), free(r->users), free(r->items), free(r->user_values), free(r->item_values), free(r->alive);
}

static int no_memory(const struct reading *r) { return data_wrong(r->open, FLOW_ERROR_MEMORY, "out of memory"); }

static int wrong_line(const struct reading *r, int64_t line, const char *at) {
    return data_wrong(r->open, FLOW_ERROR_FORMAT, "%s:%lld: '%.*s': expected `user item`, two whole numbers that are not negative",
                      r->open->path, (long long)line, (int)strcspn(at, "\r\n") > 40 ? 40 : (int)strcspn(at, "\r\n"), at);
}

static const char *take_number(const char *at, int64_t *value) {
    char *end;
    at += strspn(at, " \t,");
    errno = 0;
    *value = *at >= '0' && *at <= '9' ? strtoll(at, &end, 10) : -1;
    return *value >= 0 && !errno ? end : NULL;
}

static int read_lines(struct reading *r) {
    int64_t size, room = 1, line = 1;
    int status = data_read_whole(r->open, r->open->path, &r->text, &size);
    if (status < 0) return status;
    for (int64_t i = 0; i < size; i++) room += r->text[i] == '\n';
    r->users = calloc((size_t)room, sizeof *r->users), r->items = calloc((size_t)room, sizeof *r->items);
    r->alive = malloc((size_t)room);
    if (!r->users || !r->items || !r->alive) return no_memory(r);
    for (const char *at = r->text, *start; at < r->text + size; line++) {
        start = at;
        at += strspn(at, " \t");
        if (*at != '\n' && *at != '\r') {
            const char *next = take_number(at, &r->users[r->count]);
            if (next) next = take_number(next, &r->items[r->count]);
            if (next) next += strspn(next, " \t\r");
            if (!next || (*next != '\n' && next != r->text + size)) return wrong_line(r, line, start); /* a zero byte, too */
            r->alive[r->count++] = true;
            at = next;
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
        if (at == start) return wrong_line(r, line, start); /* a zero byte */
    }
    return FLOW_OK;
}

static int compare_numbers(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Replaces numbers by their places among the different ones. */
static int make_dense(const struct reading *r, int64_t *numbers, int64_t **values, int64_t *count) {
    *values = malloc((size_t)r->count * sizeof **values + 1), *count = 0;
    if (!*values) return no_memory(r);
    memcpy(*values, numbers, (size_t)r->count * sizeof **values);
    qsort(*values, (size_t)r->count, sizeof **values, compare_numbers);
    for (int64_t i = 0; i < r->count; i++)
        if (!*count || (*values)[*count - 1] != (*values)[i]) (*values)[(*count)++] = (*values)[i];
    for (int64_t i = 0; i < r->count; i++)
        numbers[i] = (const int64_t *)bsearch(&numbers[i], *values, (size_t)*count, sizeof **values, compare_numbers) - *values;
    return FLOW_OK;
}

/* Leaves out events of users and items that have few, until none has. */
static int leave_out(struct reading *r, int64_t min_user, int64_t min_item) {
    int64_t *users = malloc((size_t)r->user_count * sizeof *users + 1), *items = malloc((size_t)r->item_count * sizeof *items + 1);
    int status = users && items ? FLOW_OK : no_memory(r);
    for (bool changed = true; status == FLOW_OK && changed;) {
        changed = false;
        memset(users, 0, (size_t)r->user_count * sizeof *users), memset(items, 0, (size_t)r->item_count * sizeof *items);
        for (int64_t i = 0; i < r->count; i++)
            if (r->alive[i]) users[r->users[i]]++, items[r->items[i]]++;
        for (int64_t i = 0; i < r->count; i++)
            if (r->alive[i] && (users[r->users[i]] < min_user || items[r->items[i]] < min_item)) r->alive[i] = false, changed = true;
    }
    free(users), free(items);
    return status;
}

/* Users and items that are left get their numbers, in order of first appearance; events are put user by user. */
static int arrange(const struct reading *r, struct sequences *s, bool renumber) {
    int64_t *user = malloc((size_t)r->user_count * sizeof *user + 1), *item = malloc((size_t)r->item_count * sizeof *item + 1);
    int64_t left = 0;
    int status = user && item ? FLOW_OK : no_memory(r);
    for (int64_t i = 0; status == FLOW_OK && i < r->user_count; i++) user[i] = -1;
    for (int64_t i = 0; status == FLOW_OK && i < r->item_count; i++) item[i] = -1;
    for (int64_t i = 0; status == FLOW_OK && i < r->count; i++) {
        if (!r->alive[i]) continue;
        if (user[r->users[i]] < 0) user[r->users[i]] = s->users++;
        if (item[r->items[i]] < 0) {
            const int64_t number = renumber ? s->items + 1 : r->item_values[r->items[i]];
            item[r->items[i]] = number;
            if (number > s->items) s->items = number;
        }
        left++;
    }
    s->starts = status == FLOW_OK ? data_memory(r->open, s->users + 2, sizeof *s->starts) : NULL;
    s->events = status == FLOW_OK ? data_memory(r->open, left, sizeof *s->events) : NULL;
    if (!s->starts || !s->events) status = FLOW_ERROR_MEMORY;
    for (int64_t i = 0; status == FLOW_OK && i < r->count; i++)
        if (r->alive[i]) s->starts[user[r->users[i]] + 2]++;
    for (int64_t u = 2; status == FLOW_OK && u < s->users + 2; u++) s->starts[u] += s->starts[u - 1];
    for (int64_t i = 0; status == FLOW_OK && i < r->count; i++)
        if (r->alive[i]) s->events[s->starts[user[r->users[i]] + 1]++] = item[r->items[i]];
    free(user), free(item);
    return status;
}

/* Validation and test: users with too few events for it are left out of the rows. */
static void keep_long_users(struct sequences *s, int64_t least) {
    int64_t users = 0, end = 0;
    for (int64_t u = 0; u < s->users; u++) {
        const int64_t first = s->starts[u], count = s->starts[u + 1] - first;
        if (count < least) continue;
        memmove(s->events + end, s->events + first, (size_t)count * sizeof *s->events);
        s->starts[users++] = end;
        end += count;
    }
    s->starts[users] = end, s->users = users;
}

static int64_t training_part(int64_t count) { return count > HELD_OUT ? count - HELD_OUT : count; }

static int count_popularity(struct flow_source_open *open, struct sequences *s) {
    if (s->items > 1LL << 32) return data_wrong(open, FLOW_ERROR_RANGE, "items up to %lld: too many to count each", (long long)s->items);
    s->popularity = data_memory(open, s->items + 2, sizeof *s->popularity);
    if (!s->popularity) return FLOW_ERROR_MEMORY;
    for (int64_t u = 0; u < s->users; u++)
        for (int64_t i = 0; i < training_part(s->starts[u + 1] - s->starts[u]); i++) s->popularity[s->events[s->starts[u] + i]]++;
    return FLOW_OK;
}

static int declare(struct flow_source_open *open, const struct sequences *s) {
    const struct sequences_attrs *a = open->attrs;
    int status = data_output(open, "items", FLOW_I64, 1, &a->length);
    if (status == FLOW_OK && a->split != SPLIT_TRAIN) status = data_output(open, "place_of_mask", FLOW_I64, 0, NULL);
    if (status == FLOW_OK && a->split != SPLIT_TRAIN) status = data_output(open, "target", FLOW_I64, 0, NULL);
    if (status < 0 || !s->popularity) return status;
    return open->host->output(open->owner, "popularity", FLOW_I64, 1, (const int64_t[]){s->items + 2}, true);
}

static int open_source(struct flow_source_open *open) {
    const struct sequences_attrs *a = open->attrs;
    struct sequences *s = data_memory(open, 1, sizeof *s);
    struct reading r = {.open = open};
    if (!s) return FLOW_ERROR_MEMORY;
    open->state = s;
    int status = read_lines(&r);
    if (status == FLOW_OK) status = make_dense(&r, r.users, &r.user_values, &r.user_count);
    if (status == FLOW_OK) status = make_dense(&r, r.items, &r.item_values, &r.item_count);
    if (status == FLOW_OK) status = leave_out(&r, a->min_events, a->min_item_events);
    if (status == FLOW_OK) status = arrange(&r, s, a->renumber);
    reading_free(&r);
    if (status < 0) return status;
    if (a->popularity && (status = count_popularity(open, s)) < 0) return status;
    s->mask = a->mask_id == FLOW_INT_ABSENT ? s->items + 1 : a->mask_id;
    keep_long_users(s, a->split == SPLIT_TRAIN ? 1 : HELD_OUT + 1);
    open->rows = s->users;
    return declare(open, s);
}

static void fill_user(const struct sequences *s, const struct sequences_attrs *a, int64_t user, int64_t *to, int64_t *place,
                      int64_t *target) {
    const int64_t *events = s->events + s->starts[user], count = s->starts[user + 1] - s->starts[user];
    const bool masked = a->split != SPLIT_TRAIN;
    const int64_t history = training_part(count) + (a->split == SPLIT_TEST), room = a->length - masked;
    const int64_t kept = history < room ? history : room;
    memcpy(to, events + history - kept, (size_t)kept * sizeof *to);
    memset(to + kept, 0, (size_t)(a->length - kept) * sizeof *to);
    if (!masked) return;
    to[kept] = s->mask, *place = kept, *target = events[history];
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct sequences_attrs *a = fill->attrs;
    const struct sequences *s = fill->state;
    const bool masked = a->split != SPLIT_TRAIN;
    for (int64_t i = 0; i < fill->count; i++)
        fill_user(s, a, fill->rows[i], (int64_t *)fill->out[0].data + i * a->length, masked ? (int64_t *)fill->out[1].data + i : NULL,
                  masked ? (int64_t *)fill->out[2].data + i : NULL);
    if (s->popularity) memcpy(fill->out[masked ? 3 : 1].data, s->popularity, (size_t)(s->items + 2) * sizeof *s->popularity);
    return FLOW_OK;
}

const struct flow_source data_sequences = {
    .size = sizeof data_sequences,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "sequences",
    .summary = "each user's items in order, the last ones held out",
    .reference = "Kang, McAuley, Self-attentive sequential recommendation (ICDM 2018), section IV.A: leave-one-out",
    .example =
        "train: {source: sequences, path: beauty.txt, with: {length: 20, min_events: 5, min_item_events: 10, batch: 128, shuffle: true}, "
        "feeds: {items: items}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct sequences_attrs),
    .open = open_source,
    .fill = fill_source,
};
