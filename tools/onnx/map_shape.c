/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/internal.h"

static void extents_copy(struct extent *to, const struct value *x) {
    for (int32_t i = 0; i < x->rank; i++) to[i] = x->shape[i];
}

/* "B*T", or plain; in quotes where YAML needs them. */
static void list_extent(struct import *m, struct text *list, const struct extent *extent) {
    const char *text = extent_text(&m->store, extent);
    text_add(&m->store, list, "%s", list->count ? ", " : "[");
    text_add(&m->store, list, strpbrk(text, " *(%") ? "\"%s\"" : "%s", text);
}

static struct extent elements(struct import *m, const struct extent *shape, int32_t rank) {
    struct extent all = extent_of(1);
    for (int32_t i = 0; i < rank; i++) all = extent_times(&m->store, &all, &shape[i]);
    return all;
}

/* ---- reshape ---- */

static struct value *reshape_to(struct import *m, const struct node *n, struct value *x, int32_t rank, const struct extent *shape,
                                const int64_t *codes) {
    struct text list = {0};
    for (int32_t i = 0; i < rank; i++) {
        struct extent code = extent_of(codes[i]);
        list_extent(m, &list, codes[i] <= 0 ? &code : &shape[i]);
    }
    if (rank == 0) text_add(&m->store, &list, "[");
    struct made *made = make_node(m, n, "reshape");
    make_in(m, made, NULL, x);
    text_add(&m->store, &made->with, "shape: %s]", list.at);
    return make_out(m, made, NULL, x->dtype, rank, shape);
}

/* What the axis of -1 gets: all elements over those of the other axes. */
static struct extent left_over(struct import *m, const struct value *x, const struct extent *shape, int32_t rank, int32_t open) {
    struct extent have[RANK], want[RANK], one = extent_of(1);
    int32_t haves = 0, wants = 0;
    for (int32_t i = 0; i < x->rank; i++) have[haves++] = x->shape[i];
    for (int32_t i = 0; i < rank; i++) {
        if (i == open) continue;
        int32_t same = -1;
        for (int32_t k = 0; k < haves; k++)
            if (extent_same(&have[k], &shape[i])) same = k;
        if (same >= 0) have[same] = have[--haves]; /* the same on both sides */
        else want[wants++] = shape[i];
    }
    struct extent above = elements(m, have, haves), below = wants ? elements(m, want, wants) : one;
    return extent_over(&m->store, &above, &below);
}

static bool map_reshape(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *to = n->in[1];
    struct extent shape[RANK];
    int64_t codes[RANK]; /* 0 keeps, -1 is left over, 1 as the shape says */
    int32_t open = -1, unknown = -1;
    if (!value_known(to) || to->rank != 1 || to->count > RANK) return refuse(m, n, "its shape is computed when the model runs");
    int32_t rank = (int32_t)to->count;
    for (int32_t i = 0; i < rank; i++) {
        int64_t number = 1;
        shape[i] = value_extent(to, i), codes[i] = 1;
        if (extent_number(&shape[i], &number) && number == 0 && !attr_int(n, "allowzero", 0)) {
            if (i >= x->rank) return refuse(m, n, "its shape keeps axis %d, which its input does not have", i);
            shape[i] = x->shape[i], codes[i] = 0;
        } else if (extent_number(&shape[i], &number) && number < 0) {
            if (number != -1 || open >= 0) return refuse(m, n, "its shape is impossible");
            open = i, codes[i] = -1;
        } else if (shape[i].unknown) {
            unknown = unknown < 0 ? i : RANK;
        } else if (shape[i].terms && i < x->rank && extent_same(&shape[i], &x->shape[i])) {
            codes[i] = 0;
        }
    }
    if (unknown >= 0) {
        if (unknown == RANK || open >= 0) return refuse(m, n, "its shape holds extents that are not known from the inputs' shapes");
        open = unknown, codes[open] = -1;
    }
    if (open >= 0) shape[open] = left_over(m, x, shape, rank, open);
    /* the same shape again */
    bool same = rank == x->rank;
    for (int32_t i = 0; same && i < rank; i++)
        same = codes[i] == 0 || (i == open && extent_same(&shape[i], &x->shape[i])) || extent_same(&shape[i], &x->shape[i]);
    give(n, 0, same ? x : reshape_to(m, n, x, rank, shape, codes));
    return true;
}

