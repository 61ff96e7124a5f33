/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs with open symbols: inferred with several sets of sample extents. An
 * error that all sets give, at the same place, is an error of the graph; a
 * shape is told in terms of symbols by the numbers that it takes over the sets.
 * Set A (many divisors, long) passes whatever divides or needs length, set B
 * (primes) shows what a coincidence of A's would hide, set C (small) what
 * overflows in both.
 */
#include "graph/instance_build.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETS = 4, SYMBOLS_MOST = 4096 };

static const int32_t small_primes[] = {11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71};
enum { PRIMES = sizeof small_primes / sizeof small_primes[0] };

/* The symbols of the graph's inputs, in order of appearance, and their extents
 * in each set. */
struct samples {
    const struct allocator *from;
    struct arena arena;
    struct map known;
    const char **names;
    int64_t *extents[SETS]; /* [set][symbol] */
    size_t count;
    struct flow_tensor *inputs; /* of the set in hand */
};

static bool is_prime(int64_t n) {
    for (int64_t d = 2; d * d <= n; d++)
        if (n % d == 0) return false;
    return n > 1;
}

static int64_t next_prime(int64_t n) {
    do n++;
    while (!is_prime(n));
    return n;
}

static int collect_symbols(struct samples *samples, const struct network *network) {
    size_t most = 0;
    for (size_t i = 0; i < network->input_count; i++) most += network->inputs[i].rank > 0 ? (size_t)network->inputs[i].rank : 0;
    if (!(samples->names = arena_array(&samples->arena, most, sizeof *samples->names))) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < network->input_count; i++)
        for (int32_t axis = 0; axis < network->inputs[i].rank; axis++) {
            const struct document *extent = network->inputs[i].extents[axis];
            int64_t number;
            if (build_scalar_int(extent, &number) || !build_is_symbol(extent->text) || map_get(&samples->known, extent->text, NULL))
                continue;
            if (map_set(&samples->known, extent->text, (int64_t)samples->count) < 0) return FLOW_ERROR_MEMORY;
            samples->names[samples->count++] = extent->text;
        }
    return 0;
}

/* For checking: A, B, C and a second A. For telling shapes: four times A, whose
 * symbols vary independently. */
static int choose_extents(struct samples *samples, bool telling) {
    enum { LONG = 7680 }; /* 2^9 * 3 * 5 */
    int64_t prime = 1000;
    for (int set = 0; set < SETS; set++) {
        if (!(samples->extents[set] = arena_array(&samples->arena, samples->count, sizeof **samples->extents))) return FLOW_ERROR_MEMORY;
        for (size_t i = 0; i < samples->count; i++) {
            int64_t *extent = &samples->extents[set][i], k = (int64_t)i;
            size_t turn = (i * 5 + (size_t)set * (3 + i)) % PRIMES;
            if (telling || set == 0 || set == 3)
                *extent = LONG * (i < PRIMES ? (telling || set ? small_primes[turn] : small_primes[i]) : small_primes[turn] + 64 * k);
            else *extent = set == 1 ? (prime = k < SYMBOLS_MOST ? next_prime(prime) : prime + 2) : 64 * (k + 1);
        }
    }
    return 0;
}

static int samples_init(struct samples *samples, const struct allocator *from, const struct network *network, bool telling) {
    *samples = (struct samples){.from = from};
    arena_init(&samples->arena, from);
    map_init(&samples->known, &samples->arena);
    if (collect_symbols(samples, network) < 0 || choose_extents(samples, telling) < 0) return FLOW_ERROR_MEMORY;
    samples->inputs = arena_array(&samples->arena, network->input_count, sizeof *samples->inputs);
    return samples->inputs ? 0 : FLOW_ERROR_MEMORY;
}

static int sample_lookup(const struct samples *samples, int set, const char *name, int64_t *extent) {
    int64_t index;
    if (!map_get(&samples->known, name, &index)) return 0;
    *extent = samples->extents[set][index];
    return 1;
}

struct lookup {
    const struct samples *samples;
    int set;
};

static int lookup_symbol(void *context, const char *name, size_t length, struct number *value) {
    const struct lookup *lookup = context;
    char word[256];
    int64_t extent;
    if (length >= sizeof word) return 0;
    memcpy(word, name, length);
    word[length] = 0;
    if (!sample_lookup(lookup->samples, lookup->set, word, &extent)) return 0;
    *value = (struct number){.i = extent, .r = (double)extent};
    return 1;
}

/* The graph's inputs with a set's extents. What cannot be evaluated gets extent
 * 0 and is an error of the build that follows. */
