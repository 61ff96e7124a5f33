/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention: queries look at keys and take the mean of values weighted by softmax(scale q k^T + bias).
 * Vaswani et al., "Attention is all you need" (2017), eq. 1; grouped heads: Ainslie et al. (2023); rotary positions: Su et al. (2021).
 *
 * Projections are products of the host's; between them each block of queries of one head runs over the keys it can see with an online
 * softmax (attention_simd.c), so memory is linear in T. Streaming keeps keys and values: all of them (grown in place), or, where a window
 * or chunk bounds the reach, a ring of that length.
 */
#include "attention_node.h"

#include "common/shape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Adds a block to a total; -1, which the host refuses, once that is more than can be counted. Where the block begins. */
static int64_t reserve(int64_t *total, int64_t bytes) {
    int64_t at = *total;
    if (at < 0 || bytes < 0 || bytes > INT64_MAX - 63 || __builtin_add_overflow(at, (bytes + 63) / 64 * 64, total)) *total = -1;
    return at;
}

/* f16 and bf16 are widened around the kernel. */
static int32_t compute_type(int32_t dtype) { return dtype == FLOW_F64 ? FLOW_F64 : FLOW_F32; }

/* ---- Planning ------------------------------------------------------------------------------------------------------ */

static int declare(struct flow_infer *infer, struct projection *p, const char *weight, const char *bias, bool with_bias, int64_t out,
                   int64_t in) {
    const struct flow_host *host = infer->host;
    int32_t dtype = infer->in[Q].dtype;
    p->in = in, p->out = out, p->bias = UINT32_MAX;
    int rc = host->param(infer, weight, dtype, 2, (int64_t[]){out, in}, "kaiming_uniform(2.2360679774997896)", 0, &p->weight);
    if (rc == 0 && with_bias) rc = host->param(infer, bias, dtype, 1, &out, "zeros", 0, &p->bias);
    p->packed = reserve(&infer->packed, host->gemm_packed_bytes(host, compute_type(dtype), in, out));
    return rc;
}

static int check_inputs(struct flow_infer *infer, const struct attention_attrs *a) {
    const struct flow_host *host = infer->host;
    const struct flow_tensor *in = infer->in;
    if (in[K].shape[1] != in[V].shape[1])
        return host->fail(infer->owner, FLOW_ERROR_SHAPE, "k has %lld positions, v has %lld: expected the same", (long long)in[K].shape[1],
                          (long long)in[V].shape[1]);
    if (infer->in_count > BIAS && in[MASK].rank >= 0 && in[BIAS].rank >= 0)
        return host->fail_at(infer->owner, "bias", FLOW_ERROR_USAGE, "mask and bias are both given: expected one of them");
    if (a->rope && !a->causal && a->chunk == 0 && in[Q].shape[1] != in[K].shape[1])
        return host->fail_at(infer->owner, "rope", FLOW_ERROR_SHAPE,
                             "rope needs as many queries (%lld) as keys (%lld) where attention is not causal", (long long)in[Q].shape[1],
                             (long long)in[K].shape[1]);
    return 0;
}

static int head_widths(struct flow_infer *infer, const struct attention_attrs *a, struct attention_priv *p) {
    const struct flow_host *host = infer->host;
    const struct flow_tensor *in = infer->in;
    int64_t units = !a->projections || a->units == FLOW_INT_ABSENT ? in[Q].shape[2] : a->units;
    p->heads = a->heads, p->kv_heads = a->kv_heads == FLOW_INT_ABSENT ? a->heads : a->kv_heads;
    if (units % p->heads)
        return host->fail_at(infer->owner, "heads", FLOW_ERROR_SHAPE, "heads is %lld, which does not divide the %lld units",
                             (long long)p->heads, (long long)units);
    if (p->heads % p->kv_heads)
        return host->fail_at(infer->owner, "kv_heads", FLOW_ERROR_SHAPE, "kv_heads is %lld, which does not divide heads, %lld",
                             (long long)p->kv_heads, (long long)p->heads);
    p->width = p->value_width = units / p->heads;
    if (!a->projections) {
        if (in[K].shape[2] != p->width * p->kv_heads)
            return host->fail(infer->owner, FLOW_ERROR_SHAPE,
                              "k has width %lld, expected %lld: kv_heads (%lld) times the queries' head width (%lld)",
                              (long long)in[K].shape[2], (long long)(p->width * p->kv_heads), (long long)p->kv_heads, (long long)p->width);
        if (in[V].shape[2] % p->kv_heads)
            return host->fail(infer->owner, FLOW_ERROR_SHAPE, "v has width %lld, which kv_heads, %lld, does not divide",
                              (long long)in[V].shape[2], (long long)p->kv_heads);
        p->value_width = in[V].shape[2] / p->kv_heads;
    }
    if (a->rope && p->width % 2)
        return host->fail_at(infer->owner, "rope", FLOW_ERROR_SHAPE, "rope turns pairs: the head's width, %lld, must be even",
                             (long long)p->width);
    return 0;
}