static bool map_flatten(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axis = attr_int(n, "axis", 1);
    axis = axis < 0 ? axis + x->rank : axis;
    if (axis < 0 || axis > x->rank) return refuse(m, n, "axis %lld of a tensor with %d axes", (long long)axis, x->rank);
    struct extent shape[2] = {elements(m, x->shape, (int32_t)axis), elements(m, x->shape + axis, x->rank - (int32_t)axis)};
    int64_t codes[2] = {1, -1};
    if (axis == 1) codes[0] = 0;
    else if (shape[0].unknown) codes[0] = -1, codes[1] = 1;
    if (codes[1] == 1 && shape[1].unknown) return refuse(m, n, "the extents of its input are not known");
    give(n, 0, reshape_to(m, n, x, 2, shape, codes));
    return true;
}

/* ---- Axes ---- */

static bool axes_of(struct import *m, struct node *n, size_t input, int64_t *axes, int64_t *count, int32_t rank) {
    *count = 0;
    if (n->in_count <= input || !n->in[input]) return true;
    if (!value_list(n->in[input], axes, RANK, count)) return refuse(m, n, "its axes are computed when the model runs");
    uint32_t seen = 0;
    for (int64_t i = 0; i < *count; i++) {
        if (!axis_of(m, n, axes[i], rank, &axes[i])) return false;
        if (seen >> axes[i] & 1) return refuse(m, n, "axis %lld stands twice", (long long)axes[i]);
        seen |= 1u << axes[i];
    }
    for (int64_t i = 0; i < *count; i++) /* in order */
        for (int64_t k = i + 1; k < *count; k++)
            if (axes[k] < axes[i]) {
                int64_t other = axes[i];
                axes[i] = axes[k], axes[k] = other;
            }
    return true;
}

static bool map_squeeze(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axes[RANK], count;
    if (!axes_of(m, n, 1, axes, &count, x->rank)) return false;
    if (n->in_count < 2 || !n->in[1])
        for (int32_t i = 0; i < x->rank; i++) {
            if (x->shape[i].unknown || x->shape[i].terms)
                return refuse(m, n, "which axes have an extent of 1 is known when the model runs");
            if (extent_is(&x->shape[i], 1)) axes[count++] = i;
        }
    while (count) x = make_squeeze(m, n, x, axes[--count]);
    give(n, 0, x);
    return true;
}

static bool map_unsqueeze(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axes[RANK], count;
    if (n->in[1]->count + x->rank > RANK) return refuse(m, n, "more than %d axes", RANK);
    if (!axes_of(m, n, 1, axes, &count, x->rank + (int32_t)n->in[1]->count)) return false;
    for (int64_t i = 0; i < count; i++) x = make_unsqueeze(m, n, x, axes[i]);
    give(n, 0, x);
    return true;
}

static bool map_transpose(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const int64_t *given;
    int64_t perm[RANK];
    size_t count;
    bool has = attr_ints(n, "perm", &given, &count);
    uint32_t seen = 0;
    if (has && count != (size_t)x->rank) return refuse(m, n, "its permutation has %zu axes, its input %d", count, x->rank);
    for (int32_t i = 0; i < x->rank; i++) {
        perm[i] = has ? given[i] : x->rank - 1 - i;
        if (perm[i] < 0 || perm[i] >= x->rank || seen >> perm[i] & 1) return refuse(m, n, "its permutation is none");
        seen |= 1u << perm[i];
    }
    give(n, 0, make_transpose(m, n, x, perm));
    return true;
}

