/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters by name, and what was packed from them. Both live as long as the model; entries never move, so that pointers to them may be
 * kept. One lock guards all: it is held while a parameter is filled or packed, so that two contexts that bind at once do it once. A model
 * may take parameters from another (`base`), which it keeps alive: locks are then taken from the sharer to the base, never back. */
#include "exec/context.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct parameter {
    const char *name;
    bool set;                 /* given by hand, not by a file: goes before what the base has */
    bool used;                /* what was given became a value, of this parameter or of another name for it */
    bool shared;              /* the value is the base's */
    bool initialised;         /* nobody gave one */
    struct flow_tensor given; /* rank -1: not given */
    struct flow_tensor value; /* of the graph's type; rank -1: not yet */
    struct buffer copy;       /* of what was given */
    struct buffer own;        /* of the value, where it is not what was given */
    struct buffer mirror;     /* the value as the host sees it, on a device apart, when it was asked for */
    struct flow_tensor seen;
    struct buffer wide; /* the value as f32, where a kernel needs a 16-bit one so */
};

struct packed {
    struct packed *next;
    int (*prepare)(const struct flow_call *call);
    uint64_t key;
    int64_t bytes;
    int32_t products;     /* the kind that the host's products were of */
    const void **sources; /* the parameters' data, param_count of them */
    uint32_t source_count;
    struct buffer buffer; /* empty after model_changed */
};

struct model {
    const struct allocator *from;
    struct device *device;
    pthread_mutex_t lock;
    struct arena arena;
    struct map names; /* to places in `parameters` */
    struct parameter **parameters;
    size_t count, capacity;
    struct packed *packed;
    bool trains;
    atomic_int users; /* its graph, and models that share from it */
    struct model *base;
    void *kept; /* what borrowed values lie in */
    void (*release)(void *kept);
};

struct device *model_device(const struct model *model) {
    return model->device;
}

int model_new(const struct allocator *from, struct device *device, struct model **out) {
    *out = NULL;
    struct model *model = memory_new(from, sizeof *model);
    if (!model) return FLOW_ERROR_MEMORY;
    model->from = from, model->device = device;
    atomic_init(&model->users, 1);
    arena_init(&model->arena, from);
    map_init(&model->names, &model->arena);
    if (pthread_mutex_init(&model->lock, NULL) != 0) {
        memory_free(from, model, sizeof *model);
        return FLOW_ERROR_MEMORY;
    }
    *out = model;
    return 0;
}

/* What was given stays on the host. */
static struct device *giver(const struct model *model) { return model->device->cpu; }

static void copy_free(struct model *model, struct buffer *buffer) {
    if (buffer->data) giver(model)->api->memory_free(giver(model), buffer->data, buffer->bytes);
    *buffer = (struct buffer){0};
}

static int copy_new(struct model *model, int64_t bytes, struct buffer *buffer) {
    buffer->bytes = bytes > 0 ? bytes : 1;
    int code = giver(model)->api->memory_new(giver(model), buffer->bytes, &buffer->data);
    if (code < 0) *buffer = (struct buffer){0};
    return code;
}

static void buffer_free(struct model *model, struct buffer *buffer) {
    if (buffer->data) model->device->api->memory_free(model->device, buffer->data, buffer->bytes);
    *buffer = (struct buffer){0};
}

static int buffer_new(struct model *model, int64_t bytes, struct buffer *buffer) {
    if (bytes == 0) bytes = 1;
    buffer->bytes = bytes;
    int code = model->device->api->memory_new(model->device, bytes, &buffer->data);
    if (code < 0) *buffer = (struct buffer){0};
    return code;
}

void model_keep(struct model *model, void *kept, void (*release)(void *kept)) { model->kept = kept, model->release = release; }

void model_share(struct model *model, struct model *base) {
    atomic_fetch_add(&base->users, 1);
    model->base = base;
}

