/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons for one element type: TYPE and COMPARE (the kernel's name) come from the including file. */

static int64_t COMPARE(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const TYPE *a = in[0], *b = in[1];
    uint8_t *y = out;
    switch (e->op) {
    case COMPARE_EQ: EACH(==) break;
    case COMPARE_NE: EACH(!=) break;
    case COMPARE_LT: EACH(<) break;
    case COMPARE_LE: EACH(<=) break;
    case COMPARE_GT: EACH(>) break;
    case COMPARE_GE: EACH(>=) break;
    default: break;
    }
    return -1;
}
