/* SPDX-License-Identifier: Apache-2.0 */
/* Round one call of a checked context: what it reads is the same afterwards, what it writes is written wholly, and NaN does not come from
 * nowhere. */
#include "exec/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { READ_LISTS = CHECKED_OUT, LISTS = CHECKED_STATE_OUT + 1 };

/* By list and index in it: what was read, as a sum; what was poisoned. `finite`: all that was read. */
struct checked {
    uint32_t counts[LISTS];
    uint64_t *sums[READ_LISTS];
    bool *still[READ_LISTS]; /* must not change */
    bool *fresh[LISTS];
    bool finite;
};

static bool is_backward(const struct record *record) { return record->step->kind == PLAN_BACKWARD; }

static bool is_operator(const struct record *record) { return record->step->kind == PLAN_KERNEL || is_backward(record); }

static const struct flow_tensor *tensor_at(const struct record *record, enum checked_list list, uint32_t i) {
    const struct flow_call *call = &record->call;
    switch (list) {
    case CHECKED_IN: return &call->in[i];
    case CHECKED_PARAM: return &call->param[i];
    case CHECKED_STATE: return &call->state_in[i];
    case CHECKED_READ: return &call->out[i];
    case CHECKED_COTANGENT: return &call->grad_out[i];
    case CHECKED_OUT: return is_backward(record) ? &call->grad_in[i] : &call->out[i];
    case CHECKED_STATE_OUT: return &call->state_out[i];
    }
    return NULL;
}

struct checked *checked_new(struct arena *arena, const struct record *record) {
    struct checked *checked = arena_new(arena, sizeof *checked);
    const struct plan_step *step = record->step;
    if (!checked || !is_operator(record)) return checked;
    uint32_t read = is_backward(record) ? step->read_count : 0;
    const uint32_t counts[LISTS] = {step->in_count, step->param_count, step->state_count, read, read, step->out_count, step->state_count};
    for (int list = 0; list < LISTS; list++) {
        checked->counts[list] = counts[list];
        if (list < READ_LISTS) {
            checked->sums[list] = arena_array(arena, counts[list], sizeof *checked->sums[list]);
            checked->still[list] = arena_array(arena, counts[list], sizeof *checked->still[list]);
            if (!checked->sums[list] || !checked->still[list]) return NULL;
        } else if (!(checked->fresh[list] = arena_array(arena, counts[list], sizeof *checked->fresh[list]))) return NULL;
    }
    return checked;
}

/* ---- Names ---- */

static void name_row(const struct flow_ports *rows, uint32_t i, const char *kind, char *name, size_t size) {
    if (!rows || !rows->count) snprintf(name, size, "%s %u", kind, i);
    else if (i + 1 >= rows->count && (rows->at[rows->count - 1].flags & FLOW_VARIADIC))
        snprintf(name, size, "%s '%s%u'", kind, rows->at[rows->count - 1].name, i - (rows->count - 1));
    else if (i < rows->count) snprintf(name, size, "%s '%s'", kind, rows->at[i].name);
    else snprintf(name, size, "%s %u", kind, i);
}

static void name_param(const struct instance_node *node, uint32_t i, const char *kind, char *name, size_t size) {
    const struct flow_params *rows = node && node->entry ? &node->entry->op->params : NULL;
    if (rows && i < rows->count && !(rows->at[i].flags & FLOW_DECLARED)) snprintf(name, size, "%s '%s'", kind, rows->at[i].name);
    else snprintf(name, size, "%s %u", kind, i);
}

void checked_name(const struct record *record, enum checked_list list, uint32_t index, char *name, size_t size) {
    const struct plan_step *step = record->step;
    const struct instance_node *node = step->node >= 0 ? &record->binding->plan->instance->nodes[step->node] : NULL;
    const struct flow_operator *op = node && node->entry && is_operator(record) ? node->entry->op : NULL;
    const struct flow_ports *in = op ? &op->inputs : NULL, *out = op ? &op->outputs : NULL;
    uint32_t ins = node && op && is_backward(record) ? (node->in_count > in->count ? node->in_count : in->count) : 0;
    switch (list) {
    case CHECKED_IN: name_row(in, index, "its input", name, size); break;
    case CHECKED_PARAM: name_param(node, index, "its parameter", name, size); break;
    case CHECKED_READ: name_row(out, index, "its output", name, size); break;
    case CHECKED_COTANGENT: name_row(out, index, "the gradient that comes in for output", name, size); break;
    case CHECKED_OUT:
        if (!is_backward(record)) name_row(out, index, "its output", name, size);
        else if (index < ins) name_row(in, index, "the gradient of input", name, size);
        else name_param(node, index - ins, "the gradient of parameter", name, size);
        break;
    default:
        if (op && index < op->states.count) snprintf(name, size, "its state '%s'", op->states.at[index].name);
        else snprintf(name, size, "its state %u", index);
    }
}

