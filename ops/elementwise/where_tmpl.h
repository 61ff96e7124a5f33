/* SPDX-License-Identifier: Apache-2.0 */
/* Choice between two inputs, for elements of one size: TYPE and WHERE (the kernel's name) come from the including file. */

static int64_t WHERE(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const uint8_t *condition = in[0];
    const TYPE *a = in[1], *b = in[2];
    TYPE *y = out;
    (void)context;
    if (single & 1u) {
        const TYPE *chosen = condition[0] ? a : b;
        if (single & (condition[0] ? 2u : 4u)) {
            const TYPE p = chosen[0];
            LOOP y[i] = p;
        } else if (y != chosen) LOOP y[i] = chosen[i];
        return -1;
    }
    switch (single >> 1) {
    case 0: LOOP y[i] = condition[i] ? a[i] : b[i]; break;
    case 1: {
        const TYPE p = a[0];
        LOOP y[i] = condition[i] ? p : b[i];
        break;
    }
    case 2: {
        const TYPE q = b[0];
        LOOP y[i] = condition[i] ? a[i] : q;
        break;
    }
    default: {
        const TYPE p = a[0], q = b[0];
        LOOP y[i] = condition[i] ? p : q;
        break;
    }
    }
    return -1;
}
