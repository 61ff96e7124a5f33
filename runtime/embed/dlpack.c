/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack objects are freed by whoever receives them, after any runtime: their memory is the C library's. */
#include "embed/embed.h"

#include <flow/dlpack.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct flow_dlpack_type) == 4 && offsetof(struct flow_dlpack_tensor, shape) == (sizeof(void *) == 8 ? 24 : 20),
               "the layout of DLTensor");
_Static_assert(sizeof(void *) != 8 || (sizeof(struct flow_dlpack_tensor) == 48 && sizeof(struct flow_dlpack_managed) == 64 &&
                                       offsetof(struct flow_dlpack_versioned, tensor) == 32 && sizeof(struct flow_dlpack_versioned) == 80),
               "the layout of the managed tensors");

static const struct {
    int32_t dtype;
    struct flow_dlpack_type type;
} types[] = {{FLOW_F32, {FLOW_DLPACK_FLOAT, 32, 1}},   {FLOW_F64, {FLOW_DLPACK_FLOAT, 64, 1}}, {FLOW_F16, {FLOW_DLPACK_FLOAT, 16, 1}},
             {FLOW_BF16, {FLOW_DLPACK_BFLOAT, 16, 1}}, {FLOW_I32, {FLOW_DLPACK_INT, 32, 1}},   {FLOW_I64, {FLOW_DLPACK_INT, 64, 1}},
             {FLOW_U8, {FLOW_DLPACK_UINT, 8, 1}},      {FLOW_BOOL, {FLOW_DLPACK_BOOL, 8, 1}}};
enum { TYPES = sizeof types / sizeof *types };
_Static_assert((int)TYPES == (int)FLOW_TYPE_COUNT, "every type has its DLPack type");

static const struct position nowhere;

/* ---- In ---- */