bool checked_find(const struct record *record, enum checked_list list, const void *at, char *name, size_t size) {
    if (!is_operator(record)) return false;
    const enum checked_list last = list == CHECKED_STATE ? CHECKED_STATE_OUT : list;
    for (int l = list;; l = last) {
        for (uint32_t i = 0; i < record->checked->counts[l]; i++) {
            if (tensor_at(record, l, i)->data != at) continue;
            checked_name(record, l, i, name, size);
            return true;
        }
        if (l == (int)last) return false;
    }
}

/* ---- Bytes ---- */

/* From the first byte to behind the last one; false: there are none. */
static bool range(const struct flow_tensor *t, uintptr_t *first, uintptr_t *end) {
    if (t->rank < 0 || !t->data) return false;
    int64_t low = 0, high = 0;
    for (int32_t a = 0; a < t->rank; a++) {
        if (t->shape[a] <= 0) return false;
        int64_t reach = (t->shape[a] - 1) * t->strides[a];
        *(reach < 0 ? &low : &high) += reach;
    }
    int64_t size = dtype_bytes(t->dtype);
    *first = (uintptr_t)t->data + (uintptr_t)(low * size), *end = (uintptr_t)t->data + (uintptr_t)((high + 1) * size);
    return true;
}

static bool meet(const struct flow_tensor *a, const struct flow_tensor *b) {
    uintptr_t first, end, other, last;
    return range(a, &first, &end) && range(b, &other, &last) && first < last && other < end;
}

static uint64_t add(uint64_t sum, const unsigned char *at, int64_t bytes) {
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    for (; bytes > 0; at++, bytes--) sum = (sum ^ *at) * 0x100000001b3u;
    return sum;
}

/* Steps through the rows along the last axis. */
static uint64_t sum_of(const struct flow_tensor *t) {
    uintptr_t first, end;
    uint64_t sum = 1;
    if (!range(t, &first, &end)) return 0;
    int64_t size = dtype_bytes(t->dtype), at[FLOW_RANK_MAX] = {0};
    if (plan_contiguous(t)) return add(sum, t->data, (int64_t)(end - first));
    for (;;) {
        int64_t offset = 0;
        for (int32_t a = 0; a < t->rank; a++) offset += at[a] * t->strides[a];
        sum = add(sum, (const unsigned char *)t->data + offset * size, size);
        int32_t axis = t->rank - 1;
        while (axis >= 0 && ++at[axis] == t->shape[axis]) at[axis--] = 0;
        if (axis < 0) return sum;
    }
}

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 || !t->data ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

/* The first element that is not a number, or not finite; -1. Contiguous tensors. */
static int64_t first_odd(const struct flow_tensor *t, bool nan_only) {
    int64_t count = plan_contiguous(t) ? elements(t) : 0;
    for (int64_t i = 0; i < count; i++) {
        double value = 0;
        uint16_t half = 0;
        if (t->dtype == FLOW_F32) value = ((const float *)t->data)[i];
        else if (t->dtype == FLOW_F64) value = ((const double *)t->data)[i];
        else if (t->dtype == FLOW_F16 || t->dtype == FLOW_BF16) {
            memcpy(&half, (const char *)t->data + 2 * i, 2);
            unsigned exponent = t->dtype == FLOW_F16 ? 0x7C00 : 0x7F80, fraction = 0x7FFFu & ~exponent;
            if ((half & exponent) == exponent) value = half & fraction ? NAN : INFINITY;
        } else return -1;
        if (nan_only ? isnan(value) : !isfinite(value)) return i;
    }
    return -1;
}

/* The first element that is as it was poisoned; -1. Every number of an integer may be meant. */
static int64_t first_unwritten(const struct flow_tensor *t, int poison) {
    unsigned char pattern[8];
    int64_t size = dtype_bytes(t->dtype), count = elements(t);
    memset(pattern, poison, sizeof pattern);
    if (!dtype_float(t->dtype) && t->dtype != FLOW_BOOL) return -1;
    for (int64_t i = 0; i < count; i++)
        if (memcmp((const char *)t->data + i * size, pattern, (size_t)size) == 0) return i;
    return -1;
}

