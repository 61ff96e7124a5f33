/* SPDX-License-Identifier: Apache-2.0 */
/* The host that operators see while they are asked for shapes: errors get the
 * node's name and a place in the file. */
#include "graph/instance_build.h"

#include <stdio.h>
#include <string.h>

static int say(struct build_asking *asking, int code, struct position at, const char *format, va_list arguments) {
    char text[1024];
    if (code >= 0) code = FLOW_ERROR_INTERNAL;
    if (asking->failed) return code;
    asking->failed = true;
    vsnprintf(text, sizeof text, format, arguments);
    return build_error(asking->build, asking->source, code, at, "%s", text);
}

int build_fail(struct build_asking *asking, int code, struct position at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    code = say(asking, code, at, format, arguments);
    va_end(arguments);
    return code;
}

/* Where an attribute's value, an input's reference or a parameter's tie or
 * initialiser stands; else the operator's name. */
static struct position place_of(const struct build_asking *asking, const char *name) {
    const struct network_node *source = asking->source;
    const struct flow_ports *ports = &asking->op->inputs;
    const struct document *value = source->with && source->with->kind == DOCUMENT_MAPPING ? document_get(source->with, name) : NULL;
    if (value) return value->at;
    for (size_t i = 0; i < source->in_count; i++) {
        int32_t port = source->in[i].port;
        if (port >= 0 && (uint32_t)port < ports->count && strcmp(ports->at[port].name, name) == 0) return source->in[i].at;
    }
    for (size_t i = 0; i < source->init_count; i++)
        if (strcmp(source->inits[i].name, name) == 0) return source->inits[i].at;
    for (size_t i = 0; i < source->tie_count; i++)
        if (source->ties[i].param && strcmp(source->ties[i].param, name) == 0) return source->ties[i].at;
    return source->op_at;
}

static int fail(void *owner, int code, const char *format, ...) {
    struct build_asking *asking = owner;
    if (!asking) return code < 0 ? code : FLOW_ERROR_INTERNAL;
    va_list arguments;
    va_start(arguments, format);
    code = say(asking, code, asking->source->op_at, format, arguments);
    va_end(arguments);
    return code;
}

static int fail_at(void *owner, const char *name, int code, const char *format, ...) {
    struct build_asking *asking = owner;
    if (!asking) return code < 0 ? code : FLOW_ERROR_INTERNAL;
    va_list arguments;
    va_start(arguments, format);
    code = say(asking, code, place_of(asking, name), format, arguments);
    va_end(arguments);
    return code;
}

static void log_of_node(void *owner, const char *format, ...) {
    const struct build_asking *asking = owner;
    const struct logger *log = asking ? asking->build->options->log : NULL;
    char before[256];
    if (!log || !log->write) return;
    snprintf(before, sizeof before, "node '%s': operator '%s': ", asking->source->path, asking->op->name);
    va_list arguments;
    va_start(arguments, format);
    log_vline(log, LOG_INFO, before, format, arguments);
    va_end(arguments);
}
static bool not_cancelled(void *owner) { return (void)owner, false; }
static const void *no_extension(const struct flow_host *host, const char *id) { return (void)host, (void)id, NULL; }

/* Without a device: the plain matrix. */
static int64_t plain_bytes(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n) {
    int64_t bytes = dtype_bytes(dtype);
    (void)host;
    return size_multiply(bytes, k, &bytes) && size_multiply(bytes, n, &bytes) ? bytes : 0;
}

struct flow_host *build_host(struct arena *arena, const struct flow_host *of) {
    struct flow_host *host = arena_new(arena, sizeof *host);
    if (!host) return NULL;
    if (of) memcpy(host, of, of->size < sizeof *host ? of->size : sizeof *host);
    host->size = sizeof *host;
    host->fail = fail, host->fail_at = fail_at, host->param = build_param_declare;
    if (!host->threads) host->threads = 1;
    host->log = log_of_node;
    if (!host->cancelled) host->cancelled = not_cancelled;
    if (!host->extension) host->extension = no_extension;
    if (!host->gemm_packed_bytes) host->gemm_packed_bytes = plain_bytes;
    return host;
}