static int take_type(const struct flow_dlpack_type *type, int32_t *dtype, struct report *report) {
    static const char *const kinds[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
    for (int i = 0; i < TYPES; i++) {
        const struct flow_dlpack_type *known = &types[i].type;
        if (known->kind != type->kind || known->bits != type->bits || known->lanes != type->lanes) continue;
        *dtype = types[i].dtype;
        return 0;
    }
    return report_add(report, FLOW_ERROR_TYPE, nowhere,
                      "DLPack type %s (kind %d, %d bits, %d lanes): expected f64, f32, f16, bf16, i64, i32, u8 or bool",
                      type->kind < sizeof kinds / sizeof *kinds ? kinds[type->kind] : "unknown", type->kind, type->bits, type->lanes);
}

static int take_extents(const struct flow_dlpack_tensor *from, struct flow_tensor *to, struct report *report) {
    int64_t stride = 1, count = 1;
    bool empty = false;
    for (int32_t a = from->rank - 1; a >= 0; a--) {
        int64_t extent = from->shape[a];
        if (extent < 0) return report_add(report, FLOW_ERROR_SHAPE, nowhere, "DLPack axis %d has extent %lld", a, (long long)extent);
        to->shape[a] = extent, to->strides[a] = from->strides ? from->strides[a] : stride;
        if (extent == 0) empty = true;
        else if (!size_multiply(count, extent, &count) || !size_multiply(stride, extent, &stride))
            return report_add(report, FLOW_ERROR_SHAPE, nowhere, "the DLPack tensor's extents overflow");
    }
    int64_t bytes;
    if (!empty && !size_multiply(count, dtype_bytes(to->dtype), &bytes))
        return report_add(report, FLOW_ERROR_SHAPE, nowhere, "the DLPack tensor's extents overflow");
    if (!empty && !from->data) return report_add(report, FLOW_ERROR_USAGE, nowhere, "the DLPack tensor has no data");
    return 0;
}

static int take(const struct flow_dlpack_tensor *from, struct flow_tensor *to, struct report *report) {
    int32_t kind = from->device.kind;
    *to = (struct flow_tensor){.device = FLOW_DEVICE_CPU};
    if (kind != FLOW_DLPACK_CPU && kind != FLOW_DLPACK_CUDA_HOST && kind != FLOW_DLPACK_ROCM_HOST)
        return report_add(report, FLOW_ERROR_UNSUPPORTED, nowhere,
                          "the DLPack tensor lies on device kind %d, number %d: expected memory that the CPU reads (1, 3 or 11)", kind,
                          from->device.number);
    if (from->rank < 0 || from->rank > FLOW_RANK_MAX || (from->rank > 0 && !from->shape))
        return report_add(report, FLOW_ERROR_SHAPE, nowhere, "the DLPack tensor has %d axes: expected 0 to %d", from->rank, FLOW_RANK_MAX);
    int code = take_type(&from->type, &to->dtype, report);
    if (code < 0) return code;
    to->rank = from->rank;
    to->data = from->data ? (char *)from->data + from->byte_offset : NULL;
    return take_extents(from, to, report);
}

int flow_tensor_from_dlpack(const struct flow_dlpack_managed *managed, flow_errors **errors, struct flow_tensor *out) {
    struct report report;
    errors_begin(&report, &memory_default);
    return errors_end(&report, errors, take(&managed->tensor, out, &report));
}

int flow_tensor_from_dlpack_versioned(const struct flow_dlpack_versioned *managed, flow_errors **errors, struct flow_tensor *out) {
    struct report report;
    errors_begin(&report, &memory_default);
    *out = (struct flow_tensor){.rank = -1};
    int rc = managed->version.major == FLOW_DLPACK_MAJOR
                 ? take(&managed->tensor, out, &report)
                 : report_add(&report, FLOW_ERROR_UNSUPPORTED, nowhere, "DLPack version %u.%u: expected %d.x", managed->version.major,
                              managed->version.minor, FLOW_DLPACK_MAJOR);
    return errors_end(&report, errors, rc);
}

/* ---- Out ---- */

/* What is handed out, in one block with the extents and, on a 64-byte border behind them, a copy of the data. */
struct export {
    union {
        struct flow_dlpack_managed managed;
        struct flow_dlpack_versioned versioned;
    } out;
    int64_t shape[FLOW_RANK_MAX], strides[FLOW_RANK_MAX];
    void *owner;
    void (*release)(void *owner);
};

static void delete_export(struct export *export) {
    if (export->release) export->release(export->owner);
    free(export);
}
static void delete_managed(struct flow_dlpack_managed *self) { delete_export(self->context); }
static void delete_versioned(struct flow_dlpack_versioned *self) { delete_export(self->context); }

static int check_tensor(const struct flow_tensor *tensor, int64_t *bytes, struct report *report) {
    if (tensor->rank < 0 || tensor->rank > FLOW_RANK_MAX || tensor->dtype < 0 || tensor->dtype >= FLOW_TYPE_COUNT ||
        !plan_bytes(tensor, bytes))
        return report_add(report, FLOW_ERROR_USAGE, nowhere, "the tensor has rank %d, type %d or impossible extents", tensor->rank,
                          tensor->dtype);
    if (tensor->device != FLOW_DEVICE_CPU)
        return report_add(report, FLOW_ERROR_UNSUPPORTED, nowhere, "the tensor is not in the CPU's memory");
    return 0;
}

/* Everything but the outer struct. *out NULL: an error. */
static int make(const struct flow_tensor *tensor, uint64_t flags, void *owner, void (*release)(void *owner), struct report *report,
                struct export **out, struct flow_dlpack_tensor *made) {
    const size_t head = (sizeof(struct export) + 63) / 64 * 64;
    int64_t bytes = 0;
    *out = NULL;
    int code = check_tensor(tensor, &bytes, report);
    if (code < 0) return code;
    bool copy = flags & FLOW_DLPACK_COPY;
    struct export *export = NULL;
    if (bytes > INT64_MAX / 2 || posix_memalign((void **)&export, 64, head + (copy ? (size_t)bytes : 0)) != 0) return report_memory(report);
    memset(export, 0, sizeof *export);
    struct flow_tensor type = copy ? plan_packed_type(tensor) : *tensor;
    void *data = tensor->data;
    if (copy && bytes) tensor_copy(data = (char *)export + head, tensor);
    for (int32_t a = 0; a < tensor->rank; a++) export->shape[a] = type.shape[a], export->strides[a] = type.strides[a];
    *made = (struct flow_dlpack_tensor){.data = data, .device = {FLOW_DLPACK_CPU, 0}, .rank = tensor->rank, .shape = export->shape};
    made->strides = export->strides;
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == tensor->dtype) made->type = types[i].type;
    if (copy && release) release(owner);
    else export->owner = owner, export->release = release;
    *out = export;
    return 0;
}

int flow_tensor_to_dlpack(const struct flow_tensor *tensor, uint64_t flags, void *owner, void (*release)(void *owner), flow_errors **errors,
                          struct flow_dlpack_managed **out) {
    struct report report;
    struct export *export = NULL;
    struct flow_dlpack_tensor made;
    errors_begin(&report, &memory_default);
    *out = NULL;
    int rc = flags & FLOW_DLPACK_READ_ONLY
                 ? report_add(&report, FLOW_ERROR_USAGE, nowhere, "only a versioned DLPack tensor can say that it is read-only")
                 : make(tensor, flags, owner, release, &report, &export, &made);
    if (export) {
        export->out.managed = (struct flow_dlpack_managed){made, export, delete_managed};
        *out = &export->out.managed;
    }
    return errors_end(&report, errors, rc);
}

int flow_tensor_to_dlpack_versioned(const struct flow_tensor *tensor, uint64_t flags, void *owner, void (*release)(void *owner),
                                    flow_errors **errors, struct flow_dlpack_versioned **out) {
    struct report report;
    struct export *export = NULL;
    struct flow_dlpack_tensor made;
    errors_begin(&report, &memory_default);
    *out = NULL;
    int rc = make(tensor, flags, owner, release, &report, &export, &made);
    if (export) {
        export->out.versioned = (struct flow_dlpack_versioned){
            {FLOW_DLPACK_MAJOR, FLOW_DLPACK_MINOR}, export, delete_versioned, flags & (FLOW_DLPACK_READ_ONLY | FLOW_DLPACK_COPY), made};
        *out = &export->out.versioned;
    }
    return errors_end(&report, errors, rc);
}