static bool map_expand(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *to = n->in[1];
    if (!value_known(to) || to->count > RANK) return refuse(m, n, "its shape is computed when the model runs");
    struct value wanted = {.rank = (int32_t)to->count};
    struct extent shape[RANK];
    int32_t rank = x->rank;
    for (int32_t i = 0; i < wanted.rank; i++) wanted.shape[i] = value_extent(to, i);
    extents_copy(shape, x);
    if (!shape_join(shape, &rank, &wanted)) return refuse(m, n, "its shape does not go with its input's");
    struct text list = {0};
    struct extent keep = extent_of(-1);
    bool same = rank == x->rank;
    for (int32_t i = 0; i < rank; i++) {
        int32_t axis = i - (rank - x->rank);
        bool kept = axis >= 0 && (extent_same(&shape[i], &x->shape[axis]) || !extent_is(&x->shape[axis], 1));
        same &= kept;
        if (!kept && shape[i].unknown) return refuse(m, n, "its shape holds extents that are not known from the inputs' shapes");
        list_extent(m, &list, kept ? &keep : &shape[i]);
    }
    if (same) return give(n, 0, x), true;
    struct made *made = make_node(m, n, "expand");
    make_in(m, made, NULL, x);
    text_add(&m->store, &made->with, "shape: %s]", list.at);
    give(n, 0, make_out(m, made, NULL, x->dtype, rank, shape));
    return true;
}

/* As many copies as `repeats` says: one behind the other. */
static bool map_tile(struct import *m, struct node *n) {
    enum { COPIES = 64 };
    struct value *x = n->in[0];
    int64_t repeats[RANK], count;
    if (!value_list(n->in[1], repeats, RANK, &count) || count != x->rank)
        return refuse(m, n, "its repeats are computed when the model runs");
    for (int32_t axis = 0; axis < x->rank; axis++) {
        if (repeats[axis] == 1) continue;
        if (repeats[axis] < 1 || repeats[axis] > COPIES)
            return refuse(m, n, "%lld copies along an axis (1 to %d)", (long long)repeats[axis], COPIES);
        struct extent shape[RANK], times = extent_of(repeats[axis]);
        extents_copy(shape, x);
        shape[axis] = extent_times(&m->store, &x->shape[axis], &times);
        struct made *made = make_node(m, n, "concat");
        for (int64_t i = 0; i < repeats[axis]; i++) make_in(m, made, NULL, x);
        make_with(m, made, "axis: %d", axis);
        x = make_out(m, made, NULL, x->dtype, x->rank, shape);
    }
    give(n, 0, x);
    return true;
}

/* ---- Parts ---- */

static bool map_concat(struct import *m, struct node *n) {
    struct extent shape[RANK];
    int64_t axis;
    struct value *first = n->in[0];
    if (!axis_of(m, n, attr_int(n, "axis", 0), first->rank, &axis)) return false;
    if (n->in_count == 1) return give(n, 0, first), true;
    struct made *made = make_node(m, n, "concat");
    extents_copy(shape, first);
    for (size_t i = 0; i < n->in_count; i++) {
        const struct value *x = n->in[i];
        if (!x || x->rank != first->rank || x->dtype != first->dtype) return refuse(m, n, "its inputs differ in type or number of axes");
        for (int32_t k = 0; i && k < x->rank; k++) {
            if (k == axis) shape[k] = extent_add(&shape[k], &x->shape[k], 1);
            else if (shape[k].unknown || shape[k].terms) shape[k] = x->shape[k]; /* all are equal: a number says most */
        }
        make_in(m, made, NULL, n->in[i]);
    }
    make_with(m, made, "axis: %lld", (long long)axis);
    give(n, 0, make_out(m, made, NULL, first->dtype, first->rank, shape));
    return true;
}

