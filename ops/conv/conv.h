/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: windows that slide along axes, and the kernels. */
#ifndef OPS_CONV_CONV_H
#define OPS_CONV_CONV_H

#include "common/simd.h"

#define CONV_MOST 1e9 /* of kernels, strides, paddings, dilations: their products fit */

enum { PADDING_SAME, PADDING_CAUSAL };                           /* words of `padding` */
enum { MODE_ZERO, MODE_REFLECT, MODE_REPLICATE, MODE_CIRCULAR }; /* words of `padding_mode` */

/* One axis: `in` elements, `before` and `after` padded ones beside them, and the places of a window. */
struct window {
    int64_t in, out, kernel, stride, dilation, before, after;
};

/* Elements from a window's first to its last. */
static inline int64_t window_reach(const struct window *w) { return w->dilation * (w->kernel - 1) + 1; }
/* Places of a window in in + before + after elements. */
static inline int64_t window_places(const struct window *w) {
    int64_t free = w->in + w->before + w->after - window_reach(w);
    return free < 0 ? 0 : free / w->stride + 1;
}
/* Does it neither move anything nor look further than one element? */
static inline bool window_trivial(const struct window *w) { return w->kernel == 1 && w->stride == 1 && w->before == 0 && w->after == 0; }

/* An integer for all axes, or one for each; `otherwise` where the attribute is absent (NULL: there is a default). */
int window_integers(const struct flow_infer *infer, const char *name, const struct flow_ints *from, int32_t axes, const int64_t *otherwise,
                    int64_t *to);
/* Padding of axes whose in, kernel, stride, dilation are known: numbers, or `same` or `causal`. */
int window_padding(const struct flow_infer *infer, const struct flow_ints *padding, int32_t axes, struct window *windows);
/* Places along axes of x from `first` on; a window that fits nowhere is an error, unless there is nothing to slide over. */
int window_fit(const struct flow_infer *infer, int32_t first, int32_t axes, struct window *windows);
/* The element that padding at index -before <= i < in + after repeats; -1: a zero. */
int64_t window_source(int64_t i, int64_t in, int32_t mode);

/* Streaming along one axis of x. What windows have yet to see is a state with that axis' extent `kept`: at first the padding before.
 * A piece is the kept elements and the new ones; `emits` places are complete. With `flush` the padding after follows. */
struct window_stream {
    int32_t axis;        /* of x; -1: nothing streams along a window */
    int64_t kept, fresh; /* extents that come in */
    int64_t left;        /* extent that goes on */
};
#ifndef __cplusplus
/* `axis` of x streams along the window: sets its in, before, after, out, the state and the result's axis. `zero`: padding is of zeros. */
int window_stream(struct flow_infer *infer, int32_t axis, struct window *window, bool zero, struct window_stream *stream);
/* Bytes of kept and new elements side by side; 0 where the input can be read as it is. Negative: too many. */
int64_t window_stream_bytes(const struct flow_tensor *x, const struct window_stream *stream, int64_t element);
/* Kept and new elements side by side (in `joined`, or x itself); writes the state that goes on. */
const void *window_stream_join(const struct flow_call *call, const struct window_stream *stream, void *joined);
#endif

struct conv_attrs {
    int64_t units;
    struct flow_ints kernel, stride, padding, dilation, output_padding;
    int64_t groups;
    bool bias;
    int32_t padding_mode;
};

enum { CONV_VECTOR = 16 };

enum conv_path {
    CONV_DIRECT,  /* taps summed over rows of the padded input: few channels in or out of a group */
    CONV_COLUMNS, /* weights [M, K] times columns [K, places] */
    CONV_ROWS     /* few places: columns' transpose times packed weights */
};

/* How the gradients are computed. The work is cut into `slots` shares, as the shapes say; each has scratch and sums of weights'
 * and biases' gradients of its own, which are then added up in order. */
struct conv_back {
    bool direct;              /* sums of taps and dot products with rows laid out once; else columns and products */
    int64_t slots;            /* shares */
    int64_t tile;             /* DIRECT: rows of planes; columns: places, or samples where there are few places */
    int64_t tiles;            /* of one sample and group */
    int64_t samples;          /* columns: samples side by side */
    int64_t table, turned;    /* bytes: offsets or statuses; weights turned round (DIRECT) */
    int64_t slot, sums, bias; /* bytes of each slot: scratch, gradient of the weights, of the bias in f64 */
};

struct conv_plan {
    enum conv_path path;
    int32_t axes;
    int32_t mode;
    struct window axis[2]; /* height, width; of conv1d a height of 1, and time */
    struct window_stream stream;
    int64_t batch, channels, units, groups;
    int64_t taps;   /* K: of a unit, channels / groups * kernel */
    int64_t places; /* in one channel of the result */
    bool bare;      /* columns are the input itself */
    int64_t joined; /* bytes of the workspace's parts: input with its history, table of taps, scratch of one slot */
    int64_t table;
    int64_t slot;
    int64_t slots; /* shares of the work */
    int64_t tile;  /* COLUMNS: places; DIRECT: rows of places; ROWS: samples */
    int64_t tiles; /* of one sample and group */
    uint32_t weight, bias;
    struct conv_back back;
};