void model_free(struct model *model) {
    if (!model || atomic_fetch_sub(&model->users, 1) > 1) return;
    for (size_t i = 0; i < model->count; i++) {
        copy_free(model, &model->parameters[i]->copy), copy_free(model, &model->parameters[i]->mirror);
        buffer_free(model, &model->parameters[i]->own);
        buffer_free(model, &model->parameters[i]->wide);
    }
    for (struct packed *packed = model->packed; packed; packed = packed->next) buffer_free(model, &packed->buffer);
    model_free(model->base);
    if (model->release) model->release(model->kept);
    const struct allocator *from = model->from;
    memory_free(from, model->parameters, model->capacity * sizeof *model->parameters);
    arena_free(&model->arena);
    pthread_mutex_destroy(&model->lock);
    memory_free(from, model, sizeof *model);
}

static struct parameter *find(const struct model *model, const char *name) {
    int64_t at;
    return map_get(&model->names, name, &at) ? model->parameters[at] : NULL;
}

static struct parameter *find_or_add(struct model *model, const char *name) {
    struct parameter *parameter = find(model, name);
    if (parameter) return parameter;
    if (memory_grow(model->from, (void **)&model->parameters, &model->capacity, model->count + 1, sizeof *model->parameters) < 0)
        return NULL;
    parameter = arena_new(&model->arena, sizeof *parameter);
    char *copy = arena_text(&model->arena, name);
    if (!parameter || !copy) return NULL;
    parameter->name = copy;
    parameter->given.rank = parameter->value.rank = -1;
    model->parameters[model->count] = parameter;
    if (map_set(&model->names, copy, (int64_t)model->count) < 0) return NULL;
    model->count++;
    return parameter;
}

static int set_locked(struct model *model, const char *name, const struct flow_tensor *value, bool borrowed) {
    int64_t bytes;
    if (value->rank < 0 || value->rank > FLOW_RANK_MAX || !plan_bytes(value, &bytes)) return FLOW_ERROR_SHAPE;
    struct parameter *parameter = find_or_add(model, name);
    if (!parameter) return FLOW_ERROR_MEMORY;
    if (parameter->value.rank >= 0) return FLOW_ERROR_USAGE;
    copy_free(model, &parameter->copy);
    parameter->given.rank = -1, parameter->set = !borrowed;
    bool aligned = (uintptr_t)value->data % (uintptr_t)dtype_bytes(value->dtype) == 0;
    if (borrowed && aligned && plan_contiguous(value)) {
        parameter->given = *value;
        return 0;
    }
    int code = copy_new(model, bytes, &parameter->copy);
    if (code < 0) return code;
    struct flow_tensor packed = plan_packed_type(value);
    packed.data = parameter->copy.data;
    if (bytes && aligned) tensor_copy(packed.data, value);
    else if (bytes && plan_contiguous(value)) memcpy(packed.data, value->data, (size_t)bytes);
    else if (bytes) return FLOW_ERROR_USAGE; /* strided and not even aligned */
    parameter->given = packed;
    return 0;
}

int model_set(struct model *model, const char *name, const struct flow_tensor *value, bool borrowed) {
    pthread_mutex_lock(&model->lock);
    int code = set_locked(model, name, value, borrowed);
    pthread_mutex_unlock(&model->lock);
    return code;
}

const struct flow_tensor *model_get(const struct model *model, const char *name) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&model->lock;
    pthread_mutex_lock(lock);
    const struct parameter *parameter = find(model, name);
    const struct flow_tensor *value = !parameter                   ? NULL
                                      : parameter->value.rank >= 0 ? &parameter->value
                                      : parameter->given.rank >= 0 ? &parameter->given
                                                                   : NULL;
    pthread_mutex_unlock(lock);
    return value;
}

/* ---- Filling ---- */

static struct position weights_position(const struct instance *instance) {
    const struct network *network = instance->network;
    return network->weights ? network->weights_at : (struct position){network->path, 0, 0};
}

static void shape_text(const struct flow_tensor *t, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "[");
    for (int32_t a = 0; a < t->rank && at < size; a++)
        at += (size_t)snprintf(text + at, size - at, a ? ", %lld" : "%lld", (long long)t->shape[a]);
    if (at < size) snprintf(text + at, size - at, "]");
}

