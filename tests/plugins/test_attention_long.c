/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of many queries, whose keys are transposed ahead for all of them: against the sum as it is written, query by query. */
#include "plugins/node.h"

#include <criterion/criterion.h>

struct kind {
    const char *attrs;
    int64_t batch, queries, keys, heads, kv_heads;
    int64_t window, chunk;
    bool causal;
};
enum { WIDTH = 20, VALUE_WIDTH = 24 };

static const struct kind kinds[] = {
    {"heads=2 projections=false causal=true", 1, 1100, 1100, 2, 2, 0, 0, true},
    {"heads=4 kv_heads=2 projections=false causal=true window=100", 2, 1030, 1090, 4, 2, 100, 0, true},
    {"heads=2 projections=false chunk=70", 1, 1100, 1100, 2, 2, 0, 70, false},
    {"heads=1 projections=false", 1, 1024, 77, 1, 1, 0, 0, false},
};

static bool sees(const struct kind *kind, int64_t query, int64_t key) {
    int64_t position = kind->keys - kind->queries + query;
    if (kind->causal && key > position) return false;
    if (kind->window && key <= position - kind->window) return false;
    return !kind->chunk || position / kind->chunk == key / kind->chunk;
}

/* One number of the result by the definition. */
static double expected(const struct kind *kind, const struct node *node, int64_t b, int64_t query, int64_t head, int64_t column) {
    int64_t kv = head / (kind->heads / kind->kv_heads), kv_row = kind->kv_heads;
    double sum = 0, all = 0, most = -INFINITY, score[1200];
    for (int64_t j = 0; j < kind->keys; j++) {
        score[j] = -INFINITY;
        if (!sees(kind, query, j)) continue;
        score[j] = 0;
        for (int64_t d = 0; d < WIDTH; d++)
            score[j] += node_get(&node->in[0], ((b * kind->queries + query) * kind->heads + head) * WIDTH + d) *
                        node_get(&node->in[1], ((b * kind->keys + j) * kv_row + kv) * WIDTH + d) / sqrt(WIDTH);
        most = fmax(most, score[j]);
    }
    for (int64_t j = 0; j < kind->keys; j++) {
        double weight = exp(score[j] - most);
        all += weight, sum += weight * node_get(&node->in[2], ((b * kind->keys + j) * kv_row + kv) * VALUE_WIDTH + column);
    }
    return sum / all;
}

static void open_kind(struct node *node, const struct kind *kind, int32_t dtype, int32_t isa, int threads) {
    cr_assert(node_open(node, BUILD_DIR "/plugins/attention.so", "attention", kind->attrs, isa, threads) == 0, "%s", node->message);
    node->in[0] = node_tensor(dtype, 3, (int64_t[]){kind->batch, kind->queries, kind->heads * WIDTH});
    node->in[1] = node_tensor(dtype, 3, (int64_t[]){kind->batch, kind->keys, kind->kv_heads * WIDTH});
    node->in[2] = node_tensor(dtype, 3, (int64_t[]){kind->batch, kind->keys, kind->kv_heads * VALUE_WIDTH});
    for (int i = 0; i < 3; i++) node_fill(node, &node->in[i], 2);
    node->undifferentiated = true;
    cr_assert(node_plan(node) == 0, "%s", node->message);
    cr_assert(node_forward(node) == 0);
}

static void definition(int32_t dtype, int32_t isa, double tolerance) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct kind *kind = &kinds[i];
        struct node node;
        open_kind(&node, kind, dtype, isa, 1);
        for (int64_t n = 0; n < 60; n++) {
            int64_t query = n * 7919 % kind->queries, head = n % kind->heads, b = n % kind->batch, column = n * 5 % VALUE_WIDTH;
            if (n == 0) query = kind->queries - 1;
            double got = node_get(&node.out[0], ((b * kind->queries + query) * kind->heads + head) * VALUE_WIDTH + column);
            double want = expected(kind, &node, b, query, head, column);
            cr_expect(fabs(got - want) < tolerance, "%s, query %d: %g, expected %g", kind->attrs, (int)query, got, want);
        }
        node_free(&node);
    }
}

Test(attention_long, f32_base) { definition(FLOW_F32, FLOW_ISA_BASE, 2e-6); }
Test(attention_long, f32_best) { definition(FLOW_F32, -1, 2e-6); }
Test(attention_long, f64_best) { definition(FLOW_F64, -1, 1e-13); }

Test(attention_long, threads) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct node one, four;
        open_kind(&one, &kinds[i], FLOW_F32, -1, 1), open_kind(&four, &kinds[i], FLOW_F32, -1, 4);
        cr_expect(memcmp(one.out[0].data, four.out[0].data, (size_t)node_count(&one.out[0]) * 4) == 0, "%s", kinds[i].attrs);
        node_free(&one), node_free(&four);
    }
}