static void sample_inputs(struct samples *samples, const struct network *network, int set, int32_t precision) {
    for (size_t i = 0; i < network->input_count; i++) {
        const struct network_input *input = &network->inputs[i];
        struct flow_tensor *type = &samples->inputs[i];
        struct lookup lookup = {samples, set};
        *type = (struct flow_tensor){.dtype = input->dtype, .rank = input->rank};
        if (type->dtype == FLOW_F32 || type->dtype < 0) type->dtype = precision == FLOW_F64 ? FLOW_F64 : FLOW_F32;
        for (int32_t axis = 0; axis < input->rank && axis < FLOW_RANK_MAX; axis++) {
            const struct document *extent = input->extents[axis];
            struct number number;
            char why[128];
            if (build_scalar_int(extent, &type->shape[axis])) continue;
            int status = expression_evaluate(extent->text, strlen(extent->text), lookup_symbol, &lookup, &number, why, sizeof why);
            type->shape[axis] = status == 0 && !number.real ? number.i : 0;
        }
    }
}

/* ---- An amount in terms of symbols ---- */

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t r = a % b;
        a = b, b = r;
    }
    return a < 0 ? -a : a;
}

/* Writes "a*S/b + c" with what is neutral left out. */
static void put_term(struct text *out, int64_t a, const char *symbol, const char *second, int64_t b, int64_t c) {
    if (a == -1) text_put(out, "-");
    else if (a != 1) text_format(out, "%lld*", (long long)a);
    text_put(out, symbol);
    if (second) text_format(out, "*%s", second);
    if (b != 1) text_format(out, "/%lld", (long long)b);
    if (c > 0) text_format(out, " + %lld", (long long)c);
    if (c < 0) text_format(out, " - %lld", (long long)-c);
}

/* amount = a*S/b + c in every set? */
static bool tell_linear(const struct samples *samples, const int64_t amount[SETS], size_t i, struct text *out) {
    int64_t dx = samples->extents[1][i] - samples->extents[0][i], dy = amount[1] - amount[0], offset = 0;
    if (dx == 0 || dy == 0) return false;
    int64_t divisor = gcd(dx, dy), a = dy / divisor, b = dx / divisor;
    if (b < 0) a = -a, b = -b;
    for (int set = 0; set < SETS; set++) {
        int64_t scaled, x = samples->extents[set][i];
        if (!size_multiply(a, x, &scaled) || scaled % b != 0) return false;
        if (set == 0) offset = amount[0] - scaled / b;
        else if (scaled / b + offset != amount[set]) return false;
    }
    if (b > 1 << 20 || a > 1 << 20 || a < -(1 << 20)) return false;
    put_term(out, a, samples->names[i], NULL, b, offset);
    return true;
}

/* amount = a*S*U/b in every set? Rationals are compared crosswise. */
static bool tell_product(const struct samples *samples, const int64_t amount[SETS], size_t i, size_t k, struct text *out) {
    int64_t a = 0, b = 0;
    for (int set = 0; set < SETS; set++) {
        int64_t product, left, right;
        if (!size_multiply(samples->extents[set][i], samples->extents[set][k], &product) || amount[set] <= 0) return false;
        if (set == 0) {
            int64_t divisor = gcd(product, amount[0]);
            a = amount[0] / divisor, b = product / divisor;
        }
        if (!size_multiply(amount[set], b, &left) || !size_multiply(product, a, &right) || left != right) return false;
    }
    if (b > 1 << 20 || a > 1 << 20) return false;
    put_term(out, a, samples->names[i], samples->names[k], b, 0);
    return true;
}

static bool tell_sum(const struct samples *samples, const int64_t amount[SETS], size_t i, size_t k, struct text *out) {
    int64_t offset = amount[0] - samples->extents[0][i] - samples->extents[0][k];
    for (int set = 1; set < SETS; set++)
        if (samples->extents[set][i] + samples->extents[set][k] + offset != amount[set]) return false;
    text_format(out, "%s + ", samples->names[i]);
    put_term(out, 1, samples->names[k], NULL, 1, offset);
    return true;
}

/* The first form that holds in all sets: a number, a symbol, a*S/b + c,
 * a*S*U/b, S + U + c; "?" when none does. */
static bool tell_amount(const struct samples *samples, const int64_t amount[SETS], struct text *out) {
    enum { MOST = 64 }; /* pairs are tried one by one */
    bool constant = true;
    size_t count = samples->count < MOST ? samples->count : MOST;
    for (int set = 1; set < SETS; set++) constant = constant && amount[set] == amount[0];
    if (constant) {
        text_format(out, "%lld", (long long)amount[0]);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        if (tell_linear(samples, amount, i, out)) return true;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i; k < count; k++)
            if (tell_product(samples, amount, i, k, out) || (k != i && tell_sum(samples, amount, i, k, out))) return true;
    text_put(out, "?");
    return false;
}