static bool same_shape(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

static int refuse_shape(const struct instance *instance, const struct instance_value *value, const struct flow_tensor *found,
                        const char *what, struct report *report) {
    char have[160], want[160];
    shape_text(found, have, sizeof have), shape_text(&value->type, want, sizeof want);
    return report_add(report, FLOW_ERROR_SHAPE, weights_position(instance), "parameter '%s': %s %s %s, the graph expects %s %s",
                      value->name, what, dtype_name(found->dtype), have, dtype_name(value->type.dtype), want);
}

static int no_room(const struct model *model, const struct instance *instance, const struct instance_value *value, int64_t bytes,
                   struct report *report) {
    if (!model->device->api->apart) return report_memory(report);
    return report_add(report, FLOW_ERROR_MEMORY, (struct position){instance->network->path, 0, 0},
                      "parameter '%s' has no room for its %.1f MB: %s", value->name, (double)bytes / 1e6,
                      model->device->api->why(model->device));
}

/* Values of the host into memory of the device, converted on the way. */
static int put_converted(struct model *model, void *to, int32_t to_dtype, const void *from, int32_t from_dtype, int64_t count) {
    const int32_t isa = model->device->host->isa;
    int64_t bytes = count * dtype_bytes(to_dtype);
    if (to_dtype == from_dtype) return device_put(model->device, to, from, bytes);
    if (!model->device->api->apart) {
        tensor_convert(to, to_dtype, from, from_dtype, count, isa);
        return 0;
    }
    struct buffer aside = {0};
    int code = copy_new(model, bytes, &aside);
    if (code < 0) return code;
    tensor_convert(aside.data, to_dtype, from, from_dtype, count, isa);
    code = device_put(model->device, to, aside.data, bytes);
    copy_free(model, &aside);
    return code;
}

/* The given tensor as the graph wants it: used where it lies when the type is right, else converted. */
static int take_given(struct model *model, const struct instance *instance, const struct instance_value *value,
                      const struct flow_tensor *given, struct parameter *parameter, struct report *report) {
    if (!same_shape(given, &value->type)) return refuse_shape(instance, value, given, "the weights hold", report);
    if (given->dtype == value->type.dtype && !model->trains && !model->device->api->apart) {
        parameter->value = plan_packed_type(&value->type);
        parameter->value.data = given->data;
        return 0;
    }
    if (given->dtype != value->type.dtype && (!dtype_float(given->dtype) || !dtype_float(value->type.dtype))) {
        int code = refuse_shape(instance, value, given, "the weights hold", report);
        return code < 0 ? FLOW_ERROR_TYPE : code;
    }
    int64_t bytes = 0, count = 1;
    if (!plan_bytes(&value->type, &bytes) || buffer_new(model, bytes, &parameter->own) < 0)
        return no_room(model, instance, value, bytes, report);
    for (int32_t a = 0; a < given->rank; a++) count *= given->shape[a];
    if (put_converted(model, parameter->own.data, value->type.dtype, given->data, given->dtype, count) < 0) return report_memory(report);
    parameter->value = plan_packed_type(&value->type);
    parameter->value.data = parameter->own.data, parameter->value.device = model->device->api->kind;
    return 0;
}

/* The base's value under this name, where it is what the graph wants. What only lies there as given becomes the base's value, if nothing
 * has to be converted for that. */
static bool take_shared(struct model *base, const struct instance_value *value, struct parameter *parameter) {
    if (!base) return false;
    pthread_mutex_lock(&base->lock);
    struct parameter *found = find(base, value->name);
    struct flow_tensor type = plan_packed_type(&value->type);
    if (found && found->value.rank < 0 && found->given.rank >= 0 && !base->trains && !base->device->api->apart &&
        found->given.dtype == type.dtype && same_shape(&found->given, &type)) {
        found->value = type, found->value.data = found->given.data;
        found->used = true;
    }
    bool takes = found && found->value.rank >= 0 && found->value.dtype == type.dtype && same_shape(&found->value, &type);
    if (takes) parameter->value = found->value, parameter->shared = true;
    pthread_mutex_unlock(&base->lock);
    return takes || take_shared(base->base, value, parameter);
}

static int initialise(struct model *model, const struct instance *instance, const struct instance_value *value, struct parameter *parameter,
                      struct report *report) {
    int64_t bytes = 0;
    if (!plan_bytes(&value->type, &bytes) || buffer_new(model, bytes, &parameter->own) < 0)
        return no_room(model, instance, value, bytes, report);
    struct flow_tensor made = plan_packed_type(&value->type);
    made.data = parameter->own.data, made.device = model->device->api->kind;
    char why[256];
    int code = device_initialise(model->device, model->from, &made, value->init, value->seed, why, sizeof why);
    if (code == 0) {
        parameter->value = made;
        return 0;
    }
    buffer_free(model, &parameter->own);
    if (code == FLOW_ERROR_MEMORY) return report_memory(report);
    return report_add(report, code, (struct position){instance->network->path, 0, 0}, "parameter '%s': %s", value->name, why);
}

/* Names of one layer's recurrent weights end in _l0 in many files. */
static struct parameter *given_under(const struct model *model, const char *name, char *room, size_t size) {
    struct parameter *parameter = find(model, name);
    if (parameter && parameter->given.rank >= 0) return parameter;
    int length = snprintf(room, size, "%s_l0", name);
    if (length < 0 || (size_t)length >= size) return NULL;
    parameter = find(model, room);
    return parameter && parameter->given.rank >= 0 ? parameter : NULL;
}

static int fill_one(struct model *model, const struct instance *instance, const struct instance_value *value, struct report *report,
                    size_t *initialised) {
    struct parameter *parameter = find_or_add(model, value->name);
    if (!parameter) return report_memory(report);
    if (parameter->value.rank >= 0) {
        if (same_shape(&parameter->value, &value->type) && parameter->value.dtype == value->type.dtype) return 0;
        return refuse_shape(instance, value, &parameter->value, "it has been", report);
    }
    char room[512];
    struct parameter *given = given_under(model, value->name, room, sizeof room);
    if (given) given->used = true;
    if (!(given && given->set) && !model->trains && take_shared(model->base, value, parameter)) return 0;
    if (given) return take_given(model, instance, value, &given->given, parameter, report);
    int code = initialise(model, instance, value, parameter, report);
    if (code == 0) (*initialised)++, parameter->initialised = true;
    return code;
}

static int fill_locked(struct model *model, const struct instance *instance, struct report *report, size_t *initialised) {
    int failed = 0;
    for (size_t p = 0; p < instance->param_count; p++) {
        int code = fill_one(model, instance, &instance->values[instance->params[p]], report, initialised);
        if (code == FLOW_ERROR_MEMORY) return code;
        if (code < 0 && !failed) failed = code;
    }
    for (size_t n = 0; n < instance->node_count && !failed; n++)
        if (instance->nodes[n].body) failed = fill_locked(model, instance->nodes[n].body, report, initialised);
    return failed;
}

int model_fill(struct model *model, const struct instance *instance, struct report *report, size_t *initialised) {
    size_t count = 0;
    pthread_mutex_lock(&model->lock);
    int code = fill_locked(model, instance, report, &count);
    pthread_mutex_unlock(&model->lock);
    if (initialised) *initialised = count;
    return code;
}

void model_told(const struct model *model, struct model_told *told) {
    *told = (struct model_told){0};
    pthread_mutex_t *lock = (pthread_mutex_t *)&model->lock;
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < model->count; i++) {
        const struct parameter *parameter = model->parameters[i];
        if (parameter->value.rank >= 0) told->values++;
        if (parameter->shared) told->shared++;
        if (parameter->given.rank >= 0) told->given++;
        if (parameter->initialised && told->initialised++ == 0) told->first_initialised = parameter->name;
        if (parameter->given.rank >= 0 && !parameter->used && told->unused++ == 0) told->first_unused = parameter->name;
    }
    pthread_mutex_unlock(lock);
}

