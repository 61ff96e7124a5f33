/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of elementwise operators: (2 to 5) * sizeof(T) bytes an element, in one pass over memory for both inputs of a pair. */
#include "common/cuda.h"

#include "elementwise/back.h"

#include "common/cuda_math.h"
#include "elementwise/gate.h"
#include "elementwise/kernels_cuda.h"

/* What `op` says of d = g[i], p = u[i], q = v[i]. */
#define REAL T
#define FLOOR math_floor
#define SQRT math_sqrt
#define POW math_pow
#define LOG math_log
#define EXP math_exp
#define EXPM1 math_expm1
#define SIGMOID math_sigmoid
#define SIGMOID_SLOPE math_sigmoid_slope
#define SILU math_silu
#define SILU_SLOPE math_silu_slope
#define GELU math_gelu
#define GELU_SLOPE math_gelu_slope
#define GELU_TANH_SLOPE math_gelu_tanh_slope
#define TANH math_tanh
#define MISH_SLOPE math_mish_slope
#define ERF_SLOPE math_erf_slope
template <typename T> static __device__ inline T back_value(int op, T d, T p, T q, T k0, T k1) {
    switch (op) {
#define CASE(name, reads, value) \
    case BACK_##name: return value;
        BACK_LIST(CASE)
#undef CASE
    case BACK_WHERE_A: return p != 0 ? d : T(0);
    case BACK_WHERE_B: return p != 0 ? T(0) : d;
    case BACK_SIN: return d * math_cos(p);
    case BACK_COS: return -d * math_sin(p);
    default: return T(0);
    }
}

/* 1: u is read, 2: v is read. */
static constexpr uint32_t reads_of(int op) {
    switch (op) {
#define CASE(name, reads, value) \
    case BACK_##name: return reads;
        BACK_LIST(CASE)
#undef CASE
    case BACK_WHERE_A:
    case BACK_WHERE_B:
    case BACK_SIN:
    case BACK_COS: return 1;
    default: return 0;
    }
}

/* A, B: functions known to the compiler; -1: as `op` says, for all threads alike. B -2: there is one alone. to may be g's memory: an
 * element is read before it is written, by the same thread. U: bool for a choice's condition, else T. */
template <typename T, typename U, int A, int B> struct back_map {
    const T *g;
    const U *u;
    const T *v; /* NULL: v_value */
    T *to[2];
    T v_value, k0, k1;
    int op[2];
    uint32_t reads;
    bool add[2];
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[3], uint32_t single) const {
        const cuda_few<T, V> d = cuda_load<V>(g, in[0]);
        cuda_few<T, V> p = d, q, y, z;
        if (reads & 1u) {
            const cuda_few<U, V> from = cuda_load<V>(u, in[1], single >> 1 & 1u);
            for (int j = 0; j < V; j++) p.at[j] = static_cast<T>(from.at[j]);
        }
        if ((reads & 2u) && v != nullptr) q = cuda_load<V>(v, in[2], single >> 2 & 1u);
        else
            for (int j = 0; j < V; j++) q.at[j] = v_value;
        for (int j = 0; j < V; j++) {
            y.at[j] = back_value<T>(A < 0 ? op[0] : A, d.at[j], p.at[j], q.at[j], k0, k1);
            if (B != -2) z.at[j] = back_value<T>(B < 0 ? op[1] : B, d.at[j], p.at[j], q.at[j], k0, k1);
        }
        put(to[0], out, y, add[0]);
        if (B != -2) put(to[1], out, z, add[1]);
    }
    template <int V> static __device__ inline void put(T *at, int64_t out, cuda_few<T, V> &y, bool adds) {
        if (adds) {
            const cuda_few<T, V> before = cuda_load<V>(at, out);
            for (int j = 0; j < V; j++) y.at[j] = before.at[j] + y.at[j];
        }
        cuda_store<V>(at, out, y);
    }
};