/* ---- Messages ---- */

static bool same_place(struct position a, struct position b) {
    if (a.line != b.line || a.column != b.column) return false;
    return a.file == b.file || (a.file && b.file && strcmp(a.file, b.file) == 0);
}

/* Errors at one place are matched in order: the n-th there of each set. */
static const struct report_message *like_message(const struct report_message *message, const struct report *there, int turn) {
    for (const struct report_message *m = there->first; m; m = m->next)
        if (same_place(m->at, message->at) && turn-- == 0) return m;
    return NULL;
}

static const char *find_number(const char *text, const char **end) {
    for (const char *at = text; *at; at++) {
        if (!isdigit((unsigned char)*at)) continue;
        bool inside = at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_' || at[-1] == '.');
        const char *stop = at;
        while (isdigit((unsigned char)*stop)) stop++;
        bool goes_on = isalpha((unsigned char)*stop) || *stop == '_' || (*stop == '.' && isdigit((unsigned char)stop[1]));
        if (!inside && !goes_on && stop - at <= 18) {
            *end = stop;
            return at;
        }
        at = stop - 1;
    }
    return NULL;
}

/* Copies set A's message, numbers that are a symbol's sample extent replaced by
 * its name. */
static void name_symbols(const struct samples *samples, const char *message, struct text *out) {
    const char *at = message, *number, *end;
    while ((number = find_number(at, &end))) {
        int64_t value = strtoll(number, NULL, 10);
        size_t symbol = 0;
        while (symbol < samples->count && samples->extents[0][symbol] != value) symbol++;
        text_add(out, at, (size_t)(number - at));
        if (symbol < samples->count) text_put(out, samples->names[symbol]);
        else text_add(out, number, (size_t)(end - number));
        at = end;
    }
    text_put(out, at);
}

/* ---- Checking ---- */

/* One set: the whole graph, or its first piece and its last one. */
static int infer_set(struct samples *samples, const struct network *network, const struct instance_options *options, int set,
                     struct report *report) {
    struct instance_options sampled = *options;
    struct instance *first = NULL, *last = NULL;
    sample_inputs(samples, network, set, options->precision);
    sampled.inputs = samples->inputs, sampled.first = options->stream != NULL, sampled.flush = false, sampled.before = NULL;
    int status = instance_new(samples->from, network, &sampled, report, &first);
    if (status == 0 && options->stream) {
        sampled.first = false, sampled.flush = true, sampled.before = first;
        status = instance_new(samples->from, network, &sampled, report, &last);
    }
    instance_free(last);
    instance_free(first);
    return status;
}

static int report_common(struct samples *samples, struct report *sets, struct report *report) {
    const struct report_message *before = NULL;
    int turn = 0, result = 0;
    for (const struct report_message *message = sets[0].first; message; message = message->next) {
        bool common = true;
        turn = before && same_place(before->at, message->at) ? turn + 1 : 0;
        before = message;
        for (int set = 1; set < SETS; set++) common = common && like_message(message, &sets[set], turn);
        if (!common) continue;
        struct text text;
        text_init(&text, samples->from);
        name_symbols(samples, message->text, &text);
        result = report_add(report, message->code, message->at, "%s", text.failed || !text.at ? message->text : text.at);
        text_free(&text);
    }
    return result;
}

/* No set streams, for different reasons: that an operator cannot is true of all extents. */
static int report_unsupported(struct samples *samples, const struct report *sets, int count, struct report *report) {
    for (int set = 0; set < count; set++)
        for (const struct report_message *message = sets[set].first; message; message = message->next) {
            if (message->code != FLOW_ERROR_UNSUPPORTED) continue;
            struct text text;
            text_init(&text, samples->from);
            if (set == 0) name_symbols(samples, message->text, &text);
            int result = report_add(report, message->code, message->at, "%s", text.failed || !text.at ? message->text : text.at);
            text_free(&text);
            return result;
        }
    return 0;
}