/* ---- Packing ---- */

static int widen(struct model *model, struct parameter *parameter, int64_t count) {
    const struct flow_tensor *value = &parameter->value;
    int64_t bytes = count * dtype_bytes(value->dtype);
    if (!model->device->api->apart) return put_converted(model, parameter->wide.data, FLOW_F32, value->data, value->dtype, count);
    struct buffer aside = {0};
    int code = copy_new(model, bytes, &aside);
    if (code == 0) code = device_get(model->device, aside.data, value->data, bytes);
    if (code == 0) code = put_converted(model, parameter->wide.data, FLOW_F32, aside.data, value->dtype, count);
    copy_free(model, &aside);
    return code;
}

void *model_wide(struct model *model, const char *name) {
    pthread_mutex_lock(&model->lock);
    struct parameter *parameter = find(model, name);
    bool shared = !parameter || parameter->shared; /* no such name here: the base has it from its own base */
    int64_t count = 1;
    for (int32_t a = 0; !shared && a < parameter->value.rank; a++) count *= parameter->value.shape[a];
    if (!shared && !parameter->wide.data && buffer_new(model, count * dtype_bytes(FLOW_F32), &parameter->wide) == 0 &&
        widen(model, parameter, count) < 0)
        buffer_free(model, &parameter->wide);
    pthread_mutex_unlock(&model->lock);
    return shared ? model_wide(model->base, name) : parameter->wide.data;
}

