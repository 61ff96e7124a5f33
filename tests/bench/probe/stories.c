/* SPDX-License-Identifier: Apache-2.0 */
/* graphs/stories260k as a plain nest of loops, as one would write it without a library: the peer of its benchmark. Compiled by the bench
 * with -O3 -march=native. */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum {
    LAYERS = 5,
    UNITS = 64,
    HIDDEN = 172,
    HEADS = 8,
    KV_HEADS = 4,
    WIDTH = UNITS / HEADS,
    KV = KV_HEADS * WIDTH,
    WORDS = 512,
    MOST = 512
};

struct layer {
    const float *wq, *wk, *wv, *wo, *gate, *up, *down, *norm1, *norm2;
};
struct stories {
    struct layer layers[LAYERS];
    const float *embed, *norm; /* [WORDS, UNITS], [UNITS] */
    float keys[LAYERS][MOST][KV], values[LAYERS][MOST][KV];
};

static void norm(float *y, const float *x, const float *weight) {
    float sum = 0;
    for (int i = 0; i < UNITS; i++) sum += x[i] * x[i];
    float scale = 1 / sqrtf(sum / UNITS + 1e-5f);
    for (int i = 0; i < UNITS; i++) y[i] = weight[i] * (scale * x[i]);
}

static void product(float *restrict y, const float *restrict x, const float *restrict w, int rows, int columns) {
    for (int i = 0; i < rows; i++) {
        float sum = 0;
        for (int j = 0; j < columns; j++) sum += w[i * columns + j] * x[j];
        y[i] = sum;
    }
}

/* Pairs of neighbours turn by position * 10000^(-2i/WIDTH). */
static void turn(float *x, int heads, int position) {
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < WIDTH; i += 2) {
            float angle = (float)position * powf(10000, -(float)i / WIDTH), c = cosf(angle), s = sinf(angle);
            float a = x[h * WIDTH + i], b = x[h * WIDTH + i + 1];
            x[h * WIDTH + i] = a * c - b * s, x[h * WIDTH + i + 1] = a * s + b * c;
        }
}

static void attend(float *y, const float *q, float (*keys)[KV], float (*values)[KV], int position) {
    for (int h = 0; h < HEADS; h++) {
        float weight[MOST], most = -INFINITY, sum = 0;
        int at = h / (HEADS / KV_HEADS) * WIDTH;
        for (int t = 0; t <= position; t++) {
            float score = 0;
            for (int i = 0; i < WIDTH; i++) score += q[h * WIDTH + i] * keys[t][at + i];
            weight[t] = score / sqrtf(WIDTH);
            if (weight[t] > most) most = weight[t];
        }
        for (int t = 0; t <= position; t++) sum += weight[t] = expf(weight[t] - most);
        for (int i = 0; i < WIDTH; i++) y[h * WIDTH + i] = 0;
        for (int t = 0; t <= position; t++)
            for (int i = 0; i < WIDTH; i++) y[h * WIDTH + i] += weight[t] / sum * values[t][at + i];
    }
}

static int next_word(struct stories *s, int word, int position) {
    float x[UNITS], y[UNITS], q[UNITS], mixed[UNITS], gate[HIDDEN], up[HIDDEN], logits[WORDS];
    memcpy(x, s->embed + word * UNITS, sizeof x);
    for (int l = 0; l < LAYERS; l++) {
        const struct layer *w = &s->layers[l];
        float *k = s->keys[l][position], *v = s->values[l][position];
        norm(y, x, w->norm1);
        product(q, y, w->wq, UNITS, UNITS), product(k, y, w->wk, KV, UNITS), product(v, y, w->wv, KV, UNITS);
        turn(q, HEADS, position), turn(k, KV_HEADS, position);
        attend(mixed, q, s->keys[l], s->values[l], position);
        product(y, mixed, w->wo, UNITS, UNITS);
        for (int i = 0; i < UNITS; i++) x[i] += y[i];
        norm(y, x, w->norm2);
        product(gate, y, w->gate, HIDDEN, UNITS), product(up, y, w->up, HIDDEN, UNITS);
        for (int i = 0; i < HIDDEN; i++) gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
        product(y, gate, w->down, UNITS, HIDDEN);
        for (int i = 0; i < UNITS; i++) x[i] += y[i];
    }
    norm(y, x, s->norm);
    product(logits, y, s->embed, WORDS, UNITS);
    int best = 0;
    for (int i = 1; i < WORDS; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* weights: of each layer in struct layer's order, then embed and norm. words[0] is given, the others are written. */
void stories_tell(const float *const *weights, int64_t *words, int count) {
    static struct stories s;
    memcpy(&s.layers, weights, sizeof s.layers);
    s.embed = weights[LAYERS * 9], s.norm = weights[LAYERS * 9 + 1];
    for (int t = 0; t + 1 < count; t++) words[t + 1] = next_word(&s, (int)words[t], t);
}
