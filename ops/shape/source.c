/* SPDX-License-Identifier: Apache-2.0 */
/* Operators whose values come from shapes and attributes: shape_of, constant, arange, random_normal, random_uniform. */
#include "common/half.h"
#include "common/shape.h"
#include "shape/shape.h"

#include <flow/random.h>

#include <math.h>
#include <string.h>

/* ---- shape_of ---------------------------------------------------------------------------------------------------- */

static int shape_of_infer(struct flow_infer *infer) {
    struct flow_tensor *y = &infer->out[0];
    if (infer->streaming)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the extent of the streaming axis is known at its end only");
    y->dtype = FLOW_I64, y->rank = 1, y->shape[0] = infer->in[0].rank;
    shape_dense(y);
    return FLOW_OK;
}

static int shape_of_forward(const struct flow_call *call) {
    int64_t *y = call->out[0].data;
    for (int32_t i = 0; i < call->in[0].rank; i++) y[i] = call->in[0].shape[i];
    return FLOW_OK;
}

static const struct flow_port shape_of_in[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_NO_GRAD}};
static const struct flow_port shape_of_out[] = {{"y", "x's extents", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD}};
static const struct flow_kernel shape_of_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = shape_of_forward}};

const struct flow_operator shape_of_operator = {
    .size = sizeof(struct flow_operator),
    .name = "shape_of",
    .summary = "the extents of a tensor",
    .equation = "y[i] = extent of x's axis i",
    .reference = "ONNX Shape",
    .example = "y: {op: shape_of, in: x}",
    .inputs = FLOW_TABLE(shape_of_in),
    .outputs = FLOW_TABLE(shape_of_out),
    .kernels = FLOW_TABLE(shape_of_kernels),
    .infer = shape_of_infer,
};

/* ---- constant ---------------------------------------------------------------------------------------------------- */

static const struct flow_attr constant_attrs[] = {
    FLOW_ATTR(struct constant_attrs, value, "a number, or nested lists of numbers", FLOW_REQUIRED, FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR_SHAPE(struct constant_attrs, shape, "repeats one number; default: the lists' shape", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct constant_attrs, dtype, "element type", "f32")};
static const struct flow_port constant_out[] = {{"y", "the values", NULL, FLOW_TYPES_ANY, FLOW_NO_GRAD}};

static bool holds(int32_t dtype, double value) {
    switch (dtype) {
    case FLOW_I32: return value == floor(value) && value >= -0x1p31 && value < 0x1p31;
    case FLOW_I64: return value == floor(value) && value >= -0x1p63 && value < 0x1p63;
    case FLOW_U8: return value == floor(value) && value >= 0 && value < 256;
    case FLOW_BOOL: return value == 0 || value == 1;
    default: return true;
    }
}

static int constant_infer(struct flow_infer *infer) {
    const struct constant_attrs *a = infer->attrs;
    struct flow_tensor *y = &infer->out[0];
    char text[SHAPE_TEXT];
    y->dtype = a->dtype.type;
    y->rank = a->value.rank;
    memcpy(y->shape, a->value.shape, sizeof y->shape);
    for (int64_t i = 0; i < a->value.count; i++)
        if (!holds(y->dtype, a->value.at[i]))
            return infer->host->fail_at(infer->owner, "value", FLOW_ERROR_RANGE, "%g (number %lld) is no value of %s", a->value.at[i],
                                        (long long)i, shape_type_name(y->dtype));
    if (a->shape.given) {
        if (a->value.rank != 0)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_USAGE,
                                        "value is a list of shape %s: shape repeats a single number", shape_text(y, text));
        if (a->shape.count > FLOW_RANK_MAX)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%u axes: at most %d", a->shape.count, FLOW_RANK_MAX);
        y->rank = (int32_t)a->shape.count;
        for (int32_t i = 0; i < y->rank; i++) y->shape[i] = a->shape.at[i];
    }
    int status = shape_sound(infer, y);
    shape_dense(y);
    return status;
}

static void store(int32_t dtype, void *to, int64_t i, double value) {
    switch (dtype) {
    case FLOW_F32: ((float *)to)[i] = (float)value; break;
    case FLOW_F64: ((double *)to)[i] = value; break;
    case FLOW_F16: ((uint16_t *)to)[i] = f16_from_f32(f32_odd_from_f64(value)); break;
    case FLOW_BF16: ((uint16_t *)to)[i] = bf16_from_f32(f32_odd_from_f64(value)); break;
    case FLOW_I32: ((int32_t *)to)[i] = (int32_t)value; break;
    case FLOW_I64: ((int64_t *)to)[i] = (int64_t)value; break;
    default: ((uint8_t *)to)[i] = (uint8_t)value; break;
    }
}

static int constant_forward(const struct flow_call *call) {
    const struct constant_attrs *a = call->attrs;
    const struct flow_tensor *y = &call->out[0];
    int64_t count = shape_count(y);
    for (int64_t i = 0; i < count; i++) store(y->dtype, y->data, i, a->value.at[a->shape.given ? 0 : i]);
    return FLOW_OK;
}

static const struct flow_kernel constant_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = constant_forward}};