static bool map_split(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axis, sizes[256], count = 0, extent = -1;
    struct extent shape[RANK], parts = extent_of((int64_t)n->out_count);
    if (!axis_of(m, n, attr_int(n, "axis", 0), x->rank, &axis)) return false;
    if (n->out_count > 256) return refuse(m, n, "more than 256 parts");
    if (n->in_count > 1 && n->in[1]) {
        if (!value_list(n->in[1], sizes, 256, &count) || count != (int64_t)n->out_count)
            return refuse(m, n, "its sizes are computed when the model runs");
    } else if (extent_number(&x->shape[axis], &extent)) {
        int64_t each = (extent + (int64_t)n->out_count - 1) / (int64_t)n->out_count, left = extent;
        for (count = 0; count < (int64_t)n->out_count; count++, left -= sizes[count - 1]) sizes[count] = left < each ? left : each;
    }
    struct made *made = make_node(m, n, "split");
    make_in(m, made, NULL, x);
    make_with(m, made, "axis: %lld", (long long)axis);
    if (count) make_ints(m, made, "sizes", (size_t)count, sizes);
    else make_with(m, made, "parts: %zu", n->out_count);
    extents_copy(shape, x);
    for (size_t i = 0; i < n->out_count; i++) {
        shape[axis] = count ? extent_of(sizes[i]) : extent_over(&m->store, &x->shape[axis], &parts);
        give(n, i, make_out(m, made, store_format(&m->store, "y%zu", i), x->dtype, x->rank, shape));
    }
    return true;
}

/* Whole numbers from `first` on, as many as `count` says. */
static struct value *counting(struct import *m, const struct node *n, const struct extent *first, const struct extent *count) {
    struct made *made = make_node(m, n, "arange");
    struct text list = {0};
    int64_t start;
    list_extent(m, &list, count);
    make_with(m, made, "count: %s", list.at + 1); /* without the bracket */
    struct value *y = make_out(m, made, NULL, FLOW_I64, 1, count);
    if (!extent_number(first, &start)) return NULL;
    if (start == 0) return y;
    y = make_same(m, n, "add", y);
    make_with(m, y->from, "value: %lld", (long long)start);
    return y;
}

/* x[.., start:stop, ..] where the bounds hold symbols: entries by number. */
static struct value *slice_by_symbols(struct import *m, const struct node *n, struct value *x, int64_t axis, struct extent start,
                                      struct extent stop, int64_t step) {
    struct extent shape[RANK], length = extent_add(&stop, &start, -1);
    int64_t from;
    if (step != 1 || length.unknown || !extent_number(&start, &from) || from < 0) {
        refuse(m, n, "its bounds are computed when the model runs");
        return NULL;
    }
    struct value *index = counting(m, n, &start, &length);
    /* a row of 0, 1, 2 .. need not be looked up */
    bool counts = x->data && x->count && !value_is_float(x->dtype) && extent_is(&x->shape[axis], x->count);
    for (int64_t i = 0; counts && i < x->count; i++) counts = value_int(x, i) == i;
    extents_copy(shape, x);
    shape[axis] = length;
    if (counts) {
        struct value *y = make_cast(m, n, index, x->dtype);
        for (int32_t i = 0; i < x->rank; i++)
            if (i != axis) y = make_unsqueeze(m, n, y, i);
        return y;
    }
    struct made *made = make_node(m, n, "gather");
    make_in(m, made, NULL, x), make_in(m, made, NULL, index);
    make_with(m, made, "axis: %lld", (long long)axis);
    return make_out(m, made, NULL, x->dtype, x->rank, shape);
}