template <typename T, typename U> struct back_fold {
    const T *g;
    const U *u;
    const T *v;
    T v_value, k0, k1;
    int op;
    uint32_t reads;
    __device__ T value(const int64_t (&at)[3]) const {
        const T d = g[at[0]], p = reads & 1u ? static_cast<T>(u[at[1]]) : d, q = !(reads & 2u) ? d : v != nullptr ? v[at[2]] : v_value;
        return back_value<T>(op, d, p, q, k0, k1);
    }
};
/* The usual ones of a product and a difference. */
template <typename T> struct back_fold_product {
    const T *g, *u;
    __device__ T value(const int64_t (&at)[2]) const { return g[at[0]] * u[at[1]]; }
};
template <typename T> struct back_fold_negative {
    const T *g;
    __device__ T value(const int64_t (&at)[1]) const { return -g[at[0]]; }
};

/* What goes to all kernels of one node. */
struct back_call {
    const struct flow_call *call;
    const struct flow_tensor *g, *u, *v;
    double v_value, k0, k1;
};

template <typename T> static const T *data_of(const struct flow_tensor *t) {
    return t != nullptr ? static_cast<const T *>(t->data) : nullptr;
}

template <typename T, typename U> static int sum_run(const struct back_call *b, const struct back *back) {
    const uint32_t reads = reads_of(back->op);
    const struct flow_tensor *u = reads & 1u ? b->u : b->g, *v = reads & 2u && b->v != nullptr ? b->v : b->g;
    cudaStream_t stream = cuda_stream(b->call);
    void *room = b->call->workspace;
    if (back->op == BACK_COPY) return cuda_fold_sum(stream, b->g, back->to, back->add, room);
    if (back->op == BACK_NEG) {
        const struct flow_tensor *const in[1] = {b->g};
        return cuda_fold_run<T, 1>(stream, b->g, back->to, in, back->add, room, back_fold_negative<T>{data_of<T>(b->g)});
    }
    if (back->op == BACK_MUL_B || (back->op == BACK_MUL_A && b->v != nullptr)) {
        const struct flow_tensor *const in[2] = {b->g, back->op == BACK_MUL_B ? u : v};
        return cuda_fold_run<T, 2>(stream, b->g, back->to, in, back->add, room, back_fold_product<T>{data_of<T>(in[0]), data_of<T>(in[1])});
    }
    const struct flow_tensor *const in[3] = {b->g, u, v};
    const back_fold<T, U> f = {data_of<T>(b->g),
                               data_of<U>(u),
                               reads & 2u ? data_of<T>(b->v) : nullptr,
                               static_cast<T>(b->v_value),
                               static_cast<T>(b->k0),
                               static_cast<T>(b->k1),
                               back->op,
                               reads};
    return cuda_fold_run<T, 3>(stream, b->g, back->to, in, back->add, room, f);
}

template <typename T, typename U, int A, int B> static int map_run_of(const struct back_call *b, const struct back *const (&back)[2]) {
    const uint32_t reads = reads_of(back[0]->op) | (back[1] != nullptr ? reads_of(back[1]->op) : 0);
    const struct flow_tensor *const in[3] = {b->g, reads & 1u ? b->u : b->g, reads & 2u && b->v != nullptr ? b->v : b->g};
    const bool pair = back[1] != nullptr;
    const void *const to[2] = {back[0]->to->data, pair ? back[1]->to->data : nullptr};
    const back_map<T, U, A, B> map = {data_of<T>(b->g),
                                      data_of<U>(in[1]),
                                      reads & 2u ? data_of<T>(b->v) : nullptr,
                                      {static_cast<T *>(back[0]->to->data), pair ? static_cast<T *>(back[1]->to->data) : nullptr},
                                      static_cast<T>(b->v_value),
                                      static_cast<T>(b->k0),
                                      static_cast<T>(b->k1),
                                      {back[0]->op, pair ? back[1]->op : BACK_ZERO},
                                      reads,
                                      {back[0]->add, pair && back[1]->add}};
    return cuda_map_run<16 / sizeof(T), 3>(cuda_stream(b->call), b->g, in, to, pair ? 2 : 1, sizeof(T), map);
}

