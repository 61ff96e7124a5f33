/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of two inputs for one floating type: REAL, BINARY (the kernel's name) and the functions' names come from the including file. */

static int64_t BINARY(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const REAL *a = in[0], *b = in[1];
    REAL *y = out;
    switch (e->op) {
    case BINARY_ADD: EACH(p + q); break;
    case BINARY_SUB: EACH(p - q); break;
    case BINARY_MUL: EACH(p * q); break;
    case BINARY_DIV: EACH(p / q); break;
    case BINARY_MINIMUM: EACH(MIN(p, q)); break;
    case BINARY_MAXIMUM: EACH(MAX(p, q)); break;
    case BINARY_MOD: MOD(a, b, y, n, single); break;
    case BINARY_POW: POW(a, b, y, n, single); break;
    case BINARY_SQUARE: LOOP y[i] = a[i] * a[i]; break;
    case BINARY_CUBE: LOOP y[i] = a[i] * a[i] * a[i]; break;
    case BINARY_ROOT: LOOP y[i] = a[i] == -(REAL)INFINITY ? -a[i] : SQRT(a[i]) + (REAL)0; break;
    case BINARY_RECIPROCAL: LOOP y[i] = (REAL)1 / a[i]; break;
    case BINARY_PRELU: EACH(p > 0 ? p : q * p); break;
    case BINARY_GLU_SIGMOID: EACH(p * SIGMOID(q)); break;
    case BINARY_GLU_SILU: EACH(p * SILU(q)); break;
    case BINARY_GLU_GELU: EACH(p * GELU(q)); break;
    case BINARY_GLU_RELU: EACH(p * (q < 0 ? 0 : q)); break;
    case BINARY_GLU_TANH: EACH(p * TANH(q)); break;
    default: break;
    }
    return -1;
}
