/* SPDX-License-Identifier: Apache-2.0 */
#include "elementwise/backward.h"

#include "common/adjoint.h"

uint32_t back_reads(int32_t op) {
#define ROW(name, reads, value) [BACK_##name] = reads,
    static const uint8_t table[BACK_COUNT] = {BACK_LIST(ROW)[BACK_WHERE_A] = 1, [BACK_WHERE_B] = 1, [BACK_SIN] = 1, [BACK_COS] = 1};
#undef ROW
    return table[op];
}

void back_plan(struct flow_infer *infer, const struct flow_tensor *to) {
    int64_t bytes = fold_workspace(&infer->out[0], to);
    if (bytes > infer->workspace_backward) infer->workspace_backward = bytes;
}

/* Summed onto a smaller tensor? */
static bool summed(const struct flow_tensor *to, const struct flow_tensor *g) { return shape_count(to) != shape_count(g); }

static void sum_one(const struct flow_call *call, const struct flow_tensor *const in[3], const struct back *back, struct back_work *work,
                    map_kernel kernel) {
    const struct flow_tensor *g = in[0];
    uint32_t reads = back_reads(back->op);
    const struct flow_tensor *of[3] = {g, reads & 1 ? in[1] : g, reads & 2 ? in[2] : g};
    bool plain = back->op == BACK_COPY;
    work->jobs = 1, work->base = NULL, work->held = false;
    work->job[0].op = back->op, work->job[0].add = false, work->job[0].to = NULL;
    fold_run(call, g, back->to, of, plain ? 1 : 3, plain ? NULL : kernel, work, back->add, call->workspace);
}

void back_run(const struct flow_call *call, const struct flow_tensor *u, const struct flow_tensor *v, const struct back *back,
              int32_t count, double k0, double k1) {
    const struct flow_tensor *g = &call->grad_out[0], *in[3] = {g, u, v};
    struct back_work work = {.k = {k0, k1}};
    uint32_t reads = 0;
    const struct flow_tensor *like = NULL;
    if (g->rank < 0) {
        for (int32_t k = 0; k < count; k++) adjoint_zero(call, back[k].to, back[k].add);
        return;
    }
    map_kernel kernel = ISA_PICK(back_table, call->host->isa)->of[g->dtype];
    for (int32_t k = 0; k < count; k++)
        if (back[k].to->rank >= 0 && summed(back[k].to, g)) sum_one(call, in, &back[k], &work, kernel);
    work.jobs = 0, work.held = false, work.base = NULL;
    for (int32_t k = 0; k < count; k++) {
        const struct flow_tensor *to = back[k].to;
        if (to->rank < 0 || summed(to, g)) continue;
        if (back[k].op == BACK_ZERO && back[k].add) continue;
        if (back[k].op == BACK_COPY && !back[k].add && to->data == g->data) continue;
        work.job[work.jobs].op = back[k].op, work.job[work.jobs].add = back[k].add, work.job[work.jobs].to = to->data;
        if (work.jobs == 0) like = to, work.base = to->data;
        if (to->data == g->data) work.held = true;
        reads |= back_reads(back[k].op);
        work.jobs++;
    }
    if (work.jobs == 0) return;
    if (work.jobs == 1) work.held = false;
    struct map map;
    const struct flow_tensor *of[3] = {g, reads & 1 ? u : g, reads & 2 ? v : g};
    const void *data[3] = {of[0]->data, of[1]->data, of[2]->data};
    struct flow_tensor out = *g;
    (void)like;
    map_plan(&map, &out, of, 3, 0.3);
    map_run(&map, call, kernel, &work, data, (void *)(uintptr_t)work.base);
}