const struct flow_operator constant_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_VALUE,
    .name = "constant",
    .summary = "values written in the graph",
    .equation = "y = value",
    .reference = "elementary",
    .example = "y: {op: constant, with: {value: [1.5, -2, 0.25]}}",
    .outputs = FLOW_TABLE(constant_out),
    .attrs = FLOW_TABLE(constant_attrs),
    .attrs_size = sizeof(struct constant_attrs),
    .kernels = FLOW_TABLE(constant_kernels),
    .infer = constant_infer,
};

/* ---- arange ------------------------------------------------------------------------------------------------------ */

struct arange_attrs {
    struct flow_ints count;
    int64_t axis;
};

static const struct flow_attr arange_attrs[] = {
    FLOW_ATTR_SHAPE(struct arange_attrs, count, "how many; default: like's extent along axis", FLOW_ABSENT),
    FLOW_ATTR(struct arange_attrs, axis, "of like", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};
static const struct flow_port arange_in[] = {
    {"like", "gives the number of elements; its values are not read", NULL, FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_OPTIONAL | FLOW_NO_GRAD}};
static const struct flow_port arange_out[] = {{"y", "0 1 2 ...", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD}};
static const struct flow_state arange_states[] = {{"position", "steps so far", "", "zeros", FLOW_TYPE(I64), 0, 0, 0}};

static int arange_infer(struct flow_infer *infer) {
    const struct arange_attrs *a = infer->attrs;
    struct flow_tensor *y = &infer->out[0];
    bool like = infer->in_count > 0 && infer->in[0].rank >= 0;
    if (like == a->count.given) return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "one of count and like is needed");
    y->dtype = FLOW_I64, y->rank = 1;
    if (like) {
        int32_t axis;
        int status = shape_axis(infer, "axis", a->axis, infer->in[0].rank, &axis);
        if (status < 0) return status;
        y->shape[0] = infer->in[0].shape[axis];
        if (infer->streaming && infer->in_axis[0] != axis)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "it counts along axis %d, the pieces are cut along axis %d",
                                     axis, infer->in_axis[0]);
        if (infer->streaming) infer->out_axis[0] = 0;
    } else {
        if (a->count.count != 1 || a->count.at[0] < 0)
            return infer->host->fail_at(infer->owner, "count", FLOW_ERROR_RANGE, "count is one number of at least 0");
        y->shape[0] = a->count.at[0];
    }
    shape_dense(y);
    return shape_sound(infer, y);
}

static int arange_forward(const struct flow_call *call) {
    int64_t *y = call->out[0].data, count = call->out[0].shape[0], first = 0;
    if (call->state_count > 0 && call->state_in[0].rank >= 0) {
        first = *(const int64_t *)call->state_in[0].data;
        *(int64_t *)call->state_out[0].data = first + count;
    }
    for (int64_t i = 0; i < count; i++) y[i] = first + i;
    return FLOW_OK;
}

static const struct flow_kernel arange_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = arange_forward}};

const struct flow_operator arange_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_VALUE,
    .name = "arange",
    .summary = "whole numbers from 0 on; goes on from piece to piece when streamed",
    .equation = "y[i] = i",
    .reference = "NumPy's arange",
    .example = "y: {op: arange, with: {count: 7}}",
    .inputs = FLOW_TABLE(arange_in),
    .outputs = FLOW_TABLE(arange_out),
    .states = FLOW_TABLE(arange_states),
    .attrs = FLOW_TABLE(arange_attrs),
    .attrs_size = sizeof(struct arange_attrs),
    .kernels = FLOW_TABLE(arange_kernels),
    .infer = arange_infer,
};

/* ---- random_uniform, random_normal ------------------------------------------------------------------------------- */

/* Rows are written by hand where the attribute's name is not the field's. */
static const struct flow_attr uniform_attrs[] = {
    FLOW_ATTR_SHAPE(struct random_attrs, shape, "the shape", FLOW_REQUIRED),
    {"low", "least value", FLOW_ATTR_REAL, 0, offsetof(struct random_attrs, first), 0, "0", FLOW_NO_MIN, FLOW_NO_MAX, NULL},
    {"high", "values stay below it", FLOW_ATTR_REAL, 0, offsetof(struct random_attrs, second), 0, "1", FLOW_NO_MIN, FLOW_NO_MAX, NULL},
    FLOW_ATTR(struct random_attrs, seed, "in place of the graph's and the node's", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)};
static const struct flow_attr normal_attrs[] = {
    FLOW_ATTR_SHAPE(struct random_attrs, shape, "the shape", FLOW_REQUIRED),
    {"mean", "mean", FLOW_ATTR_REAL, 0, offsetof(struct random_attrs, first), 0, "0", FLOW_NO_MIN, FLOW_NO_MAX, NULL},
    {"std", "standard deviation", FLOW_ATTR_REAL, 0, offsetof(struct random_attrs, second), 0, "1", 0, FLOW_NO_MAX, NULL},
    FLOW_ATTR(struct random_attrs, seed, "in place of the graph's and the node's", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)};