/* Room in `total` for [rows, steps, width]. */
static int64_t take(int64_t *total, int64_t rows, int64_t steps, int64_t width, int64_t size) {
    int64_t bytes = size;
    bool fits = !__builtin_mul_overflow(bytes, rows, &bytes) && !__builtin_mul_overflow(bytes, steps, &bytes) &&
                !__builtin_mul_overflow(bytes, width, &bytes);
    return reserve(total, fits ? bytes : -1);
}

/* mask or bias [.., Tq, Tk] that broadcasts to [B, H, Tq, Tk]. */
static int check_broadcast(struct flow_infer *infer, uint32_t port, const char *name, const struct attention_priv *p) {
    if (infer->in_count <= port || infer->in[port].rank < 0) return 0;
    const struct flow_tensor *t = &infer->in[port];
    int64_t full[4] = {p->batch, p->heads, p->queries, p->keys};
    for (int32_t i = 0; i < t->rank; i++) {
        int64_t want = t->rank <= 4 ? full[4 - t->rank + i] : -1;
        if (want < 0 || (t->shape[i] != want && t->shape[i] != 1))
            return infer->host->fail_at(
                infer->owner, name, FLOW_ERROR_SHAPE, "axis %d of %s is %lld: expected what broadcasts to [%lld, %lld, %lld, %lld]", i,
                name, (long long)t->shape[i], (long long)full[0], (long long)full[1], (long long)full[2], (long long)full[3]);
    }
    if (infer->streaming)
        return infer->host->fail_at(infer->owner, name, FLOW_ERROR_UNSUPPORTED, "attention with %s needs the whole sequence", name);
    return 0;
}

static void set_state(struct flow_infer *infer, uint32_t state, int64_t batch, int64_t rows, int64_t rows_after, int64_t width) {
    struct flow_tensor *in = &infer->state[state], *out = &infer->state_out[state];
    in->rank = out->rank = 3;
    if (infer->first) in->shape[0] = batch, in->shape[1] = rows, in->shape[2] = width;
    *out = *in;
    out->shape[1] = rows_after;
    shape_dense(in), shape_dense(out);
}

static int plan_stream(struct flow_infer *infer, const struct attention_attrs *a, struct attention_priv *p, int64_t k_width,
                       int64_t v_width) {
    const int32_t *axis = infer->in_axis;
    if (axis[Q] == 0 && axis[K] == 0 && axis[V] == 0) {
        infer->out_axis[0] = 0;
        for (uint32_t s = K_CACHE; s <= V_RING; s++) set_state(infer, s, 0, 0, 0, 0);
        return 0;
    }
    if (axis[Q] != 1 || axis[K] != 1 || axis[V] != 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "q, k and v must stream together along axis 1");
    if (!a->causal) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "attention that is not causal needs the whole sequence");
    if (p->queries != p->keys)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "queries and keys must come in equal numbers, found %lld and %lld",
                                 (long long)p->queries, (long long)p->keys);
    p->rows = true;
    int64_t chunk = a->chunk ? a->chunk * (a->chunk_overlap ? 2 : 1) : 0;
    p->ring = a->window && chunk ? (a->window < chunk ? a->window : chunk) : a->window + chunk;
    int64_t held = infer->first ? 0 : infer->state[K_CACHE].shape[1], grown = p->ring ? 0 : held + p->keys;
    set_state(infer, K_CACHE, p->batch, 0, grown, k_width);
    set_state(infer, V_CACHE, p->batch, 0, grown, v_width);
    set_state(infer, K_RING, p->batch, p->ring, p->ring, k_width);
    set_state(infer, V_RING, p->batch, p->ring, p->ring, v_width);
    infer->out_axis[0] = 1;
    return 0;
}