/* Bounds beyond the ends mean the ends. */
static bool slice_axis(struct import *m, struct node *n, struct value **x, int64_t axis, struct extent start, struct extent stop,
                       int64_t step) {
    struct extent length, zero = extent_of(0), whole = (*x)->shape[axis];
    int64_t from, to, extent;
    bool plain_from = extent_number(&start, &from), plain_to = extent_number(&stop, &to), plain = extent_number(&whole, &extent);
    if (plain_to && to > INT32_MAX) to = INT64_MAX;
    if (plain_to && to <= INT32_MIN) to = INT64_MIN;
    if (plain_from && from > INT32_MAX) from = INT64_MAX;
    if (plain_from && from < 0 && plain && from + extent < 0) from = step > 0 ? 0 : from;
    if (plain_from && from == 0 && step == 1 && ((plain_to && to == INT64_MAX) || extent_same(&stop, &whole))) return true;
    if (!plain_from || !plain_to) {
        if (extent_same(&stop, &whole) && plain_from && step > 0) to = INT64_MAX;
        else {
            *x = slice_by_symbols(m, n, *x, axis, start, stop, step);
            return *x != NULL;
        }
    }
    if (plain) {
        int64_t low = step > 0 ? 0 : -1, high = step > 0 ? extent : extent - 1;
        int64_t a = from < 0 ? from + extent : from, b = to == INT64_MIN ? low : to < 0 ? to + extent : to;
        a = a < low ? low : a > high ? high : a, b = b < low ? low : b > high ? high : b;
        int64_t size = step > 0 ? (b > a ? (b - a + step - 1) / step : 0) : (a > b ? (a - b - step - 1) / -step : 0);
        if (size == extent && step == 1) return true;
        length = extent_of(size);
    } else if (step != 1) {
        length = extent_unknown;
    } else {
        struct extent a = extent_of(from), b = extent_of(to);
        a = from < 0 ? extent_add(&whole, &a, 1) : a;
        b = to == INT64_MAX ? whole : to < 0 ? extent_add(&whole, &b, 1) : b;
        length = extent_add(&b, &a, -1); /* as long as it is inside, which the run checks by shapes that follow */
        if (from >= 0 && to >= 0 && to != INT64_MAX) length = extent_same(&a, &zero) ? extent_unknown : length;
        if (from >= 0 && to >= 0 && to != INT64_MAX) length = extent_unknown;
    }
    *x = make_slice(m, n, *x, axis, from, to, step, &length);
    return true;
}

static bool map_slice(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axes[RANK], steps[RANK], count, k;
    const struct value *starts = n->in[1], *ends = n->in[2];
    if (!value_known(starts) || !value_known(ends) || starts->count > RANK || starts->count != ends->count)
        return refuse(m, n, "its bounds are computed when the model runs");
    count = starts->count;
    for (int64_t i = 0; i < count; i++) axes[i] = i, steps[i] = 1;
    if ((n->in_count > 3 && n->in[3] && (!value_list(n->in[3], axes, RANK, &k) || k != count)) ||
        (n->in_count > 4 && n->in[4] && (!value_list(n->in[4], steps, RANK, &k) || k != count)))
        return refuse(m, n, "its axes or steps are computed when the model runs");
    for (int64_t i = 0; i < count; i++) {
        int64_t axis;
        if (!axis_of(m, n, axes[i], x->rank, &axis)) return false;
        if (steps[i] == 0 || steps[i] > INT32_MAX || steps[i] < -INT32_MAX) return refuse(m, n, "a step of %lld", (long long)steps[i]);
        if (!slice_axis(m, n, &x, axis, value_extent(starts, i), value_extent(ends, i), steps[i])) return false;
    }
    give(n, 0, x);
    return true;
}

/* ---- Entries by number ---- */

static bool map_gather(struct import *m, struct node *n) {
    struct value *x = n->in[0], *index = n->in[1];
    int64_t axis, place;
    struct extent shape[RANK];
    if (!axis_of(m, n, attr_int(n, "axis", 0), x->rank, &axis)) return false;
    int32_t rank = x->rank + index->rank - 1;
    if (rank > RANK) return refuse(m, n, "more than %d axes", RANK);
    for (int32_t i = 0, k = 0; i < x->rank; i++) {
        if (i != axis) shape[k++] = x->shape[i];
        else
            for (int32_t j = 0; j < index->rank; j++) shape[k++] = index->shape[j];
    }
    if (index->data && index->count == 1 && index->rank <= 1) { /* one entry: a view */
        struct extent one = extent_of(1);
        place = value_int(index, 0);
        if (place < -EXTENT_MOST || place > EXTENT_MOST) return refuse(m, n, "entry %lld", (long long)place);
        struct value *y = make_slice(m, n, x, axis, place, place == -1 ? INT64_MAX : place + 1, 1, &one);
        give(n, 0, index->rank ? y : make_squeeze(m, n, y, axis));
        return true;
    }
    if (index->data) { /* from the end when negative; what is known is put right here, what a run brings must be from 0 on */
        int64_t extent;
        bool negative = false;
        for (int64_t i = 0; i < index->count; i++) negative |= value_int(index, i) < 0;
        if (negative) {
            if (!extent_number(&x->shape[axis], &extent))
                return refuse(m, n, "entries counted from the end of an axis whose extent is a symbol");
            struct value *right = value_new(m, FLOW_I64, index->rank, index->shape);
            int64_t *data = store_take(&m->store, (size_t)index->count, sizeof *data);
            for (int64_t i = 0; i < index->count; i++)
                data[i] = value_int(index, i) < 0 ? value_int(index, i) + extent : value_int(index, i);
            right->data = data, right->count = index->count;
            index = right;
        }
    }
    struct made *made;
    if (axis == 0 && x->data && x->rank == 2 && value_is_float(x->dtype) && !index->data) {
        made = make_named(m, n, "embedding", x->tensor_name && *x->tensor_name ? x->tensor_name : n->label);
        make_in(m, made, NULL, index->dtype == FLOW_I64 ? index : make_cast(m, n, index, FLOW_I64));
        make_with(m, made, "count: %lld, units: %lld", (long long)x->shape[0].plus, (long long)x->shape[1].plus);
        make_weight(m, made, "weight", tensor_of(m, x));
    } else {
        made = make_node(m, n, "gather");
        make_in(m, made, NULL, x);
        make_in(m, made, NULL, index->data || index->dtype == FLOW_I64 ? index : make_cast(m, n, index, FLOW_I64));
        make_with(m, made, "axis: %lld", (long long)axis);
    }
    give(n, 0, make_out(m, made, NULL, x->dtype, rank, shape));
    return true;
}

