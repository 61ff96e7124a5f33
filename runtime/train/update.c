/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradients of a group as one long row of UNITs: pieces of equal work whatever the parameters' sizes. A piece leaves its sum and its
 * first broken gradient in the workspace, where they are added up in order. Every gradient begins a unit of its own, so that spans start
 * where blocks of noise do.
 */
#include "train/update.h"
#include "train/update_kernels.h"

#include <common/simd.h>
#include <flow/random.h>

#include <math.h>

ISA_DECLARE(struct update_kernels, update_kernels);

enum {
    UNIT = 64,         /* elements: a multiple of a block of noise */
    GRAIN = 1024,      /* units a piece */
    GRAIN_NOISE = 256, /* the same where numbers are drawn, which costs about four times as much */
    ROWS = 65536       /* elements a piece of centring */
};

struct piece {
    double square;
    int64_t broken;
};

struct work {
    const struct update_pass *pass;
    const struct update_kernels *kernels;
    const int64_t *first; /* unit at which each gradient begins; one more: all units */
    struct piece *pieces;
    int64_t grain;
    bool noise;
};

struct centring {
    const struct update_kernels *kernels;
    const struct flow_tensor *grad;
    int64_t width;
};

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

static int64_t units_of(const struct flow_tensor *t) { return (elements(t) + UNIT - 1) / UNIT; }

static double span(const struct work *w, uint32_t i, int64_t from, int64_t to) {
    const struct flow_tensor *grad = &w->pass->grad[i];
    const bool wide = grad->dtype == FLOW_F64;
    void *at = (char *)grad->data + from * (wide ? 8 : 4);
    if (!w->noise) return w->kernels->scale[wide](to - from, at, w->pass->scale);
    const struct update_noise *noise = w->pass->noise;
    const struct update_draw draw = {noise->key[i], (uint64_t)noise->step, (uint64_t)(from / 32), (float)(-2 * noise->variance)};
    return w->kernels->noise[wide](to - from, at, w->pass->scale, &draw);
}

/* A sum that is not finite: of f32 it was partly added up in f32, and is made anew in f64, where it cannot overflow; of f64 it may have
 * overflowed without harm. */
static bool is_broken(const struct work *w, uint32_t i, int64_t from, int64_t to, double *square) {
    if (isfinite(*square)) return false;
    const struct flow_tensor *grad = &w->pass->grad[i];
    if (grad->dtype == FLOW_F64) return !w->kernels->finite(to - from, (const double *)grad->data + from);
    *square = w->kernels->scale[0](to - from, (float *)grad->data + from, 1);
    return !isfinite(*square);
}

static void run_piece(void *context, int64_t begin, int64_t end) {
    const struct work *w = context;
    const uint32_t count = w->pass->count;
    uint32_t low = 0, high = count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (w->first[middle] <= begin) low = middle;
        else high = middle;
    }
    struct piece piece = {0, -1};
    for (uint32_t i = low; i < count && w->first[i] < end; i++) {
        const int64_t all = elements(&w->pass->grad[i]), last = (end - w->first[i]) * UNIT;
        const int64_t from = begin > w->first[i] ? (begin - w->first[i]) * UNIT : 0, to = last < all ? last : all;
        if (from >= to) continue;
        double square = span(w, i, from, to);
        if (is_broken(w, i, from, to, &square) && piece.broken < 0) piece.broken = (int64_t)i;
        piece.square += square;
    }
    w->pieces[begin / w->grain] = piece;
}

static void centre_piece(void *context, int64_t begin, int64_t end) {
    const struct centring *c = context;
    const bool wide = c->grad->dtype == FLOW_F64;
    c->kernels->centre[wide](end - begin, c->width, (char *)c->grad->data + begin * c->width * (wide ? 8 : 4));
}

/* Taking the mean away commutes with scaling. */
static void centralize(const struct update_pass *pass, const struct update_kernels *kernels) {
    for (uint32_t i = 0; i < pass->count; i++) {
        const struct flow_tensor *grad = &pass->grad[i];
        const int64_t count = elements(grad);
        if (grad->rank < 2 || count == 0) continue;
        struct centring c = {kernels, grad, count / grad->shape[0]};
        pass->call->host->parallel_for(pass->call, grad->shape[0], ROWS / c.width + 1, centre_piece, &c);
    }
}

int64_t update_workspace(uint32_t count, const struct flow_tensor *grad) {
    int64_t units = 0;
    for (uint32_t i = 0; i < count; i++) units += units_of(&grad[i]);
    return ((int64_t)count + 1) * (int64_t)sizeof(int64_t) + (units / GRAIN_NOISE + 1) * (int64_t)sizeof(struct piece);
}

void update_prepare(const struct update_pass *pass, struct update_sum *sum) {
    const struct flow_host *host = pass->call->host;
    struct work w = {.pass = pass, .kernels = ISA_PICK(update_kernels, host->isa)};
    int64_t *first = pass->workspace, units = 0;
    *sum = (struct update_sum){0, -1};
    for (uint32_t i = 0; i < pass->count; i++) first[i] = units, units += units_of(&pass->grad[i]);
    first[pass->count] = units;
    w.first = first, w.pieces = (struct piece *)(void *)(first + pass->count + 1);
    w.noise = pass->noise && pass->noise->variance > 0;
    w.grain = w.noise ? GRAIN_NOISE : GRAIN;
    if (pass->centralize) centralize(pass, w.kernels);
    host->parallel_for(pass->call, units, w.grain, run_piece, &w);
    for (int64_t i = 0; i * w.grain < units; i++) {
        sum->square += w.pieces[i].square;
        if (sum->broken < 0) sum->broken = w.pieces[i].broken;
    }
}

double update_clip(double limit, double square) {
    if (!(limit > 0)) return 1;
    const double factor = limit / (sqrt(square) + 1e-6);
    return factor < 1 ? factor : 1;
}

uint64_t update_noise_key(uint64_t seed, const char *name) { return flow_key(flow_key(seed, "gradient noise"), name); }

double update_noise_variance(double eta, double gamma, int64_t step) { return eta / pow(1 + (double)step, gamma); }