/* Backward reads the inputs for the gradients of the projections; between them, what forward left. */
static void plan_backward(struct flow_infer *infer, const struct attention_attrs *a, struct attention_priv *p) {
    int64_t *saved = &infer->saved, *back = &infer->workspace_backward, q_width = p->heads * p->width, k_width = p->kv_heads * p->width;
    int64_t v_width = p->kv_heads * p->value_width, mixed = p->heads * p->value_width, size = p->size, kv = p->keys;
    bool fresh = a->projections || a->rope;
    p->keep_q = fresh ? take(saved, p->batch, p->queries, q_width, size) : -1;
    p->keep_k = fresh ? take(saved, p->batch, kv, k_width, size) : -1;
    p->keep_v = a->projections ? take(saved, p->batch, kv, v_width, size) : -1;
    p->keep_mixed = a->projections ? take(saved, p->batch, p->queries, mixed, size) : -1;
    p->keep_log_sum = take(saved, p->batch, p->queries, p->heads, size);
    p->at_d_q = fresh ? take(back, p->batch, p->queries, q_width, size) : -1;
    p->at_d_k = fresh ? take(back, p->batch, kv, k_width, size) : -1;
    p->at_d_v = a->projections ? take(back, p->batch, kv, v_width, size) : -1;
    p->at_d_mixed = a->projections ? take(back, p->batch, p->queries, mixed, size) : -1;
    p->at_delta = take(back, p->batch, p->queries, p->heads, size);
    p->at_back_turn = a->rope ? take(back, 1, p->queries > kv ? p->queries : kv, p->width, size) : -1;
    uint64_t q_k = a->rope && !a->projections ? 0 : 1u << Q | 1u << K;
    infer->backward_reads_in = q_k | 1u << V | 1u << MASK | 1u << BIAS;
    infer->backward_reads_out = a->projections ? 0 : 1;
}

static int attention_infer(struct flow_infer *infer) {
    const struct attention_attrs *a = infer->attrs;
    struct attention_priv *p = infer->priv;
    const struct flow_tensor *in = infer->in;
    *p = (struct attention_priv){.batch = in[Q].shape[0], .queries = in[Q].shape[1], .keys = in[K].shape[1]};
    p->size = compute_type(in[Q].dtype) == FLOW_F64 ? 8 : 4;
    int rc = check_inputs(infer, a);
    if (rc == 0) rc = head_widths(infer, a, p);
    if (rc < 0) return rc;
    int64_t q_width = p->heads * p->width, k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width;
    int64_t mixed;
    if (__builtin_mul_overflow(p->heads, p->value_width, &mixed))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "%lld heads of %lld values are more than can be counted",
                                 (long long)p->heads, (long long)p->value_width);
    if (a->projections) {
        rc = declare(infer, &p->q, "wq", "bq", a->qkv_bias, q_width, in[Q].shape[2]);
        if (rc == 0) rc = declare(infer, &p->k, "wk", "bk", a->qkv_bias, k_width, in[K].shape[2]);
        if (rc == 0) rc = declare(infer, &p->v, "wv", "bv", a->qkv_bias, v_width, in[V].shape[2]);
        if (rc == 0) rc = declare(infer, &p->o, "wo", "bo", a->out_bias, in[Q].shape[2], mixed);
        if (rc < 0) return rc;
        infer->packed_key = (uint64_t)(q_width * 31 + k_width);
    }
    if (infer->streaming && (rc = plan_stream(infer, a, p, k_width, v_width)) < 0) return rc;
    if ((rc = check_broadcast(infer, MASK, "mask", p)) < 0 || (rc = check_broadcast(infer, BIAS, "bias", p)) < 0) return rc;
    /* What is neither projected nor turned is read where it lies; keys that go to a cache are written there at once. */
    bool fresh = a->projections || a->rope, cached = p->rows && !p->ring;
    p->at_q = fresh ? take(&infer->workspace, p->batch, p->queries, q_width, p->size) : -1;
    p->at_k = fresh && !cached ? take(&infer->workspace, p->batch, p->keys, k_width, p->size) : -1;
    p->at_v = a->projections && !cached ? take(&infer->workspace, p->batch, p->keys, v_width, p->size) : -1;
    p->at_mixed = a->projections ? take(&infer->workspace, p->batch, p->queries, mixed, p->size) : -1;
    int64_t turned = p->queries > p->keys ? p->queries : p->keys;
    p->at_turn = a->rope ? take(&infer->workspace, 1, turned, p->width, p->size) : -1;
    /* Worth it from a few blocks of queries on (T 8192: 7% of the whole). */
    bool tiles = !p->rows && p->queries >= 4 * ATTENTION_QUERIES && p->width <= ATTENTION_WIDEST;
    int64_t turned_keys = (p->keys + ATTENTION_KEYS - 1) / ATTENTION_KEYS * ATTENTION_KEYS;
    p->at_tiles = tiles ? take(&infer->workspace, p->batch, turned_keys, k_width, p->size) : -1;
    struct flow_tensor *out = &infer->out[0];
    out->rank = 3, out->dtype = in[Q].dtype;
    out->shape[0] = p->batch, out->shape[1] = p->queries, out->shape[2] = a->projections ? in[Q].shape[2] : mixed;
    shape_dense(out);
    if (!a->projections) infer->epilogues = 0;
    p->drops = infer->phase == FLOW_PHASE_TRAINING && a->dropout > 0;
    if (infer->differentiated) plan_backward(infer, a, p);
    double pairs = (double)p->queries * (double)p->keys * (a->causal ? 0.5 : 1) * (double)p->batch * (double)p->heads;
    infer->flops = 2 * pairs * (double)(p->width + p->value_width);
    if (a->projections)
        infer->flops += 2.0 * (double)p->batch *
                        ((double)p->queries * (double)(q_width + mixed) * (double)in[Q].shape[2] +
                         (double)p->keys * ((double)k_width * (double)in[K].shape[2] + (double)v_width * (double)in[V].shape[2]));
    return 0;
}

