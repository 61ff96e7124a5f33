/* SPDX-License-Identifier: Apache-2.0 */
/* dropout in training: how many are dropped, what the others become, and that threads, strides and runs matter as they should. */
#include "harness/fake_host.h"

#include <criterion/criterion.h>
#include <math.h>

extern const struct flow_operator dropout_operator;

enum { ROWS = 300, WIDTH = 401, COUNT = ROWS * WIDTH };

struct dropout_attrs {
    double p;
};

static float x[COUNT], y[3][COUNT];
static double wide[2][COUNT];

static void drop(struct fake *fake, void *from, void *to, int32_t dtype) {
    fake->in_count = 1;
    if (from) fake->in[0] = fake_tensor(from, dtype, 2, (int64_t[]){ROWS, WIDTH});
    cr_assert(fake_infer(fake) == 0, "%s", fake->message);
    fake->out[0].data = to;
    if (fake->view_of[0] < 0) cr_assert(fake_forward(fake) == 0, "%s", fake->message);
}

Test(dropout, training) {
    static const double chances[] = {0.1, 0.5, 0.9, 1};
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i % 91) + 1;
    for (int k = 0; k < 4; k++) {
        struct dropout_attrs attrs = {chances[k]};
        struct fake fake = {.op = &dropout_operator, .attrs = &attrs, .phase = FLOW_PHASE_TRAINING, .seed = 17};
        drop(&fake, x, y[0], FLOW_F32);
        fake.threads = 4;
        drop(&fake, x, y[1], FLOW_F32);
        cr_assert(memcmp(y[0], y[1], sizeof y[0]) == 0, "threads change the mask");
        fake.run = 1;
        drop(&fake, x, y[2], FLOW_F32);
        int dropped = 0, same = 0;
        for (int i = 0; i < COUNT; i++) {
            cr_assert(y[0][i] == 0 || y[0][i] == x[i] * (float)(1 / (1 - attrs.p)), "element %d: %g", i, y[0][i]);
            dropped += y[0][i] == 0, same += (y[0][i] == 0) == (y[2][i] == 0);
        }
        double expected = attrs.p * COUNT, deviation = sqrt(expected * (1 - attrs.p)),
               alike = attrs.p * attrs.p + (1 - attrs.p) * (1 - attrs.p);
        cr_assert(fabs(dropped - expected) <= 5 * deviation, "%d of %d dropped at %g", dropped, COUNT, attrs.p);
        cr_assert(fabs(same - alike * COUNT) <= 5 * sqrt(COUNT * alike * (1 - alike)), "two runs agree in %d of %d places", same, COUNT);
        fake_end(&fake);
    }
}

/* The mask belongs to places, not to memory: a transposed input gives the mask of the same places. */
Test(dropout, strides_and_types) {
    struct dropout_attrs attrs = {0.3};
    struct fake fake = {.op = &dropout_operator, .attrs = &attrs, .phase = FLOW_PHASE_TRAINING, .seed = 3, .in_count = 1};
    for (int i = 0; i < COUNT; i++) x[i] = 1, wide[0][i] = 1;
    drop(&fake, x, y[0], FLOW_F32);
    drop(&fake, wide[0], wide[1], FLOW_F64);
    fake.in[0] = fake_tensor(x, FLOW_F32, 2, (int64_t[]){ROWS, WIDTH});
    fake.in[0].strides[0] = 1, fake.in[0].strides[1] = ROWS;
    drop(&fake, NULL, y[1], FLOW_F32);
    for (int i = 0; i < COUNT; i++) cr_assert(y[1][i] == y[0][i] && (wide[1][i] == 0) == (y[0][i] == 0), "element %d", i);
    fake_end(&fake);
}

Test(dropout, inference_is_a_view) {
    struct dropout_attrs attrs = {0.3}, none = {0};
    struct fake fake = {.op = &dropout_operator, .attrs = &attrs, .in_count = 1};
    drop(&fake, x, NULL, FLOW_F32);
    cr_assert(fake.view_of[0] == 0);
    fake.attrs = &none, fake.phase = FLOW_PHASE_TRAINING;
    drop(&fake, x, NULL, FLOW_F32);
    cr_assert(fake.view_of[0] == 0);
    fake_end(&fake);
}
