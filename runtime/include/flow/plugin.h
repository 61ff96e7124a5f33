/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/plugin.h: how an operator describes itself to the runtime. The one header a plugin includes.
 *
 * A plugin is a shared object that exports one symbol, flow_plugin_entry, which returns a table. Loading runs no
 * other code of the plugin, so a graph can be checked, and every operator documented, before anything is created.
 * The operators linked into the library use this same interface.
 *
 * The life of one node, and who calls what, when:
 *   [plan] infer    shapes are known: name outputs' shapes, workspace and cost. May be called many times, for other
 *                   extents, from one thread at a time for one node, from several for several. Must not allocate.
 *   [plan] prepare  once for a set of constant parameters: pack weights into `packed`.
 *   [run]  forward  many times, from any thread, never twice at once with the same `call`.
 *   [run]  backward after a forward of the same call, where the graph is differentiated.
 * Members and callbacks carry the tag of the moment when they may be used: [plan], [run].
 *
 * Rules that keep this interface stable: structs start with their size and grow only at the end; tables carry the
 * size of a row, so that a host and a plugin of different age step through each other's arrays correctly; all
 * constants are fixed numbers; nothing is allocated on one side and freed on the other.
 */
#ifndef FLOW_PLUGIN_H
#define FLOW_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FLOW_ABI 1u /* layout: equal, or refused */
#define FLOW_API 1u /* what the author knew: never a reason to refuse */
#define FLOW_RANK_MAX 8

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* 0 is success, negative an error. One list: names, numbers and texts cannot disagree. */
#define FLOW_STATUS_MAP(XX)                                        \
    XX(OK, 0, "done")                                              \
    XX(ERROR_MEMORY, -1, "out of memory")                          \
    XX(ERROR_USAGE, -2, "wrong usage")                             \
    XX(ERROR_GRAPH, -3, "the graph is wrong")                      \
    XX(ERROR_SHAPE, -4, "shapes do not fit")                       \
    XX(ERROR_TYPE, -5, "types do not fit")                         \
    XX(ERROR_RANGE, -6, "a value is out of range")                 \
    XX(ERROR_UNSUPPORTED, -7, "not supported")                     \
    XX(ERROR_IO, -8, "input or output failed")                     \
    XX(ERROR_FORMAT, -9, "a file is damaged or of another format") \
    XX(ERROR_PLUGIN, -10, "a plugin is wrong")                     \
    XX(ERROR_CANCELLED, -11, "cancelled")                          \
    XX(ERROR_INTERNAL, -12, "internal error")

#define FLOW_STATUS_ENTRY(name, value, text) FLOW_##name = value,
enum { FLOW_STATUS_MAP(FLOW_STATUS_ENTRY) FLOW_STATUS_END_ = 1 };
#undef FLOW_STATUS_ENTRY

/* ---- Element types and tensors ---------------------------------------------------------------------------------- */

/* XX(NAME, number, text, bytes) */
#define FLOW_TYPE_MAP(XX)  \
    XX(F32, 0, "f32", 4)   \
    XX(F16, 1, "f16", 2)   \
    XX(BF16, 2, "bf16", 2) \
    XX(F64, 3, "f64", 8)   \
    XX(I32, 4, "i32", 4)   \
    XX(I64, 5, "i64", 8)   \
    XX(U8, 6, "u8", 1)     \
    XX(BOOL, 7, "bool", 1)

#define FLOW_TYPE_ENTRY(name, value, text, bytes) FLOW_##name = value,
enum { FLOW_TYPE_MAP(FLOW_TYPE_ENTRY) FLOW_TYPE_COUNT = 8 };
#undef FLOW_TYPE_ENTRY

/* Sets of element types. A kernel that lists f32 also serves f16 and bf16: the runtime widens their tensors. */
#define FLOW_TYPE(name) (1u << FLOW_##name)
#define FLOW_TYPES_REAL (FLOW_TYPE(F32) | FLOW_TYPE(F64))
#define FLOW_TYPES_FLOAT (FLOW_TYPES_REAL | FLOW_TYPE(F16) | FLOW_TYPE(BF16))
#define FLOW_TYPES_INTEGER (FLOW_TYPE(I32) | FLOW_TYPE(I64) | FLOW_TYPE(U8))
#define FLOW_TYPES_NUMBER (FLOW_TYPES_FLOAT | FLOW_TYPES_INTEGER)
#define FLOW_TYPES_ANY (FLOW_TYPES_NUMBER | FLOW_TYPE(BOOL))

enum { FLOW_DEVICE_CPU = 0, FLOW_DEVICE_CUDA = 1 };