static bool map_gather_elements(struct import *m, struct node *n) {
    int64_t axis;
    if (!axis_of(m, n, attr_int(n, "axis", 0), n->in[0]->rank, &axis)) return false;
    struct made *made = make_node(m, n, "take_along");
    make_in(m, made, NULL, n->in[0]);
    make_in(m, made, NULL, n->in[1]->dtype == FLOW_I64 ? n->in[1] : make_cast(m, n, n->in[1], FLOW_I64));
    make_with(m, made, "axis: %lld", (long long)axis);
    give(n, 0, make_out(m, made, NULL, n->in[0]->dtype, n->in[1]->rank, n->in[1]->shape));
    return true;
}

/* Entries at places given by `depth` numbers each: the first axes become one, the places one number. */
static bool map_gather_nd(struct import *m, struct node *n) {
    struct value *x = n->in[0], *index = n->in[1], *place = NULL;
    int64_t depth;
    struct extent shape[RANK], flat[RANK], step = extent_of(1);
    int64_t codes[RANK];
    if (attr_int(n, "batch_dims", 0)) return refuse(m, n, "batch_dims is not covered");
    if (index->rank < 1 || !extent_number(&index->shape[index->rank - 1], &depth) || depth < 1 || depth > x->rank)
        return refuse(m, n, "how many axes its places are for is not known");
    int32_t rank = index->rank - 1 + x->rank - (int32_t)depth;
    if (rank > RANK) return refuse(m, n, "more than %d axes", RANK);
    for (int64_t i = depth - 1; i >= 0; i--) {
        struct extent one = extent_of(1);
        struct value *part = make_slice(m, n, index, index->rank - 1, i, i + 1, 1, &one);
        part = make_squeeze(m, n, part, index->rank - 1);
        if (part->dtype != FLOW_I64) part = make_cast(m, n, part, FLOW_I64);
        if (!extent_is(&step, 1)) {
            struct value *by = value_new(m, FLOW_I64, 0, NULL);
            by->ints = store_take(&m->store, 1, sizeof *by->ints);
            by->ints[0] = step, by->count = 1;
            part = make_binary(m, n, "mul", part, by, FLOW_I64);
        }
        place = place ? make_binary(m, n, "add", place, part, FLOW_I64) : part;
        if (!place) return false;
        step = extent_times(&m->store, &step, &x->shape[i]);
    }
    flat[0] = step, codes[0] = -1;
    for (int32_t i = 0; i < index->rank - 1; i++) shape[i] = index->shape[i];
    for (int32_t i = (int32_t)depth; i < x->rank; i++) {
        if (x->shape[i].unknown) return refuse(m, n, "the extents of its input are not known");
        flat[i - depth + 1] = shape[index->rank - 1 + i - depth] = x->shape[i], codes[i - depth + 1] = 1;
    }
    struct value *table = depth == 1 ? x : reshape_to(m, n, x, x->rank - (int32_t)depth + 1, flat, codes);
    struct made *made = make_node(m, n, "gather");
    make_in(m, made, NULL, table), make_in(m, made, NULL, place);
    make_with(m, made, "axis: 0");
    give(n, 0, make_out(m, made, NULL, x->dtype, rank, shape));
    return true;
}