int instance_check(const struct allocator *from, const struct network *network, const struct instance_options *options,
                   struct report *report) {
    struct samples samples;
    struct report sets[SETS];
    int done = 0, status = samples_init(&samples, from, network, false);
    bool wrong = status == 0, no_memory = status < 0;
    int count = samples.count ? SETS : 1; /* nothing is open: one set says all */
    for (; done < count && wrong && !no_memory; done++) {
        report_init(&sets[done], from);
        status = infer_set(&samples, network, options, done, &sets[done]);
        wrong = status < 0;
        no_memory = status == FLOW_ERROR_MEMORY || sets[done].incomplete;
    }
    int result = 0;
    if (no_memory) {
        result = report_memory(report);
    } else if (wrong) {
        for (int set = done; set < SETS; set++) sets[set] = sets[0];
        result = report_common(&samples, sets, report);
        if (result == 0 && options->stream) result = report_unsupported(&samples, sets, done, report);
        /* Nothing in common, and yet no set passes: or the graph was found wrong
         * before. */
        if (result == 0 && sets[0].first == NULL) result = FLOW_ERROR_GRAPH;
    }
    for (int set = 0; set < done; set++) report_free(&sets[set]);
    arena_free(&samples.arena);
    return result;
}

/* ---- Telling shapes ---- */

static void put_plain(const struct flow_tensor *type, struct text *out) {
    char words[EXTENTS_TEXT];
    text_put(out, extents_text(words, -1, type));
}

static void tell_shape(const struct samples *samples, struct instance *const *made, int32_t value, struct text *out) {
    const struct flow_tensor *first = &made[0]->values[value].type;
    text_put(out, "[");
    for (int32_t axis = 0; axis < first->rank; axis++) {
        int64_t amount[SETS];
        for (int set = 0; set < SETS; set++) amount[set] = made[set]->values[value].type.shape[axis];
        if (axis) text_put(out, ", ");
        tell_amount(samples, amount, out);
    }
    text_put(out, "]");
}

struct instance_samples {
    const struct allocator *from;
    struct samples samples;
    struct instance *made[SETS];
    bool complete;
    bool borrowed; /* the bodies of another's */
};

int instance_samples_new(const struct allocator *from, const struct network *network, const struct instance_options *options,
                         struct instance_samples **out) {
    struct instance_samples *all = *out = memory_new(from, sizeof *all);
    if (!all) return FLOW_ERROR_MEMORY;
    all->from = from;
    int status = samples_init(&all->samples, from, network, true);
    all->complete = status == 0 && all->samples.count > 0;
    for (int set = 0; set < SETS && all->complete; set++) {
        struct instance_options sampled = *options;
        struct report quiet;
        sample_inputs(&all->samples, network, set, options->precision);
        sampled.inputs = all->samples.inputs, sampled.before = NULL, sampled.first = options->stream != NULL;
        report_init(&quiet, from);
        int made = instance_new(from, network, &sampled, &quiet, &all->made[set]);
        if (made == FLOW_ERROR_MEMORY || quiet.incomplete) status = FLOW_ERROR_MEMORY;
        report_free(&quiet);
        all->complete = made == 0;
    }
    if (status < 0) {
        instance_samples_free(all);
        *out = NULL;
    }
    return status;
}

void instance_samples_free(struct instance_samples *all) {
    if (!all) return;
    for (int set = 0; set < SETS && !all->borrowed; set++) instance_free(all->made[set]);
    if (!all->borrowed) arena_free(&all->samples.arena);
    memory_free(all->from, all, sizeof *all);
}

int instance_samples_body(const struct instance_samples *all, size_t node, struct instance_samples **out) {
    struct instance_samples *body = *out = memory_new(all->from, sizeof *body);
    if (!body) return FLOW_ERROR_MEMORY;
    *body = *all;
    body->borrowed = true;
    for (int set = 0; set < SETS && all->complete; set++) {
        body->made[set] = node < all->made[set]->node_count ? all->made[set]->nodes[node].body : NULL;
        body->complete = body->complete && body->made[set];
    }
    return 0;
}

void instance_samples_shape(const struct instance_samples *all, const struct instance *instance, int32_t value, struct text *out) {
    if (value < 0 || (size_t)value >= instance->value_count) return;
    bool told = all->complete;
    for (int set = 0; set < SETS && told; set++)
        told = all->made[set]->value_count == instance->value_count &&
               all->made[set]->values[value].type.rank == instance->values[value].type.rank;
    if (told) tell_shape(&all->samples, all->made, value, out);
    else put_plain(&instance->values[value].type, out);
}

int instance_symbols(const struct allocator *from, const struct network *network, const struct instance_options *options,
                     const struct instance *instance, int32_t value, struct text *out) {
    struct instance_samples *all;
    int status = instance_samples_new(from, network, options, &all);
    if (status < 0) return status;
    instance_samples_shape(all, instance, value, out);
    instance_samples_free(all);
    return out->failed ? FLOW_ERROR_MEMORY : 0;
}
