/* SPDX-License-Identifier: Apache-2.0 */
/* attention's forward: projections and turns, the caches of a stream, and blocks of queries dealt out to the threads. */
#include "attention_node.h"

#include <math.h>
#include <string.h>

/* y = x W^T + b (+ residual, laid out as y) for all rows of the batch. */
static int project(const struct flow_call *call, const struct projection *projection, struct rows x, struct rows y, int64_t count,
                   const void *residual) {
    const struct attention_priv *p = call->priv;
    const struct flow_tensor *w = &call->param[projection->weight];
    struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                .m = count,
                                .n = projection->out,
                                .k = projection->in,
                                .batch = p->batch,
                                .a = x.data,
                                .a_row = x.row,
                                .a_col = 1,
                                .a_batch = x.batch,
                                .c = y.data,
                                .c_row = y.row,
                                .c_batch = y.batch,
                                .bias = projection->bias == UINT32_MAX ? NULL : call->param[projection->bias].data,
                                .dtype = p->size == 8 ? FLOW_F64 : FLOW_F32,
                                .residual = residual};
    if (x.batch == count * x.row && y.batch == count * y.row) product.m = count * p->batch, product.batch = 1;
    if (call->packed) product.packed_b = (const char *)call->packed + projection->packed;
    else product.b = w->data, product.b_row = w->strides[1], product.b_col = w->strides[0];
    return call->host->gemm(call, &product);
}

static void copy_rows(struct rows from, struct rows to, int64_t batch, int64_t count, int64_t bytes, int64_t size) {
    for (int64_t b = 0; b < batch; b++)
        for (int64_t r = 0; r < count; r++)
            memcpy(to.data + (b * to.batch + r * to.row) * size, from.data + (b * from.batch + r * from.row) * size, (size_t)bytes);
}

void attention_fill_turns(const struct flow_call *call, void *turns, int64_t first, int64_t count, bool back) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    int64_t half = p->width / 2, all = count * half;
    for (int64_t i = 0; i < half; i++) {
        double speed = pow(a->rope_base, -2.0 * (double)i / (double)p->width);
        for (int64_t r = 0; r < count; r++) {
            double angle = (double)(first + r) * speed, c = cos(angle), s = back ? -sin(angle) : sin(angle);
            if (p->size == 8) ((double *)turns)[r * half + i] = c, ((double *)turns)[all + r * half + i] = s;
            else ((float *)turns)[r * half + i] = (float)c, ((float *)turns)[all + r * half + i] = (float)s;
        }
    }
}

void attention_turn(const struct flow_call *call, const void *turns, struct rows x, int64_t count, int64_t heads) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    const struct attention_table *table = ISA_PICK(attention_table, call->host->isa);
    for (int64_t b = 0; b < p->batch; b++) {
        struct attention_rotation rotation = {.data = x.data + b * x.batch * p->size,
                                              .rows = count,
                                              .row = x.row,
                                              .heads = heads,
                                              .width = p->width,
                                              .interleaved = a->rope_style == 1,
                                              .cos = turns,
                                              .sin = (const char *)turns + count * (p->width / 2) * p->size};
        if (p->size == 8) table->rotate_f64(&rotation);
        else table->rotate_f32(&rotation);
    }
}

/* Everything the blocks of queries share. */
struct mix {
    const struct flow_call *call;
    struct rows q, k, v, out;
    struct rows k_old, v_old; /* the ring */
    int64_t position;         /* absolute, of the first query */
    int64_t first;            /* absolute, of row 0 of k */
    int64_t count;            /* rows of k */
    int64_t old;              /* rows in the ring that hold something */
    int64_t blocks;           /* of queries, a head */
    char *tiles;              /* of keys transposed, [batch, kv_heads, key_tiles, width, ATTENTION_KEYS]; NULL: none */
    int64_t key_tiles;        /* a head */
    int64_t heads, groups;    /* heads taken together, and how many times */
};

