/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CUDA kernels of rnn, lstm and gru share: the cells, one step each way, and what the launchers hand to kernels.
 *
 * Tensors of all positions are [B, T, ...] in the order of x, so that the products before and after the recurrence are one each. Steps that
 * a row does not have are skipped by the kernels and hold zeros in whatever a product sums over.
 */
#ifndef PLUGINS_RECURRENT_CUDA_H
#define PLUGINS_RECURRENT_CUDA_H

#include "common/cuda.h"

#include "recurrent.h"

/* The cells as kernels tell them apart. */
enum { KIND_RNN, KIND_LSTM, KIND_COUPLED, KIND_GRU };
template <int KIND> struct recurrent_kind {
    static const int gates = KIND == KIND_LSTM ? 4 : KIND == KIND_RNN ? 1 : 3;
    static const int kept = KIND == KIND_LSTM || KIND == KIND_GRU ? 4 : gates; /* values by unit that backward needs of a step */
    static const bool has_c = KIND == KIND_LSTM || KIND == KIND_COUPLED;
    static const bool has_v = KIND == KIND_GRU; /* d_v differs from d_u */
};

/* The rows, lengths and resets of one direction. */
struct recurrent_order_of_steps {
    const int64_t *lengths; /* [B]; NULL: all of them `steps` */
    const uint8_t *reset;   /* [B, T]; NULL */
    int64_t batch, steps;
    bool reversed;

    __device__ int64_t length(int64_t b) const {
        if (!lengths) return steps;
        int64_t n = lengths[b];
        return n < 0 ? 0 : n > steps ? steps : n;
    }
    /* Position, in [B, T], of step s of row b that has n steps. */
    __device__ int64_t position(int64_t b, int64_t s, int64_t n) const { return b * steps + (reversed ? n - 1 - s : s); }
    /* A border of sequences lies between step s and the one before: the state starts again at zero. */
    __device__ bool starts_anew(int64_t b, int64_t s, int64_t n) const {
        if (!reset || s >= n) return false;
        if (!reversed) return reset[b * steps + s] != 0;
        return s > 0 && reset[b * steps + n - s] != 0;
    }
};

/* What a direction's forward works on. */
template <typename T> struct recurrent_scan {
    recurrent_order_of_steps order;
    const T *u;                 /* [B, T, gates*units] */
    const T *weights;           /* as cuda_recurrent_turn lays them out; for a diagonal recurrence weight_hh itself */
    const T *bias;              /* of v, [gates*units]; NULL */
    const T *peephole;          /* NULL */
    const T *h_first, *c_first; /* [B, units]; NULL: 0 */
    T *y;
    int64_t y_row;
    T *keep, *keep_h, *keep_c;   /* for backward, [B, T, kept*units] and [B, T, units]; NULL */
    T *h_last, *c_last;          /* [B, units]; NULL */
    T *h_state, *c_state;        /* the same for a stream; NULL */
    int32_t units, width, heads; /* width: of a head */
    int32_t quads, shared;       /* of a thread: how many, how many of them in shared memory behind those in registers */
    bool relu;
};

/* And its backward. */
template <typename T> struct recurrent_scan_back {
    recurrent_order_of_steps order;
    const T *weights;
    const T *peephole;
    const T *keep, *keep_h, *keep_c;
    const T *d_y; /* NULL: 0 */
    int64_t y_row;
    const T *d_h_last, *d_c_last; /* NULL: 0 */
    T *d_u, *d_v;                 /* [B, T, gates*units]; d_v of gru alone */
    T *d_h_first, *d_c_first;     /* NULL: not wanted */
    bool add_h, add_c;
    int32_t units, width, heads, quads, shared;
    bool relu;
};

/* ---- Cells ---------------------------------------------------------------------------------------------------------- */

static __device__ inline float recurrent_exp(float x) { return expf(x); }
static __device__ inline double recurrent_exp(double x) { return exp(x); }
static __device__ inline float recurrent_tanh(float x) { return tanhf(x); }
static __device__ inline double recurrent_tanh(double x) { return tanh(x); }
template <typename T> static __device__ inline T recurrent_sigmoid(T x) {
    T e = recurrent_exp(x < 0 ? x : -x);
    return (x < 0 ? e : T(1)) / (T(1) + e);
}