/* ---- Before and after ---- */

static bool meets_any(const struct record *record, const struct flow_tensor *t, int from, int to) {
    for (int list = from; list < to; list++)
        for (uint32_t i = 0; i < record->checked->counts[list]; i++)
            if (meet(t, tensor_at(record, list, i))) return true;
    return false;
}

/* Statistics are written by a forward in training. */
static bool is_running(const struct record *record, enum checked_list list, uint32_t i) {
    if (list != CHECKED_PARAM) return false;
    const struct instance *instance = record->binding->plan->instance;
    int32_t value = record->step->param[i].value;
    return value < 0 || (instance->values[value].flags & FLOW_RUNNING);
}

static bool accumulates(const struct record *record, uint32_t i) {
    const struct instance_node *node = &record->binding->plan->instance->nodes[record->step->node];
    uint32_t table = node->entry->op->inputs.count, ins = node->in_count > table ? node->in_count : table;
    return i < ins ? FLOW_ACCUMULATES(record->call.accumulate_in, i) : FLOW_ACCUMULATES(record->call.accumulate_param, i - ins);
}

void checked_tensors_before(struct record *record) {
    struct checked *checked = record->checked;
    if (!is_operator(record)) return;
    checked->finite = true;
    for (int list = 0; list < READ_LISTS; list++)
        for (uint32_t i = 0; i < checked->counts[list]; i++) {
            const struct flow_tensor *t = tensor_at(record, list, i);
            checked->still[list][i] = !is_running(record, list, i) && !meets_any(record, t, CHECKED_OUT, LISTS);
            if (checked->still[list][i]) checked->sums[list][i] = sum_of(t);
            if (record->context->finite && (!plan_contiguous(t) || first_odd(t, false) >= 0) && elements(t) > 0) checked->finite = false;
        }
    for (int list = CHECKED_OUT; list < LISTS; list++)
        for (uint32_t i = 0; i < checked->counts[list]; i++) {
            const struct flow_tensor *t = tensor_at(record, list, i);
            int64_t bytes;
            bool adds = is_backward(record) && list == CHECKED_OUT && accumulates(record, i);
            checked->fresh[list][i] = !adds && t->rank >= 0 && t->data && plan_contiguous(t) && !meets_any(record, t, 0, READ_LISTS);
            if (checked->fresh[list][i] && plan_bytes(t, &bytes)) memset(t->data, checked_poison(record), (size_t)bytes);
        }
}

static int check_written(struct record *record, enum checked_list list, uint32_t i) {
    const struct flow_tensor *t = tensor_at(record, list, i);
    char name[128];
    checked_name(record, list, i, name, sizeof name);
    if (list == CHECKED_OUT) {
        const struct flow_tensor *planned = &record->step->out[i].type;
        bool same = t->rank == planned->rank;
        for (int32_t a = 0; same && a < t->rank; a++)
            same = t->shape[a] == planned->shape[a] || (a == 0 && t->shape[a] >= 0 && t->shape[a] < planned->shape[a]);
        if (!same) return context_fail(record, FLOW_ERROR_PLUGIN, "it changed the extents of %s to other ones than planned", name);
    }
    int64_t at = record->checked->fresh[list][i] ? first_unwritten(t, checked_poison(record)) : -1;
    if (at >= 0)
        return context_fail(record, FLOW_ERROR_PLUGIN, "it left element %lld of the %lld of %s unwritten", (long long)at,
                            (long long)elements(t), name);
    at = record->context->finite && record->checked->finite ? first_odd(t, true) : -1;
    if (at >= 0)
        return context_fail(record, FLOW_ERROR_RANGE, "element %lld of %s is NaN, and all that it read is finite", (long long)at, name);
    return 0;
}

int checked_tensors_after(struct record *record) {
    const struct checked *checked = record->checked;
    if (!is_operator(record)) return 0;
    char name[128];
    for (int list = 0; list < READ_LISTS; list++)
        for (uint32_t i = 0; i < checked->counts[list]; i++) {
            if (!checked->still[list][i] || sum_of(tensor_at(record, list, i)) == checked->sums[list][i]) continue;
            checked_name(record, list, i, name, sizeof name);
            return context_fail(record, FLOW_ERROR_PLUGIN, "it changed %s, which it may only read", name);
        }
    int code = 0;
    for (int list = CHECKED_OUT; list < LISTS; list++)
        for (uint32_t i = 0; i < checked->counts[list] && code == 0; i++) code = check_written(record, list, i);
    return code;
}