/* Stretches of keys in order: the ring's (in two parts where it wraps), then the rows at hand. */
static int32_t stretches_of(const struct mix *mix, int64_t b, struct attention_keys *keys) {
    const struct attention_priv *p = mix->call->priv;
    int64_t ring = p->ring;
    int32_t count = 0;
    for (int64_t done = 0; done < mix->old;) {
        int64_t absolute = mix->first - mix->old + done, slot = absolute % ring,
                run = ring - slot < mix->old - done ? ring - slot : mix->old - done;
        keys[count++] = (struct attention_keys){mix->k_old.data + (b * mix->k_old.batch + slot * mix->k_old.row) * p->size,
                                                mix->v_old.data + (b * mix->v_old.batch + slot * mix->v_old.row) * p->size,
                                                mix->k_old.row,
                                                mix->v_old.row,
                                                absolute,
                                                run};
        done += run;
    }
    keys[count++] = (struct attention_keys){
        mix->k.data + b * mix->k.batch * p->size, mix->v.data + b * mix->v.batch * p->size, mix->k.row, mix->v.row, mix->first, mix->count};
    return count;
}

int64_t attention_stride(const struct flow_tensor *t, int32_t axis) {
    int32_t own = t->rank - 4 + axis;
    return own < 0 || t->shape[own] == 1 ? 0 : t->strides[own];
}

static void place_mask(const struct mix *mix, struct attention_block *block, int64_t b, int64_t h, int64_t query) {
    const struct flow_call *call = mix->call;
    const struct attention_priv *p = call->priv;
    if (call->in_count > MASK && call->in[MASK].rank >= 0) {
        const struct flow_tensor *t = &call->in[MASK];
        block->mask_head = attention_stride(t, 1), block->mask_row = attention_stride(t, 2), block->mask_column = attention_stride(t, 3);
        block->mask = (const uint8_t *)t->data + b * attention_stride(t, 0) + h * attention_stride(t, 1) + query * block->mask_row;
    }
    if (call->in_count > BIAS && call->in[BIAS].rank >= 0) {
        const struct flow_tensor *t = &call->in[BIAS];
        block->bias_head = attention_stride(t, 1), block->bias_row = attention_stride(t, 2), block->bias_column = attention_stride(t, 3);
        block->bias = (const char *)t->data + (b * attention_stride(t, 0) + h * attention_stride(t, 1) + query * block->bias_row) * p->size;
    }
}

struct attention_dropout attention_dropout_of(const struct flow_call *call, int64_t row) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    if (!p->drops) return (struct attention_dropout){0};
    return (struct attention_dropout){.key = call->seed,
                                      .run = call->run,
                                      .below = (uint64_t)(a->dropout * 0x1p32),
                                      .scale = 1 / (1 - a->dropout),
                                      .row = row,
                                      .row_head = p->queries,
                                      .blocks = (p->keys + 3) / 4};
}

static void mix_blocks(void *context, int64_t begin, int64_t end) {
    const struct mix *mix = context;
    const struct flow_call *call = mix->call;
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    const struct attention_table *table = ISA_PICK(attention_table, call->host->isa);
    for (int64_t task = begin; task < end; task++) {
        /* Heads that share keys follow each other, so that the keys are still in the cache. */
        int64_t h = task % mix->groups * mix->heads, rest = task / mix->groups, query = rest % mix->blocks * ATTENTION_QUERIES,
                b = rest / mix->blocks;
        struct attention_keys keys[3];
        struct attention_block block = {
            .q = mix->q.data + (b * mix->q.batch + query * mix->q.row + h * p->width) * p->size,
            .out = mix->out.data + (b * mix->out.batch + query * mix->out.row + h * p->value_width) * p->size,
            .q_row = mix->q.row,
            .out_row = mix->out.row,
            .queries = p->queries - query < ATTENTION_QUERIES ? p->queries - query : ATTENTION_QUERIES,
            .position = mix->position + query,
            .width = p->width,
            .value_width = p->value_width,
            .keys = keys,
            .stretches = stretches_of(mix, b, keys),
            .tiles = mix->tiles ? mix->tiles + b * p->kv_heads * mix->key_tiles * ATTENTION_KEYS * p->width * p->size : NULL,
            .tiles_head = mix->key_tiles * ATTENTION_KEYS * p->width,
            .head = h,
            .heads = p->heads - h < mix->heads ? p->heads - h : mix->heads,
            .shared = p->heads / p->kv_heads,
            .reach = {a->causal, a->window, a->chunk, a->chunk_overlap},
            .scale = isnan(a->scale) ? 1 / sqrt((double)p->width) : a->scale,
            .softcap = a->softcap,
        };
        place_mask(mix, &block, b, h, query);
        int64_t row = (b * p->heads + h) * p->queries + query;
        block.dropout = attention_dropout_of(call, row);
        if (call->saved) block.log_sum = (char *)call->saved + p->keep_log_sum + row * p->size, block.log_sum_head = p->queries;
        if (p->size == 8) table->block_f64(&block);
        else table->block_f32(&block);
    }
}