static int attention_prepare(const struct flow_call *call) {
    const struct attention_priv *p = call->priv;
    const struct projection *all[] = {&p->q, &p->k, &p->v, &p->o};
    for (int i = 0; i < 4; i++) {
        const struct flow_tensor *w = &call->param[all[i]->weight];
        call->host->gemm_pack(call->host, compute_type(w->dtype), all[i]->in, all[i]->out, w->data, w->dtype, w->strides[1], w->strides[0],
                              (char *)call->packed + all[i]->packed);
    }
    return 0;
}

static int attention_describe(const struct flow_infer *infer, char *text, size_t size) {
    const struct attention_priv *p = infer->priv;
    const char *cache = !p->rows ? "" : p->ring ? ", keys in a ring" : ", keys appended";
    return snprintf(text, size, "%lld heads of %lld, tiles of %d queries, online softmax%s", (long long)p->heads, (long long)p->width,
                    ATTENTION_QUERIES, cache);
}

/* ---- Tables -------------------------------------------------------------------------------------------------------- */

static const struct flow_port inputs[] = {
    {"q", "queries", "B Tq Dq", FLOW_TYPES_FLOAT, 0},
    {"k", "keys", "B Tk Dk", FLOW_TYPES_FLOAT, 0},
    {"v", "values", "B Tv Dv", FLOW_TYPES_FLOAT, 0},
    {"mask", "true where a query may attend; broadcasts to [B, heads, Tq, Tk]", NULL, FLOW_TYPE(BOOL),
     FLOW_OPTIONAL | FLOW_NO_GRAD | FLOW_STRIDED},
    {"bias", "added to the scores; broadcasts to [B, heads, Tq, Tk]", NULL, FLOW_TYPES_FLOAT, FLOW_OPTIONAL | FLOW_STRIDED},
};
static const struct flow_port outputs[] = {
    {"y", "[B, Tq, Dq]; without projections [B, Tq, heads * width of a value]", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_param params[] = {
    {"wq", "[units, Dq], for queries", NULL, "projections", "kaiming_uniform(2.2360679774997896)", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"wk", "[units * kv_heads / heads, D], for keys", NULL, "projections", "kaiming_uniform(2.2360679774997896)", FLOW_TYPES_FLOAT,
     FLOW_DECLARED},
    {"wv", "[units * kv_heads / heads, D], for values", NULL, "projections", "kaiming_uniform(2.2360679774997896)", FLOW_TYPES_FLOAT,
     FLOW_DECLARED},
    {"wo", "[Dq, units], back", NULL, "projections", "kaiming_uniform(2.2360679774997896)", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bq", "[units]", NULL, "qkv_bias", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bk", "[units * kv_heads / heads]", NULL, "qkv_bias", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bv", "[units * kv_heads / heads]", NULL, "qkv_bias", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bo", "[Dq]", NULL, "out_bias", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
};
static const struct flow_state states[] = {
    {"k_cache", "keys so far [B, n, width]", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_APPENDED, 1, 0},
    {"v_cache", "values so far [B, n, width]", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_APPENDED, 1, 0},
    {"k_ring", "with window or chunk: the last keys, position p in row p modulo the length", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_IN_PLACE,
     0, 0},
    {"v_ring", "with window or chunk: the last values", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_IN_PLACE, 0, 0},
    {"position", "positions seen, where there is a ring", "1", "zeros", FLOW_TYPE(I64), FLOW_IN_PLACE, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct attention_attrs, heads, "heads, consecutive slices of the last axis", FLOW_REQUIRED, 1, 65536),
    FLOW_ATTR(struct attention_attrs, kv_heads, "heads of keys and values, each shared by heads / kv_heads (default: heads)", FLOW_ABSENT,
              1, 65536),
    FLOW_ATTR_PLAIN(struct attention_attrs, causal, "query i sees keys up to Tk - Tq + i", "false"),
    FLOW_ATTR(struct attention_attrs, window, "only so many keys back, itself included (0: all)", "0", 0, 1e12),
    FLOW_ATTR(struct attention_attrs, chunk, "only keys of the same chunk of this length (0: all)", "0", 0, 1e12),
    FLOW_ATTR_PLAIN(struct attention_attrs, chunk_overlap, "and those of the chunk before", "false"),
    FLOW_ATTR_PLAIN(struct attention_attrs, rope, "rotate queries and keys by their positions", "false"),
    FLOW_ATTR(struct attention_attrs, rope_base, "pair i turns by position * base^(-2i/width)", "10000", 1e-300, FLOW_NO_MAX),
    FLOW_ATTR_CHOICES(struct attention_attrs, rope_style, "pairs are (i, i + width/2), or neighbours", "half", "half|interleaved"),
    FLOW_ATTR_PLAIN(struct attention_attrs, scale, "of the scores (default: 1 / sqrt(width))", FLOW_ABSENT),
    FLOW_ATTR(struct attention_attrs, softcap, "scores become softcap * tanh(score / softcap) (0: not)", "0", 0, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct attention_attrs, projections, "multiply by wq, wk, wv before and wo after", "true"),
    FLOW_ATTR_PLAIN(struct attention_attrs, qkv_bias, "biases bq, bk, bv", "false"),
    FLOW_ATTR_PLAIN(struct attention_attrs, out_bias, "bias bo", "false"),
    FLOW_ATTR(struct attention_attrs, units, "heads * width inside (default: Dq)", FLOW_ABSENT, 1, FLOW_NO_MAX),
    FLOW_ATTR(struct attention_attrs, dropout, "share of weights dropped in training", "0", 0, 0.999999),
};
static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU,
     .types = FLOW_TYPES_REAL,
     .forward = attention_forward,
     .backward = attention_backward,
     .epilogues = FLOW_EPILOGUE_RESIDUAL},
};
static const struct flow_operator attention = {
    .size = sizeof attention,
    .flags = FLOW_OP_RANDOM,
    .name = "attention",
    .summary = "multi-head attention: causal, window, chunk, grouped heads, rotary positions, key and value cache",
    .equation = "y = wo concat_h(softmax(scale q_h k_h^T + bias) v_h); a query with nothing to attend gives 0, and takes no gradient\n"
                "training: weights after the softmax are 0 with probability dropout, else divided by 1 - dropout",
    .reference = "Vaswani et al., Attention is all you need, 2017, eq. 1; Su et al., RoFormer, 2021; Ainslie et al., GQA, 2023",
    .example = "y: {op: attention, in: [x, x, x], with: {heads: 4, causal: true}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct attention_attrs),
    .priv_size = sizeof(struct attention_priv),
    .infer = attention_infer,
    .prepare = attention_prepare,
    .describe = attention_describe,
};
static const struct flow_operator *const operators[] = {&attention};
static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "attention",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "attention with an online softmax and a cache",
    .reference = "Vaswani et al., 2017",
    .operators = {1, sizeof operators[0], operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