/* Is it made of the same parameters? */
static bool same_sources(const struct packed *packed, const struct flow_call *call) {
    if (packed->source_count != call->param_count) return false;
    for (uint32_t i = 0; i < packed->source_count; i++)
        if (packed->sources[i] != call->param[i].data) return false;
    return true;
}

static struct packed *packed_find(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call),
                                  const struct flow_call *call) {
    struct packed *packed = model->packed;
    while (packed && (packed->key != about->key || packed->bytes != about->bytes || packed->products != call->host->products ||
                      packed->prepare != prepare || !same_sources(packed, call)))
        packed = packed->next;
    return packed;
}

static struct packed *packed_add(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call),
                                 const struct flow_call *call) {
    struct packed *packed = arena_new(&model->arena, sizeof *packed);
    const void **sources = arena_array(&model->arena, call->param_count, sizeof *sources);
    if (!packed || !sources) return NULL;
    for (uint32_t i = 0; i < call->param_count; i++) sources[i] = call->param[i].data;
    *packed = (struct packed){model->packed, prepare, about->key, about->bytes, call->host->products, sources, call->param_count, {0}};
    return model->packed = packed;
}

/* Where everything that is packed is the base's, so is the result. */
static bool packs_shared(const struct model *model, const struct flow_call *call) {
    bool any = false;
    if (!model->base) return false;
    for (uint32_t i = 0; i < call->param_count; i++) {
        const void *data = call->param[i].data;
        if (call->param[i].rank < 0 || !data) continue;
        bool shared = false;
        for (size_t p = 0; p < model->count && !shared; p++)
            shared = model->parameters[p]->shared && model->parameters[p]->value.data == data;
        if (!shared) return false;
        any = true;
    }
    return any;
}

/* Packing is made once and read often: whether it kept within its bytes is always looked at. */
static int pack(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call), struct flow_call *call,
                struct buffer *buffer) {
    enum { GUARD = 64, GUARD_BYTE = 0xA5 };
    int code = buffer_new(model, about->bytes + GUARD, buffer);
    if (code < 0) return code;
    unsigned char *guard = (unsigned char *)buffer->data + about->bytes;
    memset(guard, GUARD_BYTE, GUARD);
    call->packed = buffer->data;
    code = prepare(call);
    for (int i = 0; i < GUARD && code == 0; i++)
        if (guard[i] != GUARD_BYTE)
            code = call->host->fail(call->owner, FLOW_ERROR_PLUGIN, "its prepare wrote behind the end of what it packs (%lld bytes)",
                                    (long long)about->bytes);
    if (code < 0) buffer_free(model, buffer);
    return code;
}

int model_packed(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call),
                 struct flow_call *call) {
    pthread_mutex_lock(&model->lock);
    if (packs_shared(model, call)) {
        pthread_mutex_unlock(&model->lock);
        return model_packed(model->base, about, prepare, call);
    }
    int code = 0;
    struct packed *packed = packed_find(model, about, prepare, call);
    if (!packed && !(packed = packed_add(model, about, prepare, call))) code = FLOW_ERROR_MEMORY;
    if (code == 0 && !packed->buffer.data) code = pack(model, about, prepare, call, &packed->buffer);
    call->packed = code == 0 ? packed->buffer.data : NULL;
    pthread_mutex_unlock(&model->lock);
    return code;
}

/* ---- Training ---- */

static int copy_value(struct model *model, void *to, const void *from, int64_t bytes) {
    if (!model->device->api->apart) return device_put(model->device, to, from, bytes);
    struct buffer aside = {0};
    int code = copy_new(model, bytes, &aside);
    if (code == 0) code = device_get(model->device, aside.data, from, bytes);
    if (code == 0) code = device_put(model->device, to, aside.data, bytes);
    copy_free(model, &aside);
    return code;
}