/* Tiles begin .. end of the keys, counted through batch, head and tile. */
static void turn_keys(void *context, int64_t begin, int64_t end) {
    const struct mix *mix = context;
    const struct attention_priv *p = mix->call->priv;
    const struct attention_table *table = ISA_PICK(attention_table, mix->call->host->isa);
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i % mix->key_tiles * ATTENTION_KEYS, kv = i / mix->key_tiles % p->kv_heads, b = i / mix->key_tiles / p->kv_heads;
        int64_t left = mix->count - first, count = left < ATTENTION_KEYS ? left : ATTENTION_KEYS;
        const char *k = mix->k.data + (b * mix->k.batch + first * mix->k.row + kv * p->width) * p->size;
        char *tile = mix->tiles + i * ATTENTION_KEYS * p->width * p->size;
        if (p->size == 8) table->tile_f64(k, mix->k.row, count, p->width, tile);
        else table->tile_f32(k, mix->k.row, count, p->width, tile);
    }
}

/* The last rows of this piece go into the ring, row `absolute` to slot absolute % ring. */
static void fill_ring(const struct flow_call *call, const struct mix *mix) {
    const struct attention_priv *p = call->priv;
    int64_t from = mix->count > p->ring ? mix->count - p->ring : 0;
    for (int64_t r = from; r < mix->count; r++) {
        int64_t slot = (mix->first + r) % p->ring;
        struct rows k = mix->k, v = mix->v, k_to = mix->k_old, v_to = mix->v_old;
        k.data += r * k.row * p->size, v.data += r * v.row * p->size;
        k_to.data += slot * k_to.row * p->size, v_to.data += slot * v_to.row * p->size;
        copy_rows(k, k_to, p->batch, 1, p->kv_heads * p->width * p->size, p->size);
        copy_rows(v, v_to, p->batch, 1, p->kv_heads * p->value_width * p->size, p->size);
    }
    *(int64_t *)call->state_out[POSITION].data = mix->first + mix->count;
}

/* What is neither projected nor turned is read where it lies; the rest goes to what backward reads, or to the workspace. */
static struct rows own_rows(const struct flow_call *call, int64_t at, int64_t keep, int64_t rows, int64_t width,
                            const struct flow_tensor *t) {
    if (at < 0) return attention_rows_of(t);
    return call->saved ? attention_rows_at(call->saved, keep, rows, width) : attention_rows_at(call->workspace, at, rows, width);
}

/* Where this piece's keys and values go: into the cache behind those that are there, into the workspace, or nowhere (used as they are). */
static struct rows key_rows(const struct flow_call *call, uint32_t port, uint32_t cache, int64_t at, int64_t keep, int64_t width) {
    const struct attention_priv *p = call->priv;
    if (p->rows && !p->ring) {
        struct rows rows = attention_rows_of(&call->state_out[cache]);
        rows.data += call->state_in[cache].shape[1] * rows.row * p->size;
        return rows;
    }
    return own_rows(call, at, keep, p->keys, width, &call->in[port]);
}