/* ---- pad ---- */

static bool map_pad(struct import *m, struct node *n) {
    static const char *const modes[][2] = {{"constant", "zero"}, {"reflect", "reflect"}, {"edge", "replicate"}, {"wrap", "circular"}};
    struct value *x = n->in[0];
    int64_t pads[2 * RANK], axes[RANK], count, axis_count;
    double value = 0;
    const char *mode = attr_text(m, n, "mode", "constant"), *ours = NULL;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(mode, modes[i][0]) == 0) ours = modes[i][1];
    if (!ours) return refuse(m, n, "mode '%.40s' is not there here", mode);
    if (!value_list(n->in[1], pads, 2 * RANK, &count)) return refuse(m, n, "its pads are computed when the model runs");
    if (n->in_count > 2 && n->in[2] && !value_one(n->in[2], &value))
        return refuse(m, n, "what it fills in is computed when the model runs");
    for (axis_count = 0; axis_count < x->rank; axis_count++) axes[axis_count] = axis_count;
    if (n->in_count > 3 && n->in[3] && !value_list(n->in[3], axes, RANK, &axis_count))
        return refuse(m, n, "its axes are computed when the model runs");
    if (count != 2 * axis_count) return refuse(m, n, "its pads are not two for each axis");
    for (int64_t i = 0; i < axis_count; i++) {
        int64_t axis, before = pads[i], after = pads[i + axis_count];
        if (!axis_of(m, n, axes[i], x->rank, &axis)) return false;
        if (before < -INT32_MAX || after < -INT32_MAX || before > INT32_MAX || after > INT32_MAX)
            return refuse(m, n, "its pads are too large");
        struct extent shape[RANK], more = extent_of((before > 0 ? before : 0) + (after > 0 ? after : 0)), less;
        if (before < 0 || after < 0) { /* cut off */
            less = extent_of((before < 0 ? before : 0) + (after < 0 ? after : 0));
            less = extent_add(&x->shape[axis], &less, 1);
            x = make_slice(m, n, x, axis, before < 0 ? -before : 0, after < 0 ? after : INT64_MAX, 1, &less);
        }
        if (before <= 0 && after <= 0) continue;
        extents_copy(shape, x);
        shape[axis] = extent_add(&shape[axis], &more, 1);
        struct made *made = make_node(m, n, "pad");
        make_in(m, made, NULL, x);
        make_with(m, made, "axis: %lld", (long long)axis);
        if (before > 0) make_with(m, made, "before: %lld", (long long)before);
        if (after > 0) make_with(m, made, "after: %lld", (long long)after);
        if (ours[0] != 'z') make_with(m, made, "mode: %s", ours);
        else if (value != 0) make_reals(m, made, "value", value);
        x = make_out(m, made, NULL, x->dtype, x->rank, shape);
    }
    give(n, 0, x);
    return true;
}

/* ---- Made from shapes ---- */

static bool map_constant_of_shape(struct import *m, struct node *n) {
    const struct value *to = n->in[0];
    const Onnx__Attribute *a = attr_find(n, "value");
    struct value *one = value_scalar(m, FLOW_F32, 0);
    struct extent shape[RANK];
    const char *why = "its value is not one number";
    if (a && a->t && (!model_tensor(m, a->t, one, &why) || one->count != 1)) return refuse(m, n, "%s", why);
    if (!value_known(to) || to->count > RANK) return refuse(m, n, "its shape is computed when the model runs");
    struct text list = {0};
    for (int64_t i = 0; i < to->count; i++) {
        shape[i] = value_extent(to, i);
        if (shape[i].unknown) return refuse(m, n, "its shape holds extents that are not known from the inputs' shapes");
        list_extent(m, &list, &shape[i]);
    }
    struct made *made = make_node(m, n, "constant");
    double number = value_real(one, 0);
    make_with(m, made, "value: %s", real_text(&m->store, number, one->dtype));
    text_add(&m->store, &made->with, ", shape: %s]", list.at ? list.at : "[");
    if (one->dtype != FLOW_F32) make_with(m, made, "dtype: %s", flow_type_name(one->dtype));
    give(n, 0, make_out(m, made, NULL, one->dtype, (int32_t)to->count, shape));
    return true;
}