/* Values that lie in what was given, often a file that can only be read, get memory of their own. Who has bound them keeps reading there.
 */
static int own_value(struct model *model, struct parameter *parameter) {
    int64_t bytes = 0;
    if (parameter->value.rank < 0 || parameter->own.data) return 0;
    if (!plan_bytes(&parameter->value, &bytes)) return FLOW_ERROR_SHAPE;
    int code = buffer_new(model, bytes, &parameter->own);
    if (code < 0) return code;
    code = copy_value(model, parameter->own.data, parameter->value.data, bytes);
    parameter->value.data = parameter->own.data;
    parameter->shared = false;
    return code;
}

int model_train(struct model *model) {
    int code = 0;
    pthread_mutex_lock(&model->lock);
    model->trains = true;
    for (size_t i = 0; i < model->count && code == 0; i++) code = own_value(model, model->parameters[i]);
    pthread_mutex_unlock(&model->lock);
    return code;
}

const struct flow_tensor *model_at(const struct model *model, size_t index, const char **name) {
    for (size_t i = 0; i < model->count; i++) {
        const struct parameter *parameter = model->parameters[i];
        const struct flow_tensor *value = parameter->value.rank >= 0 ? &parameter->value : &parameter->given;
        if (value->rank < 0 || index-- > 0) continue;
        if (name) *name = parameter->name;
        return value;
    }
    return NULL;
}

static const struct flow_tensor *seen(struct model *model, struct parameter *parameter) {
    int64_t bytes;
    if (parameter->value.rank < 0) return parameter->given.rank >= 0 ? &parameter->given : NULL;
    if (parameter->value.device == FLOW_DEVICE_CPU) return &parameter->value;
    if (!plan_bytes(&parameter->value, &bytes)) return NULL;
    if (!parameter->mirror.data && copy_new(model, bytes, &parameter->mirror) < 0) return NULL;
    if (device_get(model->device, parameter->mirror.data, parameter->value.data, bytes) < 0) return NULL;
    parameter->seen = parameter->value, parameter->seen.data = parameter->mirror.data, parameter->seen.device = FLOW_DEVICE_CPU;
    return &parameter->seen;
}

const struct flow_tensor *model_host(struct model *model, const char *name) {
    pthread_mutex_lock(&model->lock);
    struct parameter *parameter = find(model, name);
    const struct flow_tensor *value = parameter ? seen(model, parameter) : NULL;
    pthread_mutex_unlock(&model->lock);
    return value;
}

int model_copy(struct model *model, const struct flow_tensor *to, const struct flow_tensor *from) {
    int64_t bytes;
    if (to->data == from->data) return 0;
    return plan_bytes(from, &bytes) ? copy_value(model, to->data, from->data, bytes) : FLOW_ERROR_SHAPE;
}

int model_reset(struct model *model, const struct instance *instance, int32_t value, struct report *report) {
    const struct instance_value *about = &instance->values[value];
    pthread_mutex_lock(&model->lock);
    const struct parameter *parameter = find(model, about->name);
    char why[256];
    int code = !parameter || parameter->value.rank < 0
                   ? FLOW_ERROR_INTERNAL
                   : device_initialise(model->device, model->from, &parameter->value, about->init, about->seed, why, sizeof why);
    pthread_mutex_unlock(&model->lock);
    if (code == FLOW_ERROR_MEMORY) return report_memory(report);
    if (code < 0) return report_add(report, code, (struct position){instance->network->path, 0, 0}, "parameter '%s': %s", about->name, why);
    return 0;
}

int model_initialise(struct device *device, const struct allocator *from, const struct flow_tensor *tensor, const char *init, char *why,
                     size_t size) {
    return device_initialise(device, from, tensor, init, 0, why, size);
}

void model_changed(struct model *model) {
    pthread_mutex_lock(&model->lock);
    for (struct packed *packed = model->packed; packed; packed = packed->next) buffer_free(model, &packed->buffer);
    for (size_t i = 0; i < model->count; i++) buffer_free(model, &model->parameters[i]->wide);
    pthread_mutex_unlock(&model->lock);
}