/* Kernels of their own for what training runs in f32 all the time; one for all the rest. */
static int map_f32(const struct back_call *b, const struct back *const (&back)[2]) {
    const int a = back[0]->op;
    if (back[1] != nullptr) {
#define PAIR(x, y) \
    if (a == BACK_##x && back[1]->op == BACK_##y) return map_run_of<float, float, BACK_##x, BACK_##y>(b, back);
        PAIR(MUL_A, MUL_B)
        PAIR(DIV_A, DIV_B)
        PAIR(COPY, NEG)
        PAIR(COPY, COPY)
#undef PAIR
        return map_run_of<float, float, -1, -1>(b, back);
    }
    switch (a) {
#define ONE(name) \
    case BACK_##name: return map_run_of<float, float, BACK_##name, -2>(b, back);
        ONE(COPY)
        ONE(NEG)
        ONE(MUL_A)
        ONE(MUL_B)
        ONE(POSITIVE)
        ONE(LEAKY_RELU)
        ONE(GELU)
        ONE(GELU_TANH)
        ONE(SILU)
        ONE(SIGMOID)
        ONE(TANH)
        ONE(SQUARE)
        ONE(SOFTPLUS)
#undef ONE
    default: return map_run_of<float, float, -1, -2>(b, back);
    }
}

int cuda_back_run(const struct flow_call *call, const struct flow_tensor *u, const struct flow_tensor *v, double v_value,
                  const struct back *back, int32_t count, double k0, double k1) {
    const struct flow_tensor *g = &call->grad_out[0];
    const struct back_call b = {call, g, u, v, v_value, k0, k1};
    int error = 0;
    if (g->rank < 0) {
        for (int32_t k = 0; k < count && error == 0; k++) error = cuda_zero(cuda_stream(call), back[k].to, back[k].add);
        return cuda_status(call, error);
    }
    /* Sums first: what is written after may lie upon g. */
    const struct back *jobs[2] = {nullptr, nullptr};
    int32_t waiting = 0;
    bool choice = false;
    for (int32_t k = 0; k < count && error == 0; k++) {
        const struct back *one = &back[k];
        choice = choice || one->op == BACK_WHERE_A || one->op == BACK_WHERE_B;
        if (one->to->rank < 0) continue;
        if (cuda_count(one->to) != cuda_count(g)) {
            if (choice) error = g->dtype == FLOW_F64 ? sum_run<double, uint8_t>(&b, one) : sum_run<float, uint8_t>(&b, one);
            else error = g->dtype == FLOW_F64 ? sum_run<double, double>(&b, one) : sum_run<float, float>(&b, one);
            continue;
        }
        if (one->op == BACK_ZERO && one->add) continue;
        if (one->op == BACK_COPY && !one->add && one->to->data == g->data) continue;
        jobs[waiting++] = one;
    }
    if (error != 0 || waiting == 0) return cuda_status(call, error);
    /* With one of two lying upon g and nothing to do for it, the other reads it as it is. */
    if (choice && g->dtype == FLOW_F64)
        error = waiting > 1 ? map_run_of<double, uint8_t, -1, -1>(&b, jobs) : map_run_of<double, uint8_t, -1, -2>(&b, jobs);
    else if (choice) error = waiting > 1 ? map_run_of<float, uint8_t, -1, -1>(&b, jobs) : map_run_of<float, uint8_t, -1, -2>(&b, jobs);
    else if (g->dtype == FLOW_F64)
        error = waiting > 1 ? map_run_of<double, double, -1, -1>(&b, jobs) : map_run_of<double, double, -1, -2>(&b, jobs);
    else error = map_f32(&b, jobs);
    return cuda_status(call, error);
}

int cuda_unary_backward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const struct back back = {e->back, &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0) != 0};
    return cuda_back_run(call, e->back_of_y ? &call->out[0] : &call->in[0], nullptr, 0, &back, 1, e->k[0], e->k[1]);
}

/* ---- Pairs, prelu, choices ----------------------------------------------------------------------------------------- */