/* A view of elements somewhere. Strides count elements. A port that is not connected, a parameter that does not exist:
 * rank -1. An extent of 0 is legal everywhere; data may then be NULL. Element (i, j): data[i*strides[0] + j*strides[1]]. */
struct flow_tensor {
    void *data;
    int32_t dtype;
    int32_t device;
    int32_t rank;
    int32_t reserved;
    int64_t shape[FLOW_RANK_MAX];
    int64_t strides[FLOW_RANK_MAX];
};

/* ---- Attributes ------------------------------------------------------------------------------------------------- */

/* What a graph's `with:` gives, parsed, checked and written into the operator's own plain struct before infer.
 * The type of a row is taken from the struct's field, so that a mismatch does not compile. */
enum {
    FLOW_ATTR_INT = 1,    /* int64_t */
    FLOW_ATTR_REAL = 2,   /* double */
    FLOW_ATTR_BOOL = 3,   /* bool */
    FLOW_ATTR_TEXT = 4,   /* const char *: any word; NULL when absent */
    FLOW_ATTR_CHOICE = 5, /* int32_t: index into `choices`; -1 when absent */
    FLOW_ATTR_INTS = 6,   /* struct flow_ints: an integer, a list of them, or one of `choices` */
    FLOW_ATTR_VALUES = 7, /* struct flow_values: a number, or nested lists of numbers of equal lengths */
    FLOW_ATTR_DTYPE = 8   /* struct flow_dtype: an element type's name */
};

/* A list of integers. In lists marked FLOW_SYMBOLS an entry may be a shape's symbol or an expression of symbols.
 * `word` is the index of one of the row's choices when that was written in place of numbers, else -1.
 * `scalar`: one bare number was written, not a list. Absent: count 0, word -1, scalar false, given false. */
struct flow_ints {
    const int64_t *at;
    uint32_t count;
    int32_t word;
    bool scalar;
    bool given;
};

/* Numbers in nested lists: `count` values in row-major order, shape[0..rank). Absent: rank -1. */
struct flow_values {
    const double *at;
    int64_t count;
    int32_t rank;
    int32_t integer; /* 1 when every number was written as an integer */
    int64_t shape[FLOW_RANK_MAX];
};

struct flow_dtype {
    int32_t type; /* -1 when absent */
};

/* Defaults are written as in a graph ("0.5", "false", "[1, 1]", "same"): help prints that same text.
 * FLOW_REQUIRED: must be given. FLOW_ABSENT: may be left out; an int is then FLOW_INT_ABSENT, a real is NaN. */
#define FLOW_REQUIRED NULL
#define FLOW_ABSENT ""
#define FLOW_INT_ABSENT INT64_MIN
#define FLOW_NO_MIN (-1.7976931348623157e308)
#define FLOW_NO_MAX (1.7976931348623157e308)

enum {
    FLOW_SYMBOLS = 1 << 0 /* the integers may name shape symbols ("B*T") and may be 0 or -1 */
};

struct flow_attr {
    const char *name;
    const char *summary; /* half a line: meaning and unit */
    int32_t type;        /* FLOW_ATTR_* */
    uint32_t flags;
    uint32_t offset; /* into the attribute struct */
    uint32_t reserved;
    const char *fallback; /* the default, as text */
    double min, max;      /* inclusive; of each number in a list */
    const char *choices;  /* "none|tanh", or NULL */
};

#define FLOW_ATTR_TYPE_(field) \
    _Generic((field), int64_t : FLOW_ATTR_INT, double : FLOW_ATTR_REAL, bool : FLOW_ATTR_BOOL, const char * : FLOW_ATTR_TEXT,  \
             int32_t : FLOW_ATTR_CHOICE, struct flow_ints : FLOW_ATTR_INTS, struct flow_values : FLOW_ATTR_VALUES,     \
             struct flow_dtype : FLOW_ATTR_DTYPE)

