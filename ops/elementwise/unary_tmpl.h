/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one input, for one floating type: REAL, UNARY (the kernel's name) and the functions' names come from the including file. */

static int64_t UNARY(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const REAL *x = in[0], k0 = (REAL)e->k[0], k1 = (REAL)e->k[1];
    REAL *y = out;
    (void)single;
    switch (e->op) {
    case UNARY_NEG: EACH y[i] = -x[i]; break;
    case UNARY_ABS: EACH y[i] = ABS(x[i]); break;
    case UNARY_SIGN: EACH y[i] = x[i] > 0 ? (REAL)1 : x[i] < 0 ? (REAL)-1 : x[i]; break;
    case UNARY_SQUARE: EACH y[i] = x[i] * x[i]; break;
    case UNARY_RELU: EACH y[i] = x[i] < 0 ? (REAL)0 : x[i]; break;
    case UNARY_CLAMP:
        EACH {
            REAL low = x[i] < k0 ? k0 : x[i];
            y[i] = low > k1 ? k1 : low;
        }
        break;
    case UNARY_EXP: EACH y[i] = EXP(x[i]); break;
    case UNARY_LOG: EACH y[i] = LOG(x[i]); break;
    case UNARY_SQRT: EACH y[i] = SQRT(x[i]); break;
    case UNARY_RSQRT: EACH y[i] = (REAL)1 / SQRT(x[i]); break;
    case UNARY_RECIPROCAL: EACH y[i] = (REAL)1 / x[i]; break;
    case UNARY_SIN: CIRCLE(x, y, n, false); break;
    case UNARY_COS: CIRCLE(x, y, n, true); break;
    case UNARY_ERF: EACH y[i] = ERF(x[i]); break;
    case UNARY_FLOOR: EACH y[i] = FLOOR(x[i]); break;
    case UNARY_ROUND: EACH y[i] = RINT(x[i]); break;
    case UNARY_LEAKY_RELU: EACH y[i] = x[i] > 0 ? x[i] : k0 * x[i]; break;
    case UNARY_ELU: EACH y[i] = x[i] > 0 ? x[i] : k0 * EXPM1(x[i]); break;
    case UNARY_GELU: EACH y[i] = GELU(x[i]); break;
    case UNARY_GELU_TANH: EACH y[i] = GELU_TANH(x[i]); break;
    case UNARY_SILU: EACH y[i] = SILU(x[i]); break;
    case UNARY_SIGMOID: EACH y[i] = SIGMOID(x[i]); break;
    case UNARY_TANH: EACH y[i] = TANH(x[i]); break;
    case UNARY_SOFTPLUS: EACH y[i] = SOFTPLUS(x[i]); break;
    case UNARY_MISH: EACH y[i] = MISH(x[i]); break;
    case UNARY_RELU_SQUARED:
        EACH {
            REAL p = x[i] < 0 ? (REAL)0 : x[i];
            y[i] = p * p;
        }
        break;
    default: break;
    }
    return -1;
}
