/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of parameters as one long row: parameter after parameter, each a whole number of UNITs, so that pieces of equal work can be
 * handed to threads whatever the parameters' sizes, and no two threads write to one cache line. A small group is walked
 * through directly: a parameter then costs its arithmetic and one call.
 */
#include "optimizer/optimizer.h"

enum {
    UNIT = 64,   /* elements */
    GRAIN = 512, /* units a piece: about 30 us where memory is the limit */
    ZEROS = 512,
    ARRAYS = 8 /* parameter, gradient, states */
};

static const double zeros[ZEROS]; /* a gradient that is not there */

struct spread {
    const struct flow_update *update;
    const struct optimizer_pass *pass;
    const struct optimizer_table *table;
    const int64_t *first; /* unit at which each parameter begins; one more: all units */
};

int64_t optimizer_count(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

int optimizer_accepts(const struct flow_host *host, void *owner, const void *attrs, const struct flow_tensor *param) {
    (void)attrs;
    if (param->dtype == FLOW_F32 || param->dtype == FLOW_F64) return FLOW_OK;
    return host->fail(owner, FLOW_ERROR_TYPE,
                      "an optimiser needs f32 or f64, this parameter has another type (f32 weights with `run: {precision: bf16}` "
                      "give products of 16-bit numbers)");
}

/* Elements [from, to) of parameter i. */
static void run_part(const struct spread *s, uint32_t i, int64_t from, int64_t to) {
    const struct flow_update *u = s->update;
    const struct flow_tensor *param = &u->param[i], *second = s->pass->second ? &s->pass->second[i] : NULL;
    const bool wide = param->dtype == FLOW_F64;
    const int64_t bytes = wide ? 8 : 4;
    const struct optimizer_steps *steps = &s->table->of[wide];
    const optimizer_kernel kernel = *(const optimizer_kernel *)(const void *)((const char *)steps + s->pass->offset);
    void *at[ARRAYS];
    at[0] = (char *)param->data + from * bytes;
    for (uint32_t k = 0; k < s->pass->states; k++) at[2 + k] = (char *)u->state[k * u->count + i].data + from * bytes;
    if (second && second->rank >= 0) {
        at[1] = (char *)second->data + from * bytes;
        kernel(to - from, at, s->pass->constant);
        return;
    }
    at[1] = (void *)(uintptr_t)zeros;
    for (int64_t done = from, some; done < to; done += some) {
        some = to - done < ZEROS ? to - done : ZEROS;
        kernel(some, at, s->pass->constant);
        for (uint32_t k = 0; k < 2 + s->pass->states; k++)
            if (k != 1) at[k] = (char *)at[k] + some * bytes;
    }
}

/* Units [begin, end). */
static void run_piece(void *context, int64_t begin, int64_t end) {
    const struct spread *s = context;
    uint32_t low = 0, high = s->update->count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (s->first[middle] <= begin) low = middle;
        else high = middle;
    }
    for (uint32_t i = low; i < s->update->count && s->first[i] < end; i++) {
        const int64_t count = optimizer_count(&s->update->param[i]);
        const int64_t from = begin > s->first[i] ? (begin - s->first[i]) * UNIT : 0, last = (end - s->first[i]) * UNIT;
        const int64_t to = last < count ? last : count;
        if (from < to) run_part(s, i, from, to);
    }
}

int64_t optimizer_spread_workspace(const struct flow_update *update) { return ((int64_t)update->count + 1) * (int64_t)sizeof(int64_t); }

int optimizer_spread(const struct flow_update *update, const struct optimizer_pass *pass) {
    const struct flow_host *host = update->call->host;
    struct spread s = {.update = update, .pass = pass, .table = ISA_PICK(optimizer_table, host->isa)};
    int64_t *first = update->workspace, units = 0;
    if (host->threads > 1 && first) {
        for (uint32_t i = 0; i < update->count; i++) first[i] = units, units += (optimizer_count(&update->param[i]) + UNIT - 1) / UNIT;
        first[update->count] = units;
        s.first = first;
    }
    if (units >= 2 * GRAIN) {
        host->parallel_for(update->call, units, GRAIN, run_piece, &s);
        return FLOW_OK;
    }
    for (uint32_t i = 0; i < update->count; i++) {
        const int64_t count = optimizer_count(&update->param[i]);
        if (count) run_part(&s, i, 0, count);
    }
    return FLOW_OK;
}