/* The gradients' functions by the forward one; u is a (or y), v is b. */
static void pair_functions(int32_t op, int32_t (&of)[2]) {
    switch (op) {
#define CASE(name) \
    case BINARY_##name: of[0] = BACK_##name##_A, of[1] = BACK_##name##_B; break;
        CASE(MUL)
        CASE(DIV)
        CASE(POW)
        CASE(MINIMUM)
        CASE(MAXIMUM)
#undef CASE
    case BINARY_SUB: of[0] = BACK_COPY, of[1] = BACK_NEG; break;
    case BINARY_MOD: of[0] = BACK_COPY, of[1] = BACK_MOD_B; break;
    case BINARY_SQUARE: of[0] = of[1] = BACK_SQUARE; break;
    case BINARY_CUBE: of[0] = of[1] = BACK_CUBE; break;
    case BINARY_ROOT: of[0] = of[1] = BACK_SQRT; break;
    case BINARY_RECIPROCAL: of[0] = of[1] = BACK_RECIPROCAL; break;
    default: of[0] = of[1] = BACK_COPY; break;
    }
}

int cuda_pair_backward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const bool of_y = e->op == BINARY_ROOT || e->op == BINARY_RECIPROCAL;
    int32_t of[2];
    int status = FLOW_OK;
    if (e->inputs > 2 && e->op != BINARY_ADD) return cuda_chain_backward(call);
    pair_functions(e->op, of);
    double value = 0;
    if (e->constant) value = call->grad_out[0].dtype == FLOW_F64 ? e->value.f64 : static_cast<double>(e->value.f32);
    for (uint32_t i = 0; i < e->inputs && status == FLOW_OK; i += 2) {
        struct back back[2];
        const int32_t count = e->constant || i + 1 == e->inputs ? 1 : 2;
        for (int32_t k = 0; k < count; k++) {
            const uint32_t input = i + static_cast<uint32_t>(k);
            back[k] = {of[k], &call->grad_in[input], FLOW_ACCUMULATES(call->accumulate_in, input) != 0};
        }
        status = cuda_back_run(call, of_y ? &call->out[0] : &call->in[0], e->constant ? nullptr : &call->in[1], value, back, count, 0, 0);
    }
    return status;
}

int cuda_pair_plan(struct flow_infer *infer) {
    const struct elementwise *e = static_cast<const struct elementwise *>(infer->priv);
    infer->workspace_backward = 0;
    if (infer->differentiated)
        for (uint32_t i = 0; i < e->inputs; i++) cuda_back_room(infer, &infer->in[i]);
    return FLOW_OK;
}

int cuda_prelu_backward(const struct flow_call *call) {
    const struct prelu_attrs *a = static_cast<const struct prelu_attrs *>(call->attrs);
    const struct flow_tensor *x = &call->in[0];
    const int32_t axis = static_cast<int32_t>(a->axis < 0 ? a->axis + x->rank : a->axis);
    struct flow_tensor weight = prelu_weight(x, call->param[0].dtype, a->count, axis), slopes = weight;
    weight.data = call->param[0].data, slopes.data = call->grad_param[0].data;
    if (call->grad_param[0].rank < 0) slopes.rank = -1;
    else slopes.dtype = call->grad_param[0].dtype;
    const struct back back[2] = {{BACK_PRELU_WEIGHT, &slopes, FLOW_ACCUMULATES(call->accumulate_param, 0) != 0},
                                 {BACK_PRELU_X, &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0) != 0}};
    return cuda_back_run(call, x, &weight, 0, back, 2, 0, 0);
}

int cuda_prelu_plan(struct flow_infer *infer) {
    const struct prelu_attrs *a = static_cast<const struct prelu_attrs *>(infer->attrs);
    const struct flow_tensor *x = &infer->in[0];
    const struct flow_tensor weight = prelu_weight(x, x->dtype, a->count, static_cast<int32_t>(a->axis < 0 ? a->axis + x->rank : a->axis));
    infer->workspace_backward = 0;
    if (infer->differentiated) cuda_back_room(infer, &weight);
    return FLOW_OK;
}

int cuda_where_backward(const struct flow_call *call) {
    const struct back back[2] = {{BACK_WHERE_A, &call->grad_in[1], FLOW_ACCUMULATES(call->accumulate_in, 1) != 0},
                                 {BACK_WHERE_B, &call->grad_in[2], FLOW_ACCUMULATES(call->accumulate_in, 2) != 0}};
    return cuda_back_run(call, &call->in[0], nullptr, 0, back, 2, 0, 0);
}