static const struct flow_port random_out[] = {{"y", "numbers drawn anew in every run", NULL, FLOW_TYPES_REAL, FLOW_NO_GRAD}};

static int random_infer(struct flow_infer *infer) {
    const struct random_attrs *a = infer->attrs;
    struct flow_tensor *y = &infer->out[0];
    if (a->shape.count > FLOW_RANK_MAX)
        return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%u axes: at most %d", a->shape.count, FLOW_RANK_MAX);
    y->rank = (int32_t)a->shape.count;
    for (int32_t i = 0; i < y->rank; i++) y->shape[i] = a->shape.at[i];
    int status = shape_sound(infer, y);
    shape_dense(y);
    return status;
}

struct random_work {
    const struct flow_call *call;
    uint64_t key;
    double first, second;
};

/* f32: four numbers a block of the counter; f64: two. */
static void uniform_piece(void *context, int64_t begin, int64_t end) {
    const struct random_work *w = context;
    const struct flow_tensor *y = &w->call->out[0];
    uint32_t words[4];
    double range = w->second - w->first;
    for (int64_t i = begin; i < end; i++)
        if (y->dtype == FLOW_F64) {
            if (i % 2 == 0 || i == begin) flow_philox(w->key, w->call->run, (uint64_t)i / 2, words);
            ((double *)y->data)[i] = w->first + range * flow_uniform_f64(words[i % 2 * 2], words[i % 2 * 2 + 1]);
        } else {
            if (i % 4 == 0 || i == begin) flow_philox(w->key, w->call->run, (uint64_t)i / 4, words);
            float u = (float)w->first + (float)range * flow_uniform_f32(words[i % 4]);
            /* Rounding may reach the end that does not belong to the range. */
            ((float *)y->data)[i] = range > 0 && u >= (float)w->second ? nextafterf((float)w->second, -INFINITY) : u;
        }
}

/* Box and Muller, "A note on the generation of random normal deviates" (1958): pairs from two uniforms, the first in (0, 1]. Both
 * types take 53 bits, so that the tails reach as far as they should. */
static void normal_piece(void *context, int64_t begin, int64_t end) {
    const struct random_work *w = context;
    const struct flow_tensor *y = &w->call->out[0];
    double pair[2] = {0, 0};
    for (int64_t i = begin; i < end; i++) {
        if (i % 2 == 0 || i == begin) {
            uint32_t words[4];
            flow_philox(w->key, w->call->run, (uint64_t)i / 2, words);
            double radius = sqrt(-2 * log(1 - flow_uniform_f64(words[0], words[1])));
            double angle = 2 * 3.14159265358979323846 * flow_uniform_f64(words[2], words[3]);
            pair[0] = radius * cos(angle), pair[1] = radius * sin(angle);
        }
        double value = w->first + w->second * pair[i % 2];
        if (y->dtype == FLOW_F64) ((double *)y->data)[i] = value;
        else ((float *)y->data)[i] = (float)value;
    }
}

static int random_forward(const struct flow_call *call, int64_t grain, void (*piece)(void *, int64_t, int64_t)) {
    const struct random_attrs *a = call->attrs;
    uint64_t key = a->seed == FLOW_INT_ABSENT ? call->seed : flow_key((uint64_t)a->seed, "random");
    struct random_work work = {call, key, a->first, a->second};
    int64_t count = shape_count(&call->out[0]);
    if (count < 2 * grain || call->host->threads < 2) piece(&work, 0, count);
    else call->host->parallel_for(call, count, grain, piece, &work);
    return FLOW_OK;
}
static int uniform_forward(const struct flow_call *call) { return random_forward(call, 16384, uniform_piece); }
static int normal_forward(const struct flow_call *call) { return random_forward(call, 2048, normal_piece); }

static const struct flow_kernel uniform_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = uniform_forward}};
static const struct flow_kernel normal_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = normal_forward}};

const struct flow_operator random_uniform_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_RANDOM,
    .name = "random_uniform",
    .summary = "evenly distributed random numbers, keyed by seed, node and run",
    .equation = "y ~ U[low, high)",
    .reference = "Salmon et al., \"Parallel random numbers: as easy as 1, 2, 3\" (SC 2011): Philox4x32-10",
    .example = "y: {op: random_uniform, with: {shape: [2, 3], low: -1}}",
    .outputs = FLOW_TABLE(random_out),
    .attrs = FLOW_TABLE(uniform_attrs),
    .attrs_size = sizeof(struct random_attrs),
    .kernels = FLOW_TABLE(uniform_kernels),
    .infer = random_infer,
};

const struct flow_operator random_normal_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_RANDOM,
    .name = "random_normal",
    .summary = "normally distributed random numbers, keyed by seed, node and run",
    .equation = "y ~ N(mean, std^2)",
    .reference = "Box, Muller (1958) on Philox4x32-10",
    .example = "y: {op: random_normal, with: {shape: [2, 3]}}",
    .outputs = FLOW_TABLE(random_out),
    .attrs = FLOW_TABLE(normal_attrs),
    .attrs_size = sizeof(struct random_attrs),
    .kernels = FLOW_TABLE(normal_kernels),
    .infer = random_infer,
};