/* One step of one unit: u, v by gate; p its peepholes (coupled: of f and o). h and c become those after it. */
template <typename T, int KIND>
static __device__ inline void recurrent_cell(const T *u, const T *v, const T *p, bool peephole, bool relu, T &h, T &c, T *keep) {
    if (KIND == KIND_RNN) {
        T a = u[0] + v[0];
        h = relu ? (a > 0 ? a : T(0)) : recurrent_tanh(a);
        keep[0] = h;
    } else if (KIND == KIND_GRU) {
        T r = recurrent_sigmoid(u[0] + v[0]), z = recurrent_sigmoid(u[1] + v[1]), n = recurrent_tanh(u[2] + r * v[2]);
        keep[0] = r, keep[1] = z, keep[2] = n, keep[3] = v[2];
        h = (T(1) - z) * n + z * h;
    } else {
        const bool coupled = KIND == KIND_COUPLED;
        const int rf = coupled ? 0 : 1;
        T a_i = coupled ? T(0) : u[0] + v[0], a_f = u[rf] + v[rf], a_g = u[rf + 1] + v[rf + 1], a_o = u[rf + 2] + v[rf + 2];
        if (peephole) a_i += coupled ? T(0) : p[0] * c, a_f += p[rf] * c;
        T f = recurrent_sigmoid(a_f), i = coupled ? T(1) - f : recurrent_sigmoid(a_i), g = recurrent_tanh(a_g), next = f * c + i * g;
        if (peephole) a_o += p[rf + 1] * next;
        T o = recurrent_sigmoid(a_o);
        if (!coupled) keep[0] = i;
        keep[rf] = f, keep[rf + 1] = g, keep[rf + 2] = o;
        c = next;
        h = o * recurrent_tanh(next);
    }
}

/* The same backward; h, c: before the step. d_h becomes what of the gradient of the h before does not come through weight_hh. */
template <typename T, int KIND>
static __device__ inline void recurrent_cell_back(const T *keep, T h, T c, const T *p, bool peephole, bool relu, T &d_h, T &d_c, T *d_u,
                                                  T *d_v) {
    const T one = 1;
    if (KIND == KIND_RNN) {
        T slope = relu ? (keep[0] > 0 ? one : T(0)) : one - keep[0] * keep[0];
        d_v[0] = d_u[0] = d_h * slope;
        d_h = 0;
    } else if (KIND == KIND_GRU) {
        T r = keep[0], z = keep[1], n = keep[2], v_n = keep[3];
        T a_n = d_h * (one - z) * (one - n * n), a_r = a_n * v_n * r * (one - r), a_z = d_h * (h - n) * z * (one - z);
        d_u[0] = d_v[0] = a_r, d_u[1] = d_v[1] = a_z;
        d_u[2] = a_n, d_v[2] = a_n * r;
        d_h = d_h * z;
    } else {
        const bool coupled = KIND == KIND_COUPLED;
        const int rf = coupled ? 0 : 1;
        T f = keep[rf], g = keep[rf + 1], o = keep[rf + 2], i = coupled ? one - f : keep[0], t = recurrent_tanh(f * c + i * g);
        T a_o = d_h * t * o * (one - o), d_next = d_c + d_h * o * (one - t * t);
        if (peephole) d_next += a_o * p[rf + 1];
        T a_i = coupled ? T(0) : d_next * g * i * (one - i), a_f = d_next * (coupled ? c - g : c) * f * (one - f), before = d_next * f;
        if (peephole) before += a_f * p[rf] + (coupled ? T(0) : a_i * p[0]);
        if (!coupled) d_u[0] = a_i;
        d_u[rf] = a_f, d_u[rf + 1] = d_next * i * (one - g * g), d_u[rf + 2] = a_o;
        for (int k = 0; k < recurrent_kind<KIND>::gates; k++) d_v[k] = d_u[k];
        d_c = before;
        d_h = 0;
    }
}

/* ---- Launches: 0, or a cudaError_t ---------------------------------------------------------------------------------- */

/* How blocks of a scan hold weight_hh. Lane `slice` of `slices` adjacent threads that serve one unit has the quads (four inputs each)
 * slice, slice + slices, ... of all gates of that unit. `held` of them stay in its registers, then some in shared memory, and the rest are
 * read anew each step, from L2. */
struct recurrent_shape {
    bool fits;            /* false: a product and a kernel for each step */
    int32_t slices, rows; /* rows of the batch a block has */
    int32_t quads, threads;
};
recurrent_shape cuda_recurrent_shape_of(const recurrent_priv *p, const recurrent_attrs *a);
/* Quads of a thread in shared memory, of `bytes` each, where the block needs `other` bytes besides; the bytes of all. */
int32_t cuda_recurrent_shared_quads(const recurrent_shape &shape, int32_t held, int64_t bytes, int64_t other, int64_t *total);
/* Lets a kernel have more shared memory than the 48 KiB that any may have. */
int cuda_recurrent_allow_shared(const void *kernel, int64_t bytes);

