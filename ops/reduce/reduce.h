/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: which elements a result is made of, and the kernels. */
#ifndef OPS_REDUCE_REDUCE_H
#define OPS_REDUCE_REDUCE_H

#include "common/simd.h"

enum reduce_op {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PRODUCT,
    REDUCE_LOG_SUM_EXP,
    REDUCE_NORM,
    REDUCE_VAR,
    REDUCE_ANY,
    REDUCE_ALL
};

struct reduce_attrs {
    struct flow_ints axes;
    bool keep;
    double p;
    bool unbiased;
};

/* Axes of extent 1 are dropped and neighbours joined, so that kept and reduced axes alternate. Where the last is reduced, a result is
 * made of `segments` runs of `run` adjacent elements; where it is kept, `run` results lie side by side, each made of one element out of
 * `segments` rows. */
struct reduce_walk {
    int64_t segments;
    int64_t run;
    int32_t rank; /* reduced axes that segments are counted over */
    int64_t extent[FLOW_RANK_MAX], stride[FLOW_RANK_MAX];
};

struct reduce_plan {
    enum reduce_op op;
    bool last; /* the last axis is reduced */
    struct reduce_walk walk;
    int32_t kept_rank; /* kept axes but, where the last is kept, that one */
    int64_t kept_extent[FLOW_RANK_MAX], kept_stride[FLOW_RANK_MAX];
    int64_t kept; /* their count */
};

static inline int64_t reduce_segment(const struct reduce_walk *walk, int64_t index) {
    int64_t offset = 0;
    for (int32_t i = walk->rank - 1; i > 0; --i) {
        offset += index % walk->extent[i] * walk->stride[i];
        index /= walk->extent[i];
    }
    return walk->rank > 0 ? offset + index * walk->stride[0] : offset;
}

/* Options of one call: of norm its p, of var the divisor's correction. */
struct reduce_option {
    enum reduce_op op;
    double p;
    int64_t correction;
};

enum { REDUCE_TILE = 256 }; /* most results of one call of `first` */

struct reduce_table {
    /* One result from runs; `width` <= REDUCE_TILE results from rows. */
    void (*last_f32)(float *y, const float *x, const struct reduce_walk *walk, const struct reduce_option *option);
    void (*last_f64)(double *y, const double *x, const struct reduce_walk *walk, const struct reduce_option *option);
    void (*first_f32)(float *y, const float *x, const struct reduce_walk *walk, int64_t width, const struct reduce_option *option);
    void (*first_f64)(double *y, const double *x, const struct reduce_walk *walk, int64_t width, const struct reduce_option *option);
};
ISA_DECLARE(struct reduce_table, reduce_table);

/* How an element's gradient comes from that of its sum: q and c are numbers of the result. */
enum reduce_spread {
    SPREAD_PLAIN, /* q */
    SPREAD_EXP,   /* q exp(x - c) */
    SPREAD_SIGN,  /* q sign(x) */
    SPREAD_SCALE, /* q (x - c) */
    SPREAD_POWER  /* q sign(x) |x|^(p - 1); 0 at 0 */
};

/* Of n adjacent elements that belong to one result; _each: of n results side by side. adds: to what dx holds. */
struct reduce_back_table {
    void (*spread_f32)(enum reduce_spread kind, float *dx, const float *x, int64_t n, float q, float c, double p, bool adds);
    void (*spread_f64)(enum reduce_spread kind, double *dx, const double *x, int64_t n, double q, double c, double p, bool adds);
    void (*spread_each_f32)(enum reduce_spread kind, float *dx, const float *x, int64_t n, const float *q, const float *c, double p,
                            bool adds);
    void (*spread_each_f64)(enum reduce_spread kind, double *dx, const double *x, int64_t n, const double *q, const double *c, double p,
                            bool adds);
    /* The first that is y (magnitude: but for the sign), or -1; each: q where it is the first, else 0, `found` from call to call. */
    int64_t (*find_f32)(const float *x, int64_t n, float y, bool magnitude);
    int64_t (*find_f64)(const double *x, int64_t n, double y, bool magnitude);
    void (*find_each_f32)(float *dx, const float *x, int64_t n, const float *y, const float *q, unsigned char *found, bool magnitude,
                          bool adds);
    void (*find_each_f64)(double *dx, const double *x, int64_t n, const double *y, const double *q, unsigned char *found, bool magnitude,
                          bool adds);
    /* Products of what is not 0, and the number of zeros; from them the products of all others, times q. */
    void (*factors_f32)(const float *x, int64_t n, double *product, int64_t *zeros);
    void (*factors_f64)(const double *x, int64_t n, double *product, int64_t *zeros);
    void (*factors_each_f32)(const float *x, int64_t n, double *product, int64_t *zeros);
    void (*factors_each_f64)(const double *x, int64_t n, double *product, int64_t *zeros);
    void (*cofactors_f32)(float *dx, const float *x, int64_t n, double q, double product, int64_t zeros, bool adds);
    void (*cofactors_f64)(double *dx, const double *x, int64_t n, double q, double product, int64_t zeros, bool adds);
    void (*cofactors_each_f32)(float *dx, const float *x, int64_t n, const float *q, const double *product, const int64_t *zeros,
                               bool adds);
    void (*cofactors_each_f64)(double *dx, const double *x, int64_t n, const double *q, const double *product, const int64_t *zeros,
                               bool adds);
};
ISA_DECLARE(struct reduce_back_table, reduce_back_table);

/* Integers and truth values: plain loops, the same shapes of work. */
void reduce_integer(void *y, const void *x, int32_t dtype, const struct reduce_plan *plan, const struct reduce_walk *walk, int64_t width);

/* Shared infer and forward of all operators with `axes` and `keep`; priv is a struct reduce_plan. */
int reduce_infer(struct flow_infer *infer, enum reduce_op op);
int reduce_forward(const struct flow_call *call);
/* Means of what each result is made of, where forward would write the results. */
void reduce_means(const struct flow_call *call, void *means);
int reduce_backward(const struct flow_call *call);

/* softmax, log_softmax (log): x seen as [outer, n, inner], summed over n. */
struct softmax_plan {
    int64_t outer, n, inner;
    bool log;
};
struct softmax_table {
    void (*rows_f32)(float *y, const float *x, int64_t rows, int64_t n, bool log);
    void (*rows_f64)(double *y, const double *x, int64_t rows, int64_t n, bool log);
    /* `width` <= REDUCE_TILE columns of one [n, inner] */
    void (*columns_f32)(float *y, const float *x, int64_t n, int64_t inner, int64_t width, bool log);
    void (*columns_f64)(double *y, const double *x, int64_t n, int64_t inner, int64_t width, bool log);
    /* dx from dy and y; adds: to what dx holds */
    void (*rows_back_f32)(float *dx, const float *dy, const float *y, int64_t rows, int64_t n, bool log, bool adds);
    void (*rows_back_f64)(double *dx, const double *dy, const double *y, int64_t rows, int64_t n, bool log, bool adds);
    void (*columns_back_f32)(float *dx, const float *dy, const float *y, int64_t n, int64_t inner, int64_t width, bool log, bool adds);
    void (*columns_back_f64)(double *dx, const double *dy, const double *y, int64_t n, int64_t inner, int64_t width, bool log, bool adds);
};
ISA_DECLARE(struct softmax_table, softmax_table);

#endif