/* A number (or list of numbers, flag, word) with a range. */
#define FLOW_ATTR(type, field, help, fallback, min, max) \
    { #field, help, FLOW_ATTR_TYPE_(((type *)0)->field), 0, (uint32_t)offsetof(type, field), 0, fallback, min, max, NULL }
/* A flag, a word, an element type: no range. */
#define FLOW_ATTR_PLAIN(type, field, help, fallback) FLOW_ATTR(type, field, help, fallback, FLOW_NO_MIN, FLOW_NO_MAX)
/* One of "a|b|c" (an int32_t), or a struct flow_ints that also accepts those words. */
#define FLOW_ATTR_CHOICES(type, field, help, fallback, choices)                                                                       \
    {                                                                                                                                 \
#field, help, FLOW_ATTR_TYPE_(((type *)0)->field), 0, (uint32_t)offsetof(type, field), 0, fallback, FLOW_NO_MIN, FLOW_NO_MAX, \
            choices                                                                                                                   \
    }
/* A struct flow_ints that is a shape: symbols, expressions, 0 and -1 as the operator says. */
#define FLOW_ATTR_SHAPE(type, field, help, fallback)                                                                                \
    {                                                                                                                               \
#field, help, FLOW_ATTR_TYPE_(((type *)0)->field), FLOW_SYMBOLS, (uint32_t)offsetof(type, field), 0, fallback, FLOW_NO_MIN, \
            FLOW_NO_MAX, NULL                                                                                                       \
    }

/* ---- Ports, parameters, states ---------------------------------------------------------------------------------- */

enum {
    FLOW_OPTIONAL = 1 << 0, /* input: may be left out (rank -1); output: exists only where infer gives it a rank */
    FLOW_VARIADIC = 1 << 1, /* any number, the last row only; output names are the row's name and a number: y0 y1 */
    FLOW_STRIDED = 1 << 2,  /* input: any strides are read; without it the runtime copies a view first */
    FLOW_OWN_TYPE = 1 << 3, /* its type need not equal that of the other inputs */
    FLOW_NO_GRAD = 1 << 4,  /* no gradient flows through it */
    FLOW_DYNAMIC = 1 << 5,  /* output: shape[0] planned is a bound; forward writes the true extent into out->shape[0] */
    FLOW_DECLARED = 1 << 6, /* param: a row of documentation; infer declares the parameters of that kind by name */
    FLOW_RUNNING = 1 << 7,  /* param: a statistic, not trained, saved and loaded with the weights */
    FLOW_IN_PLACE = 1 << 8, /* state: state_out is the same memory as state_in */
    FLOW_WHOLE = 1 << 10,   /* output: what all that came so far amounts to (a last state): has no streaming axis */
    FLOW_APPENDED = 1 << 9  /* state: as IN_PLACE; it grows along `axis`, and the rows that were there stay. infer says by how many
                             * (state_out less  state); nothing else may depend on how many there are, which forward reads in state_in */
};
/* Output: may be written over input i (of equal bytes, contiguous) when nothing else reads that input. */
#define FLOW_INPLACE(i) (((uint32_t)(i) + 1u) << 16)

/* Shape patterns: "B T D", one word an axis. In an input's pattern a new name binds, a known one must agree; "..." stands for
 * any number of leading axes (the same ones wherever it is written); "heads*U" is an expression of integer attributes and bound
 * names, with + - * / % and parentheses, without spaces. In an output's or parameter's pattern all must be bound.
 * "" is a scalar. NULL leaves the shape to infer. Names bind across all inputs of the node. */
struct flow_port {
    const char *name;
    const char *summary;
    const char *shape;
    uint32_t types; /* set; an output with one bit has that type, else it has the node's type */
    uint32_t flags;
};

/* Initialiser: "zeros", "ones", "constant(v)", "uniform(a, b)", "normal(m, s)", "truncated_normal(s)", "xavier_uniform", "xavier_normal",
 * "kaiming_uniform(a)", "kaiming_normal", "orthogonal(gain)", "identity", "uniform_except(a, b, first, end, v)" (elements
 * first .. end-1 are v: one gate's bias among several); arguments are real expressions of attributes and the node's
 * bound names, with sqrt(). "@name" takes the initialiser from the text attribute `name`. */
struct flow_param {
    const char *name;
    const char *summary;
    const char *shape;
    const char *when; /* integer expression of attributes: exists where it is not 0; NULL: always */
    const char *init;
    uint32_t types; /* one bit fixes the type (u8 vocabularies); FLOW_TYPES_FLOAT: the node's type */
    uint32_t flags;
};

/* What a node carries from piece to piece when a sequence is streamed; there are none otherwise. */
struct flow_state {
    const char *name;
    const char *summary;
    const char *shape; /* pattern of the extents before the first piece; NULL: infer says */
    const char *init;  /* "zeros" or "constant(v)" */
    uint32_t types;    /* as for a parameter */
    uint32_t flags;
    int32_t axis; /* FLOW_APPENDED: the axis that grows */
    int32_t reserved;
};

/* ---- Planning --------------------------------------------------------------------------------------------------- */

struct flow_host;

/* What infer reads and writes. [plan]
 * Before it is called: attributes parsed; inputs' ranks, shapes, types known and checked against the patterns; outputs and
 * parameters filled in wherever their patterns are bound (types too; contiguous strides); states given. Infer changes what it knows
 * better and fails with host->fail. Extents are plain numbers, never symbols: to check a graph with open symbols the
 * runtime infers with sample extents. */
struct flow_infer {
    uint32_t size;
    int32_t phase; /* FLOW_PHASE_* */
    const struct flow_host *host;
    void *owner; /* the host's; first argument of its functions */
    const void *attrs;
    void *priv; /* priv_size bytes, zeroed; infer fills, forward reads: choices, sizes, function pointers */

    uint32_t in_count, out_count, param_count, state_count;
    const struct flow_tensor *in;
    struct flow_tensor *out;         /* as many as are referred to, at least the table's rows */
    const struct flow_tensor *param; /* table order; those declared by name follow in order of declaration */
    struct flow_tensor *state;       /* extents that come in; `first`: infer may set them */
    struct flow_tensor *state_out;   /* extents that go out; filled in as equal to `state` */

    /* Streaming: the piece in hand is `in`; axis in_axis[i] of input i is the one that is cut into pieces (-1: none; the input is
     * whole). Infer says which axis of each output is. `flush`: this is the last piece (extent 0 or more): emit what is held. */
    bool streaming;
    bool first;
    bool flush;
    bool reserved_;
    const int32_t *in_axis;
    int32_t *out_axis; /* filled in as -1 when nothing streams; must be set where it does */

    /* Results. */
    int64_t workspace;    /* bytes forward needs, 64-byte aligned; contents undefined at each call */
    int64_t packed;       /* bytes prepare fills; 0: no prepare */
    uint64_t packed_key;  /* prepared bytes are shared between plans of equal key and size: mix in what the layout depends on */
    int32_t *view_of;     /* per output: index of the input it is a view of, or -1 (filled in so); set out's strides too */
    int64_t *view_offset; /* elements from that input's first element */
    int64_t delay;        /* streaming: steps by which the first output lags behind the input it depends on last */
    double flops;
    double bytes;

    /* Differentiation. `differentiated`: this node's backward will be called, in training or not (so also with running statistics). */
    int64_t workspace_backward;
    /* Bit i: backward reads that input / output (bit 63: all from the 64th on). Filled in as all; infer takes away what is not read, which
     * then need not be kept. Parameters can always be read. */
    uint64_t backward_reads_in, backward_reads_out;
    bool differentiated;
    int64_t saved; /* bytes that forward leaves for backward in call->saved, 64-byte aligned */
    /* Bit i: the gradient of input i is that of output 0, unchanged and of the same shape (a sum's terms): backward is not asked for it. */
    uint64_t backward_passes_in;

    /* Fusion. FLOW_ACTIVATION_*: output 0 is that function of input 0. FLOW_IS_SUM: it is input 0 + input 1, both of its shape. Another
     * node's kernel may then do it on its way out, and this node's is not called. */
    int32_t is;
    uint32_t epilogues; /* FLOW_EPILOGUE_*: of those of the kernel; filled in as all, infer takes away what this node cannot do */
};

enum { FLOW_PHASE_INFERENCE = 0, FLOW_PHASE_TRAINING = 1 };

/* ---- Running ---------------------------------------------------------------------------------------------------- */

/* One call of one node. [run] All pointers are the host's and valid during the call. Optional tensors that do not exist have rank -1. */
struct flow_call {
    uint32_t size;
    int32_t phase;
    const struct flow_host *host;
    void *owner;
    const void *attrs;
    const void *priv;
    const struct flow_tensor *in;
    struct flow_tensor *out;
    const struct flow_tensor *param;
    const struct flow_tensor *state_in;
    struct flow_tensor *state_out;
    void *workspace;
    void *packed; /* written by prepare, read by forward */
    uint32_t in_count, out_count, param_count, state_count;
    void *stream;  /* the device's stream: a cudaStream_t; NULL on the CPU */
    uint64_t seed; /* of this node: mixes the graph's seed and the node's name */
    uint64_t run;  /* counts runs and loop iterations: random operators draw anew */
    bool streaming, first, flush;

    /* Backward: the vector-Jacobian product. grad_out[i] is the gradient of output i, contiguous, of its shape; rank -1 where none
     * arrives (it is zero). grad_in[i], grad_param[i]: where to put it, contiguous; rank -1 where nobody needs it. Bit i of
     * accumulate_*: add to what is there instead of overwriting (bit 63: all from the 64th on). Gradients of f16 and bf16 values are f32.
     * grad_in[i] may lie where grad_out[j] lies only if the operator is POINTWISE. Inputs and outputs that backward did not ask to read
     * have data NULL. */
    const struct flow_tensor *grad_out;
    struct flow_tensor *grad_in;
    struct flow_tensor *grad_param;
    uint64_t accumulate_in, accumulate_param;
    void *saved; /* forward writes it where the node is differentiated (else NULL), backward reads it */
    bool again;  /* forward, once more, to have for backward what was not kept: statistics stay as they are */

    /* Of kernels that say so by their `epilogues`: output 0 = activation(result) + residual. residual is contiguous and of its shape. */
    int32_t activation;   /* FLOW_ACTIVATION_* */
    const void *residual; /* NULL: none */

    /* Devices other than the CPU; NULL there. Kernels are queued and run later: what they find wrong in the data (an index out of range)
     * goes to `fault`, device memory: whoever first changes its code from 0 fills in the rest, `node` = fault_node. A queued call may be
     * repeated as it is for later runs: the number of the run is then *run_at * run_scale + run_offset, and `run` may be stale. */
    struct flow_fault *fault;
    const uint64_t *run_at;
    uint64_t run_scale, run_offset;
    int32_t fault_node;
    int32_t reserved_;
};

/* What a kernel on a device found. The host makes the message: FLOW_FAULT_INDEX "index VALUE is outside [0, LIMIT)". */
enum { FLOW_FAULT_NONE = 0, FLOW_FAULT_INDEX = 1, FLOW_FAULT_VALUE = 2 /* "the value VALUE is not allowed" */ };
struct flow_fault {
    int32_t code, node;
    int64_t value, limit;
};

#define FLOW_ACCUMULATES(mask, i) ((mask) >> ((i) < 63 ? (i) : 63) & 1u)

/* A matrix product in the host's hands: C[M,N] = act(A[M,K] B[K,N] + bias[N] + beta*C) + residual[M,N], `batch` times. Row and column
 * strides in elements; C's columns are adjacent. All in `dtype` (f32, f64), accumulated in it. Empty extents are legal (K = 0 gives
 * act(bias + beta*C) + residual). */
struct flow_gemm {
    uint32_t size; /* sizeof(struct flow_gemm); 0: nothing behind `activation` is there */
    int64_t m, n, k;
    int64_t batch; /* 0 counts as 1 */
    const void *a;
    int64_t a_row, a_col, a_batch;
    const void *b; /* NULL when packed_b is given */
    int64_t b_row, b_col, b_batch;
    const void *packed_b; /* made by gemm_pack; shared by the whole batch */
    void *c;
    int64_t c_row, c_batch;
    const void *bias; /* [N] or NULL */
    double beta;      /* 0 or 1 */
    int32_t dtype;
    int32_t activation;   /* FLOW_ACTIVATION_* */
    const void *residual; /* laid out as C (c_row, c_batch), apart from it; NULL */
};

enum {
    FLOW_ACTIVATION_NONE = 0,
    FLOW_ACTIVATION_RELU = 1,
    FLOW_ACTIVATION_SIGMOID = 2,
    FLOW_ACTIVATION_TANH = 3,
    FLOW_ACTIVATION_SILU = 4,
    FLOW_ACTIVATION_GELU = 5, /* with erf */
    FLOW_IS_SUM = 64          /* flow_infer.is alone */
};

enum { FLOW_ISA_BASE = 0, FLOW_ISA_AVX2 = 1, FLOW_ISA_AVX512 = 2 }; /* AVX2 with FMA and F16C; AVX-512 F BW DQ VL */

/* What the runtime does for an operator. Append-only; FLOW_HOST_HAS tells whether this host has a member. */
struct flow_host {
    uint32_t size;
    int32_t isa;      /* FLOW_ISA_*: the best set of vector instructions that may be used */
    int32_t threads;  /* that parallel_for may use */
    int32_t products; /* FLOW_BF16: gemm rounds f32 factors to bf16 and adds up in f32; packed bytes are of one kind. Else FLOW_F32 */

    /* Reports an error: the first of a node wins; the host adds node, operator and position in the graph. Returns `code`,
     * so that `return host->fail(...)` reads well. [plan] [run] */
    int (*fail)(void *owner, int code, const char *format, ...);
    /* The same, about one input, attribute or parameter by its name: the message points there. [plan] */
    int (*fail_at)(void *owner, const char *name, int code, const char *format, ...);
    /* A line for whoever looks for lines; never needed to understand a failure. [plan] [run] */
    void (*log)(void *owner, const char *format, ...);

    /* Declares one more parameter (name and init are copied). *index is its place in `param`. [plan] */
    int (*param)(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, const char *init,
                 uint32_t flags, uint32_t *index);

    /* Calls body(context, begin, end) over [0, count) in pieces of `grain` (the last may be shorter), on this and idle threads, and
     * returns when all are done. Piece borders depend on count and grain alone, so results do not depend on threads. [run] */
    void (*parallel_for)(const struct flow_call *call, int64_t count, int64_t grain,
                         void (*body)(void *context, int64_t begin, int64_t end), void *context);

    /* Matrix products, spread over the threads by themselves. [run] */
    int (*gemm)(const struct flow_call *call, const struct flow_gemm *product);
    /* B[K,N] in the layout that gemm reads fastest: its bytes [plan], its making (source f32, f64, f16 or bf16) [plan] [run]. */
    int64_t (*gemm_packed_bytes)(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n);
    void (*gemm_pack)(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row,
                      int64_t b_col, void *packed);

    /* True once the run is to stop: long kernels ask now and then. [run] */
    bool (*cancelled)(void *owner);

    const void *(*extension)(const struct flow_host *host, const char *id); /* "flow.NAME/REVISION", or NULL */

    void *device; /* the host's: whose threads parallel_for and gemm use. Copies of this table keep it. */
};

#define FLOW_HOST_HAS(host, member) ((host)->size >= offsetof(struct flow_host, member) + sizeof((host)->member))

/* ---- Tables ----------------------------------------------------------------------------------------------------- */

/* count rows of `size` bytes each. FLOW_TABLE(array) fills one in. */
#define FLOW_TABLE_OF(row)    \
    {                         \
        uint32_t count, size; \
        const struct row *at; \
    }
struct flow_ports FLOW_TABLE_OF(flow_port);
struct flow_params FLOW_TABLE_OF(flow_param);
struct flow_states FLOW_TABLE_OF(flow_state);
struct flow_attrs FLOW_TABLE_OF(flow_attr);
#define FLOW_TABLE(array) \
    { (uint32_t)(sizeof(array) / sizeof((array)[0])), (uint32_t)sizeof((array)[0]), (array) }
#define FLOW_TABLE_EMPTY \
    { 0, 0, NULL }

/* An operator brings kernels, and a second plugin may bring more for it. Of those that fit, the highest priority wins. */
struct flow_kernel {
    const char *op; /* in a plugin's own table: whose kernel it is; NULL in an operator's */
    int32_t device;
    uint32_t types; /* of the node: the first floating input (else output or parameter), else the first input */
    int32_t isa;    /* least FLOW_ISA_* */
    int32_t priority;
    bool (*supports)(const struct flow_infer *infer); /* NULL: any shape; called after infer */
    int (*forward)(const struct flow_call *call);
    int (*backward)(const struct flow_call *call); /* NULL: inference only */
    uint32_t epilogues;                            /* FLOW_EPILOGUE_*: what forward does to output 0 as the call says */
    /* [plan] What infer said of this call's needs, changed to those of this kernel, the one chosen: workspace, workspace_backward, saved,
     * packed (0: prepare is not called), backward_reads_*, epilogues. Shapes stay. NULL: infer's are right. */
    int (*plan)(struct flow_infer *infer);
};
enum { FLOW_EPILOGUE_ACTIVATION = 1 << 0, FLOW_EPILOGUE_RESIDUAL = 1 << 1 };

struct flow_kernels FLOW_TABLE_OF(flow_kernel);

struct flow_operator {
    uint32_t size;
    uint32_t flags; /* FLOW_OP_* */
    const char *name;
    const char *summary;   /* one line */
    const char *equation;  /* may have several lines */
    const char *reference; /* paper or standard, with the equation's number */
    const char *example;   /* one node: "y: {op: relu, in: x}" */
    struct flow_ports inputs, outputs;
    struct flow_params params;
    struct flow_states states;
    struct flow_attrs attrs;
    struct flow_kernels kernels; /* this operator's own */
    uint32_t attrs_size;         /* bytes of the attribute struct */
    uint32_t priv_size;
    int (*infer)(struct flow_infer *infer);       /* NULL: the patterns say all */
    int (*prepare)(const struct flow_call *call); /* fills call->packed; sees param and attrs and priv, no inputs */
    int (*describe)(const struct flow_infer *infer, char *text, size_t size); /* what this plan chose, for `check`; NULL: nothing */
};

enum {
    FLOW_OP_RANDOM = 1 << 0,    /* draws: never computed once for all runs */
    FLOW_OP_POINTWISE = 1 << 1, /* each output element depends on the like elements alone: streams along any axis */
    FLOW_OP_VALUE = 1 << 2,     /* no inputs, the same result in every run: computed once */
    FLOW_OP_BY_PIECE = 1 << 3   /* what a stream gives depends on how it is cut into pieces, by intent (the last row of each) */
};

/* Pointers, so that each operator can stand in a file of its own. */
struct flow_operators {
    uint32_t count, size;
    const struct flow_operator *const *at;
};

/* ---- Optimisers ------------------------------------------------------------------------------------------------- */

/* What an optimiser is given: one group of parameters, all at once. [run]
 * In and between the calls of one group nothing else writes the parameters. Gradients are averaged over micro-batches, with noise added;
 * they are still to be multiplied by `scale` (clipping), in the same pass. */
struct flow_update {
    uint32_t size;
    uint32_t count;               /* parameters in the group */
    const struct flow_call *call; /* first argument of the host's parallel_for and gemm; call->host, call->owner for fail */
    const void *attrs;
    const struct flow_tensor *param; /* data are written; contiguous */
    const struct flow_tensor *grad;  /* rank -1: no loss depends on it, treat as zero */
    const struct flow_tensor *value; /* of FLOW_OPTIMIZER_VALUE: what `value` is in this step; of OF: the other parameter; else NULL */
    const struct flow_tensor *state; /* state s of parameter i: state[s * count + i]; data are written */
    int64_t step;                    /* updates that this group has made before, from 0 */
    double rate;                     /* what the schedule multiplies the learning rate by */
    double scale;                    /* what each gradient is multiplied by first */
    double loss;                     /* value of the loss that the group follows */
    uint64_t seed;                   /* of the group: for random numbers, with `step` as the run */
    void *workspace;
};

enum {
    FLOW_OPTIMIZER_NO_GRADIENT = 1 << 0, /* acts after all others, with no loss */
    FLOW_OPTIMIZER_VALUE = 1 << 1,       /* takes `value: REF`, a node's value computed before the step's updates */
    FLOW_OPTIMIZER_OF = 1 << 2           /* takes `of: pattern`: other parameters, read after their update */
};

struct flow_optimizer {
    uint32_t size;
    uint32_t flags; /* FLOW_OPTIMIZER_* */
    const char *name;
    const char *summary;
    const char *equation;
    const char *reference;
    const char *example;       /* one entry of `update:` */
    struct flow_states states; /* one tensor a parameter; shape NULL: the parameter's own shape; types FLOW_TYPES_FLOAT: its type */
    struct flow_attrs attrs;
    uint32_t attrs_size;
    uint32_t reserved;
    /* Is the parameter one that this optimiser can own? Fails with host->fail, saying why. NULL: any. [plan] */
    int (*accepts)(const struct flow_host *host, void *owner, const void *attrs, const struct flow_tensor *param);
    /* Bytes of workspace for a group (data of the tensors are NULL). NULL: none. [plan] */
    int64_t (*workspace)(const struct flow_update *update);
    int (*step)(const struct flow_update *update); /* [run] */
    /* Which states there are with these attributes: bit s is state s, the others have rank -1 (momentum 0 needs no memory). NULL: all.
     * [plan] */
    uint64_t (*uses)(const void *attrs);
};

struct flow_optimizers {
    uint32_t count, size;
    const struct flow_optimizer *const *at;
};

/* An optimiser's step on a device other than the CPU: tensors, states and workspace are memory of that device, update->call->stream its
 * stream. Brought by the plugin of a device. */
struct flow_optimizer_kernel {
    const char *optimizer; /* "adam" */
    int32_t device;
    uint32_t reserved;
    int64_t (*workspace)(const struct flow_update *update); /* NULL: none */
    int (*step)(const struct flow_update *update);
};
struct flow_optimizer_kernels FLOW_TABLE_OF(flow_optimizer_kernel);

/* ---- Sources ---------------------------------------------------------------------------------------------------- */

/* A source is a table of rows, read in any order: row r is always the same (but for what `seed` draws, crops and noise). Batches,
 * shuffling, splits, epochs and prefetching are the host's, so that a source is resumed by a number. Functions run on the loop's workers,
 * not on its thread, and may wait for files: [load]. fill is called from several threads at once. */
struct flow_source_host {
    uint32_t size;
    uint32_t reserved;
    int (*fail)(void *owner, int code, const char *format, ...);
    /* Memory of the source's, freed by the host after close. [load, in open] */
    void *(*memory)(void *owner, size_t bytes);
    /* Files by path as open's `path` is given, or relative to the graph's file. Closed by the host after close. [load] */
    int (*file_open)(void *owner, const char *path, void **file, int64_t *bytes);         /* open only */
    int (*file_read)(void *owner, void *file, int64_t offset, int64_t bytes, void *into); /* all of them, or an error. Any thread */
    /* The files in a folder (path itself, when it is a file) whose names end in `suffix`, sorted, folders below too: in open. */
    int (*folder)(void *owner, const char *path, const char *suffix, const char *const **paths, int64_t *count);
    /* Tensors of a .safetensors, .npy, .wav or .csv file; name NULL or "": the only one. Read their data by tensor_read: those that lie in
     * the file as they are may be a mapping of it, and touching that ends the program where the file has become shorter. *metadata of csv:
     * names of the columns, joined by newlines. In open. */
    int (*tensor)(void *owner, const char *path, const char *name, struct flow_tensor *tensor, const char **metadata);
    /* Declares an output: its type and the shape of one row; `whole`: the shape of a batch (not stacked; rank as given). In open. */
    int (*output)(void *owner, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, bool whole);
    bool (*cancelled)(void *owner);
    /* Bytes of a tensor that `tensor` gave, read from the file where it lies there as it is: counted, and an error, not the end of the
     * program, where the file has become shorter. Any thread. */
    int (*tensor_read)(void *owner, const struct flow_tensor *tensor, int64_t offset, int64_t bytes, void *into);
};

struct flow_source_open {
    uint32_t size;
    uint32_t reserved;
    const struct flow_source_host *host;
    void *owner;
    const char *path; /* as the graph gives it; NULL */
    const void *attrs;
    int64_t batch; /* rows asked for at a time, as `with: {batch}` says; 1 by default */
    uint64_t seed;
    /* Results. */
    int64_t rows; /* in all; INT64_MAX: endless (row r is drawn from the seed) */
    void *state;  /* handed to fill and close */
};

struct flow_source_fill {
    uint32_t size;
    uint32_t out_count;
    const struct flow_source_host *host;
    void *owner;
    void *state;
    const void *attrs;
    const int64_t *rows; /* `count` row numbers */
    int64_t count;
    int64_t epoch;
    uint64_t seed;           /* key of random numbers for this epoch: use with the row's number, so that batches do not matter */
    struct flow_tensor *out; /* declared ones, [count, ...] or whole; contiguous, to be written. Whole ones: shape[] may be lowered */
};

struct flow_source {
    uint32_t size;
    uint32_t flags; /* FLOW_SOURCE_* */
    const char *name;
    const char *summary;
    const char *reference;
    const char *example;       /* one entry of `data:` */
    struct flow_ports outputs; /* documentation of what open may declare */
    struct flow_attrs attrs;
    uint32_t attrs_size;
    uint32_t reserved;
    int (*open)(struct flow_source_open *open);       /* [load] */
    int (*fill)(const struct flow_source_fill *fill); /* [load, concurrent] */
    void (*close)(void *state);                       /* NULL: nothing to do. Called also when open failed with a state set */
};

enum {
    FLOW_SOURCE_ORDERED = 1 << 0, /* rows follow each other in time: shuffling them is an error */
    FLOW_SOURCE_CONSTANT = 1 << 1 /* nothing is drawn: the same rows are the same in every epoch (one batch an epoch is filled once) */
};

struct flow_sources {
    uint32_t count, size;
    const struct flow_source *const *at;
};

/* ---- The plugin -------------------------------------------------------------------------------------------------- */

struct flow_plugin {
    uint32_t size;
    uint32_t abi; /* FLOW_ABI */
    uint32_t api; /* FLOW_API */
    uint32_t reserved;
    const char *name;
    const char *version;
    const char *licence; /* SPDX */
    const char *summary;
    const char *reference;
    struct flow_operators operators;
    struct flow_kernels kernels;              /* for operators of other plugins */
    const void *(*extension)(const char *id); /* or NULL */
    struct flow_optimizers optimizers;
    struct flow_sources sources;
    struct flow_optimizer_kernels optimizer_kernels; /* for optimisers of other plugins */
};

#if defined(__GNUC__)
#define FLOW_EXPORT __attribute__((visibility("default")))
#else
#define FLOW_EXPORT
#endif

/* The one exported symbol of a plugin: returns its table, always the same, for ever valid. [plan]
 * Built into the library the function is called flow_plugin_NAME: the build passes its name as FLOW_ENTRY. */
#ifdef FLOW_ENTRY
const struct flow_plugin *FLOW_ENTRY(void);
#else
#define FLOW_ENTRY flow_plugin_entry
FLOW_EXPORT const struct flow_plugin *FLOW_ENTRY(void);
#endif
typedef const struct flow_plugin *(*flow_entry_function)(void);

#ifdef __cplusplus
}
#endif

#endif