int cuda_recurrent_scan_forward(const recurrent_scan<float> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream);
int cuda_recurrent_scan_forward(const recurrent_scan<double> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream);
int cuda_recurrent_scan_backward(const recurrent_scan_back<float> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream);
int cuda_recurrent_scan_backward(const recurrent_scan_back<double> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream);

/* Step by step: what lies between the products of two steps. `begin` fills h and c [B, units] with what is before the first step; `step`
 * takes v [B, gates*units] of step s and changes h and c; `end` gives the last state away and clears the padding. */
template <typename T> int cuda_recurrent_step_begin(const recurrent_scan<T> &scan, T *h, T *c, cudaStream_t stream);
template <typename T>
int cuda_recurrent_step_one(const recurrent_scan<T> &scan, int kind, int64_t s, const T *v, T *h, T *c, cudaStream_t stream);
template <typename T> int cuda_recurrent_step_end(const recurrent_scan<T> &scan, int kind, const T *h, const T *c, cudaStream_t stream);
/* Backward: d_h as the product left it, d_c, d_v of this step [B, gates*units] for the next product; s = -1: gives the state's away. */
template <typename T>
int cuda_recurrent_step_back(const recurrent_scan_back<T> &scan, int kind, int64_t s, T *d_h, T *d_c, T *d_v, cudaStream_t stream);

/* Diagonal recurrences: all steps in one launch, a thread a unit. */
template <typename T> int cuda_recurrent_diagonal(const recurrent_scan<T> &scan, int kind, cudaStream_t stream);
template <typename T> int cuda_recurrent_diagonal_back(const recurrent_scan_back<T> &scan, int kind, cudaStream_t stream);

/* weight_hh [gates*units, width] with these distances, into the order in which threads of a scan read it. */
template <typename T>
int cuda_recurrent_turn(const T *w, int64_t row, int64_t column, const recurrent_priv *p, const recurrent_shape &shape, int64_t heads,
                        bool back, T *to, cudaStream_t stream);
static inline int64_t cuda_recurrent_turned(const recurrent_priv *p, const recurrent_shape &shape) { /* its elements */
    return p->gates * p->units * shape.quads * shape.slices * 4;
}
/* sums[c] (+)= sum_r x[r][c] y[r][c], y NULL: of x alone; the same for any grid. part: cuda_recurrent_sums_room elements. */
template <typename T>
int cuda_recurrent_sum_rows(const T *x, int64_t x_row, const T *y, int64_t y_row, int64_t rows, int64_t columns, T *part, T *sums, bool add,
                            cudaStream_t stream);
static inline int64_t cuda_recurrent_sums_room(int64_t columns) { return 64 * columns; }
/* y [B, T, wide] times layer `layer`'s mask of dropout. */
template <typename T> int cuda_recurrent_mask(const struct flow_call *call, int64_t layer, T *y, cudaStream_t stream);
/* x without what is behind the rows' lengths. */
template <typename T>
int cuda_recurrent_without_padding(const recurrent_order_of_steps &order, const T *x, int64_t width, T *to, cudaStream_t stream);
/* c after each step, from what forward kept. */
template <typename T>
int cuda_recurrent_next_c(const T *keep, const T *c, int64_t rows, int64_t units, bool coupled, T *to, cudaStream_t stream);
/* Reports lengths outside [0, steps]. */
int cuda_recurrent_check_lengths(const struct flow_call *call, const int64_t *lengths, int64_t batch, int64_t steps);

template <typename T> int cuda_recurrent_add(const T *from, T *to, int64_t count, cudaStream_t stream);

/* The call's kernel and where it keeps things, told from the plan alone. */
struct recurrent_layout {
    int kind;
    int64_t gates, kept, positions, wide, rows; /* gates: gates*units; wide: units*directions; rows: B*T */
    bool diagonal;
    recurrent_shape shape;
    int64_t workspace, saved, back; /* bytes; -1: more than can be counted */
    int64_t at_u, at_weights, at_y[2], at_h, at_c, at_v;
    int64_t keep, keep_h, keep_c, keep_y, keep_each, keep_h_each, keep_y_each;
    int64_t at_d_u, at_d_v, at_back_weights, at_sums, at_x, at_next_c, at_d_y[2], at_d_h, at_d_c, at_step_d_v;
};
recurrent_layout cuda_recurrent_layout_of(const recurrent_attrs *a, const recurrent_priv *p, bool has_lengths);
recurrent_order_of_steps cuda_recurrent_steps_of(const struct flow_call *call, bool reversed);

#endif