static int fill_inputs(const struct flow_call *call, struct mix *mix, struct rows k, struct rows v) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    int64_t k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width;
    int rc = 0;
    if (a->projections) {
        rc = project(call, &p->q, attention_rows_of(&call->in[Q]), mix->q, p->queries, NULL);
        if (rc == 0) rc = project(call, &p->k, attention_rows_of(&call->in[K]), k, p->keys, NULL);
        if (rc == 0) rc = project(call, &p->v, attention_rows_of(&call->in[V]), v, p->keys, NULL);
    } else {
        if (mix->q.data != call->in[Q].data)
            copy_rows(attention_rows_of(&call->in[Q]), mix->q, p->batch, p->queries, p->heads * p->width * p->size, p->size);
        if (k.data != call->in[K].data) copy_rows(attention_rows_of(&call->in[K]), k, p->batch, p->keys, k_width * p->size, p->size);
        if (v.data != call->in[V].data) copy_rows(attention_rows_of(&call->in[V]), v, p->batch, p->keys, v_width * p->size, p->size);
    }
    if (rc == 0 && a->rope) {
        int64_t q_first = mix->position > 0 ? mix->position : 0, k_first = p->rows ? mix->position : 0;
        void *turns = (char *)call->workspace + p->at_turn;
        attention_fill_turns(call, turns, q_first, p->queries, false);
        attention_turn(call, turns, mix->q, p->queries, p->heads);
        if (k_first != q_first || p->keys != p->queries) attention_fill_turns(call, turns, k_first, p->keys, false);
        attention_turn(call, turns, k, p->keys, p->kv_heads);
    }
    return rc;
}

int attention_forward(const struct flow_call *call) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    int64_t q_width = p->heads * p->width, mixed = p->heads * p->value_width;
    struct mix mix = {.call = call, .count = p->keys, .position = p->keys - p->queries};
    struct rows k = key_rows(call, K, K_CACHE, p->at_k, p->keep_k, p->kv_heads * p->width),
                v = key_rows(call, V, V_CACHE, p->at_v, p->keep_v, p->kv_heads * p->value_width);
    mix.q = own_rows(call, p->at_q, p->keep_q, p->queries, q_width, &call->in[Q]);
    mix.out = own_rows(call, p->at_mixed, p->keep_mixed, p->queries, mixed, &call->out[0]);
    if (p->rows) mix.position = p->ring ? *(const int64_t *)call->state_in[POSITION].data : call->state_in[K_CACHE].shape[1];
    int rc = fill_inputs(call, &mix, k, v);
    if (rc < 0) return rc;
    mix.k = k, mix.v = v;
    if (p->rows && p->ring) {
        mix.k_old = attention_rows_of(&call->state_in[K_RING]), mix.v_old = attention_rows_of(&call->state_in[V_RING]);
        mix.first = mix.position, mix.old = mix.position < p->ring ? mix.position : p->ring;
    } else if (p->rows) {
        mix.k = attention_rows_of(&call->state_out[K_CACHE]), mix.v = attention_rows_of(&call->state_out[V_CACHE]);
        mix.count = mix.position + p->keys;
    }
    if (p->at_tiles >= 0) {
        mix.tiles = (char *)call->workspace + p->at_tiles, mix.key_tiles = (mix.count + ATTENTION_KEYS - 1) / ATTENTION_KEYS;
        call->host->parallel_for(call, p->batch * p->kv_heads * mix.key_tiles, 16, turn_keys, &mix);
    }
    mix.blocks = (p->queries + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
    mix.heads = 1;
    if (p->queries > 0 && p->queries < ATTENTION_FEW) {
        /* How heads are dealt out changes no result: each is worked on by itself. */
        int64_t share = p->heads / (call->host->threads > 0 ? call->host->threads : 1), most = ATTENTION_QUERIES / p->queries;
        mix.heads = share < 1 ? 1 : share > most ? most : share;
    }
    mix.groups = (p->heads + mix.heads - 1) / mix.heads;
    int64_t tasks = p->batch * mix.groups * mix.blocks;
    /* A piece is worth handing out from some ten thousand pairs of numbers. */
    int64_t pairs =
        (p->queries < ATTENTION_QUERIES ? p->queries : ATTENTION_QUERIES) * mix.heads * (mix.old + mix.count) * (p->width + p->value_width);
    int64_t grain = pairs > 0 ? 1 + 2000000 / pairs : tasks;
    if (tasks > 0) call->host->parallel_for(call, tasks, grain, mix_blocks, &mix);
    if (p->rows && p->ring) fill_ring(call, &mix);
    return a->projections ? project(call, &p->o, mix.out, attention_rows_of(&call->out[0]), p->queries, call->residual) : 0;
}