int cuda_where_plan(struct flow_infer *infer) {
    infer->workspace_backward = 0;
    if (infer->differentiated) cuda_back_room(infer, &infer->in[1]), cuda_back_room(infer, &infer->in[2]);
    return FLOW_OK;
}

/* ---- glu ----------------------------------------------------------------------------------------------------------- */

/* Places: of g, of the first half of x (the second lies `half` further), of the first half of the gradient. 5 * sizeof(T) bytes an element
 * of y. */
template <typename T, int A, int B> struct glu_map {
    const T *g, *a, *b;
    T *to_a, *to_b;
    int op[2];
    bool add;
    template <int V> __device__ void run(int64_t, const int64_t (&in)[3], uint32_t single) const {
        const bool one = single >> 1 & 1u;
        const cuda_few<T, V> d = cuda_load<V>(g, in[0]), p = cuda_load<V>(a, in[1], one), q = cuda_load<V>(b, in[1], one);
        cuda_few<T, V> y, z;
        for (int j = 0; j < V; j++) {
            y.at[j] = back_value<T>(A < 0 ? op[0] : A, d.at[j], p.at[j], q.at[j], T(0), T(0));
            z.at[j] = back_value<T>(B < 0 ? op[1] : B, d.at[j], p.at[j], q.at[j], T(0), T(0));
        }
        back_map<T, T, -1, -1>::put(to_a, in[2], y, add);
        back_map<T, T, -1, -1>::put(to_b, in[2], z, add);
    }
};

template <typename T, int A, int B> static int glu_run(const struct flow_call *call, int32_t axis, int op_a, int op_b) {
    const struct flow_tensor *x = &call->in[0], *g = &call->grad_out[0], *to = &call->grad_in[0];
    struct flow_tensor from = *x, target = *to;
    from.shape[axis] = target.shape[axis] = g->shape[axis];
    const struct flow_tensor *const in[3] = {g, &from, &target};
    T *to_a = static_cast<T *>(to->data), *to_b = to_a + g->shape[axis] * to->strides[axis];
    const T *a = data_of<T>(x), *b = a + g->shape[axis] * x->strides[axis];
    const void *const places[2] = {b, to_b};
    const glu_map<T, A, B> map = {data_of<T>(g), a, b, to_a, to_b, {op_a, op_b}, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0};
    return cuda_status(call, (cuda_map_run<16 / sizeof(T), 3>(cuda_stream(call), g, in, places, 2, sizeof(T), map)));
}

int cuda_glu_backward(const struct flow_call *call) {
    const struct glu_attrs *a = static_cast<const struct glu_attrs *>(call->attrs);
    const struct flow_tensor *x = &call->in[0], *g = &call->grad_out[0], *to = &call->grad_in[0];
    const int32_t axis = static_cast<int32_t>(a->axis < 0 ? a->axis + x->rank : a->axis);
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0));
    if (to->rank < 0 || cuda_count(g) == 0) return FLOW_OK;
    static const int32_t functions[][2] = {{BACK_GLU_SIGMOID_A, BACK_GLU_SIGMOID_B}, {BACK_GLU_SILU_A, BACK_GLU_SILU_B},
                                           {BACK_GLU_GELU_A, BACK_GLU_GELU_B},       {BACK_GLU_RELU_A, BACK_GLU_RELU_B},
                                           {BACK_GLU_TANH_A, BACK_GLU_TANH_B},       {BACK_MUL_A, BACK_MUL_B}};
    const int op_a = functions[a->activation][0], op_b = functions[a->activation][1];
    if (g->dtype == FLOW_F64) return glu_run<double, -1, -1>(call, axis, op_a, op_b);
    switch (a->activation) {
#define CASE(name) \
    case GLU_##name: return glu_run<float, BACK_GLU_##name##_A, BACK_GLU_##name##_B>(call, axis, op_a, op_b);
        CASE(SIGMOID)
        CASE(SILU)
        CASE(GELU)
        CASE(RELU)
        CASE(TANH)
#undef CASE
    default: return glu_run<float, BACK_MUL_A, BACK_MUL_B>(call, axis, op_a, op_b);
    }
}

int cuda_glu_plan(struct flow_infer *infer) {
    infer->workspace_backward = 0; /* strided inputs are read as they are */
    return FLOW_OK;
}