static bool map_range(struct import *m, struct node *n) {
    double step;
    for (int i = 0; i < 2; i++)
        if (!value_known(n->in[i]) || n->in[i]->count != 1 || n->in[i]->dtype != FLOW_I64)
            return refuse(m, n, "its bounds are computed when the model runs");
    if (!value_one(n->in[2], &step) || step != 1) return refuse(m, n, "its step is not 1, and its length is known when the model runs");
    struct extent start = value_extent(n->in[0], 0), stop = value_extent(n->in[1], 0), length = extent_add(&stop, &start, -1);
    struct value *y = length.unknown ? NULL : counting(m, n, &start, &length);
    if (!y) return refuse(m, n, "its bounds are not known from the inputs' shapes");
    give(n, 0, y);
    return true;
}

/* The extents of a tensor whose shape could not be written as expressions. */
static bool map_shape_of(struct import *m, struct node *n) { return refuse(m, n, "the extents of its input are not known"); }

static bool map_depth_to_space(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t size = attr_int(n, "blocksize", 0), channels;
    bool crd = strcmp(attr_text(m, n, "mode", "DCR"), "CRD") == 0;
    if (x->rank != 4 || size < 1 || size > 64 || !extent_number(&x->shape[1], &channels) || channels % (size * size) != 0)
        return refuse(m, n, "its input is no image of a known number of channels");
    struct extent b = extent_of(size), c = extent_of(channels / (size * size));
    struct extent six[6] = {x->shape[0], crd ? c : b, b, crd ? b : c, x->shape[2], x->shape[3]};
    struct extent four[4] = {x->shape[0], c, extent_times(&m->store, &x->shape[2], &b), extent_times(&m->store, &x->shape[3], &b)};
    if (six[4].unknown || six[5].unknown) return refuse(m, n, "the extents of its input are not known");
    const int64_t codes6[6] = {0, 1, 1, 1, 1, 1}, codes4[4] = {0, 1, 1, 1}, dcr[6] = {0, 3, 4, 1, 5, 2}, crd6[6] = {0, 1, 4, 2, 5, 3};
    struct value *y = reshape_to(m, n, x, 6, six, codes6);
    give(n, 0, reshape_to(m, n, make_transpose(m, n, y, crd ? crd6 : dcr), 4, four, codes4));
    return true;
}

const struct map map_shape[] = {
    {"Reshape", map_reshape, NULL, 2},
    {"Flatten", map_flatten, NULL, 1},
    {"Squeeze", map_squeeze, NULL, 1},
    {"Unsqueeze", map_unsqueeze, NULL, 2},
    {"Transpose", map_transpose, NULL, 1},
    {"Expand", map_expand, NULL, 2},
    {"Tile", map_tile, NULL, 2},
    {"Concat", map_concat, NULL, 1},
    {"Split", map_split, NULL, 1},
    {"Slice", map_slice, NULL, 3},
    {"Gather", map_gather, NULL, 2},
    {"GatherElements", map_gather_elements, NULL, 2},
    {"GatherND", map_gather_nd, NULL, 2},
    {"Pad", map_pad, NULL, 2},
    {"ConstantOfShape", map_constant_of_shape, NULL, 1},
    {"Range", map_range, NULL, 3},
    {"Shape", map_shape_of, NULL, 1},
    {"Size", map_shape_of, NULL, 1},
    {"DepthToSpace", map_depth_to_space, NULL, 1},
    {NULL, NULL, NULL, 0},
};