/* One call: x is the input with its history. */
struct conv_work {
    const struct flow_call *call;
    const struct conv_plan *plan;
    const void *x;
    const void *weight, *bias; /* bias: NULL where there is none */
    void *y;
    int32_t dtype;
    int64_t size; /* of an element */
    void *table;
    char *scratch; /* slots */
};

int conv_gradient_plan(struct flow_infer *infer, struct conv_plan *plan); /* what backward needs */
int conv_gradient(const struct flow_call *call);                          /* backward */

int conv_plan_make(struct flow_infer *infer, struct conv_plan *plan); /* path, workspace, packed bytes */
int conv_columns_run(const struct conv_work *work);                   /* COLUMNS, ROWS */
void conv_direct_plan(struct conv_plan *plan);
int conv_direct_run(const struct conv_work *work);
/* Columns of places [begin, end) of one sample's group: [K, end - begin], rows `row` elements apart. x: that group's first channel. */
void conv_columns_fill(const struct conv_plan *plan, const void *x, int64_t size, int64_t begin, int64_t end, void *columns, int64_t row);
/* Calls body(work, slot) for every slot, on several threads if there are several slots. */
void conv_slots(const struct conv_work *work, void (*body)(const struct conv_work *work, int64_t slot));

/* n elements of a row of the result, `step` apart: element q lies between x[q + low] and x[q + high] (indices clamped to the row), `across`
 * of the way; and `down` of the way from the upper row to the lower. */
struct conv_blend {
    int64_t n, step, low, high;
    double across, down;
};

/* Sums of taps for several units: rows of y and of w are so far apart. */
struct conv_taps {
    int64_t units, count;
    const int64_t *offset; /* [count] */
    int64_t y_step, w_step;
};

struct conv_table {
    /* y[u, i] = bias[u] + sum over j of w[u, j] x[offset[j] + i]; bias NULL: 0 */
    void (*taps_f32)(float *y, int64_t n, const float *x, const float *w, const float *bias, const struct conv_taps *taps);
    void (*taps_f64)(double *y, int64_t n, const double *x, const double *w, const double *bias, const struct conv_taps *taps);
    /* to[u, j] += sum over i of dy[u, i] x[offset[j] + i], i < n rounded up to whole vectors (at most CONV_VECTOR elements) */
    void (*dots_f32)(float *to, int64_t to_step, int64_t units, const float *dy, int64_t dy_step, int64_t n, const float *x,
                     const int64_t *offset, int64_t count);
    void (*dots_f64)(double *to, int64_t to_step, int64_t units, const double *dy, int64_t dy_step, int64_t n, const double *x,
                     const int64_t *offset, int64_t count);
    /* y[i * step] += x[i] */
    void (*add_f32)(float *y, int64_t step, const float *x, int64_t n);
    void (*add_f64)(double *y, int64_t step, const double *x, int64_t n);
    /* sum of adjacent elements */
    double (*total_f32)(const float *x, int64_t n);
    double (*total_f64)(const double *x, int64_t n);
    /* Pools: m[i] = max(m[i], x[i * step]), m[i] += x[i * step] */
    void (*most_f32)(float *m, const float *x, int64_t step, int64_t n);
    void (*most_f64)(double *m, const double *x, int64_t step, int64_t n);
    void (*most_pairs_f32)(float *y, const float *x, int64_t n); /* y[i] = max(x[2 i], x[2 i + 1]) */
    void (*most_pairs_f64)(double *y, const double *x, int64_t n);
    void (*sum_f32)(float *m, const float *x, int64_t step, int64_t n);
    void (*sum_f64)(double *m, const double *x, int64_t step, int64_t n);
    void (*blend_f32)(float *y, const float *upper, const float *lower, const struct conv_blend *blend);
    void (*blend_f64)(double *y, const double *upper, const double *lower, const struct conv_blend *blend);
    /* Gradients: x[q] += weight y[q * step]; dx[i * step] += left[i], which then is 0, where x[i * step] is y[i]; the same for windows of
     * two by two elements, their upper and lower rows, which are set */
    void (*collect_f32)(float *x, const float *y, int64_t step, double weight, int64_t n);
    void (*collect_f64)(double *x, const double *y, int64_t step, double weight, int64_t n);
    void (*hit_f32)(float *dx, const float *x, int64_t step, const float *y, float *left, int64_t n);
    void (*hit_f64)(double *dx, const double *x, int64_t step, const double *y, double *left, int64_t n);
    void (*hit_pairs_f32)(float *upper, float *lower, const float *x_upper, const float *x_lower, const float *y, const float *dy,
                          int64_t n);
    void (*hit_pairs_f64)(double *upper, double *lower, const double *x_upper, const double *x_lower, const double *y, const double *dy,
                          int64_t n);
};
ISA_DECLARE(struct conv_table, conv_table);

#endif
