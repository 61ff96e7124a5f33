/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/instance.h"
#include "graph/instance_build.h"

#include <flow/random.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Growing ---- */

/* Doubles an array of the instance's arena; what was there stays readable
 * through old pointers. */
static int grow(struct arena *arena, void **at, size_t count, size_t *room, size_t size) {
    size_t more = *room ? 2 * *room : 16;
    void *bigger = arena_array(arena, more, size);
    if (!bigger) return -1;
    if (count) memcpy(bigger, *at, count * size);
    *at = bigger, *room = more;
    return 0;
}

int32_t build_value(struct build *build, enum instance_kind kind, const char *name, const struct flow_tensor *type) {
    struct instance *made = build->made;
    if (made->value_count == INT32_MAX) return -1;
    if (made->value_count == build->value_room) {
        size_t extra = build->value_room;
        if (grow(&build->scratch, (void **)&build->values, made->value_count, &extra, sizeof *build->values) < 0) return -1;
        if (grow(&made->arena, (void **)&made->values, made->value_count, &build->value_room, sizeof *made->values) < 0) return -1;
    }
    int32_t id = (int32_t)made->value_count++;
    made->values[id] = (struct instance_value){
        .kind = kind, .name = name, .type = *type, .node = -1, .port = -1, .index = -1, .feed = -1, .view_of = -1, .stream_axis = -1};
    build->values[id] = (struct build_value){.clock = -1, .declared = -1};
    return id;
}

struct instance_node *build_node(struct build *build, const struct network_node *source) {
    struct instance *made = build->made;
    if (made->node_count == build->node_room &&
        grow(&made->arena, (void **)&made->nodes, made->node_count, &build->node_room, sizeof *made->nodes) < 0)
        return NULL;
    struct instance_node *node = &made->nodes[made->node_count];
    *node = (struct instance_node){.source = source, .entry = source->entry, .state = (int32_t)made->state_count, .dtype = -1};
    node->seed = flow_key(build->seed, source->path);
    return node;
}

char *build_join(struct arena *arena, const char *path, const char *name) {
    size_t a = strlen(path), b = strlen(name);
    char *text = arena_new(arena, a + b + 2);
    if (!text) return NULL;
    memcpy(text, path, a);
    text[a] = '.';
    memcpy(text + a + 1, name, b);
    return text;
}

/* ---- References ---- */

int32_t build_ref(const struct build *build, struct network_ref ref, bool *missing) {
    const struct instance *made = build->made;
    *missing = false;
    if (ref.node == NETWORK_INPUT)
        return ref.output >= 0 && (size_t)ref.output < build->network->input_count ? made->inputs[ref.output] : -1;
    if (ref.node < 0 || (size_t)ref.node >= build->network->node_count || build->node_of[ref.node] < 0) return -1;
    const struct instance_node *node = &made->nodes[build->node_of[ref.node]];
    *missing = ref.output < 0 || (uint32_t)ref.output >= node->out_count || node->out[ref.output] < 0;
    if (*missing) return -1;
    int32_t value = node->out[ref.output];
    return build->values[value].apart ? build->values[value].apart - 1 : value;
}

const char *build_output_name(const struct network *network, struct network_ref ref, char buffer[80]) {
    snprintf(buffer, 80, "y");
    if (ref.node < 0 || (size_t)ref.node >= network->node_count || ref.output < 0) return buffer;
    const struct network_node *node = &network->nodes[ref.node];
    size_t output = (size_t)ref.output;
    if (node->kind == NETWORK_LOOP && node->body) {
        if (output < node->body->output_count) return node->body->outputs[output].name;
        snprintf(buffer, 80, "count");
    } else if (node->entry && node->entry->op->outputs.count) {
        const struct flow_ports *ports = &node->entry->op->outputs;
        const struct flow_port *last = &ports->at[ports->count - 1];
        if (last->flags & FLOW_VARIADIC && output + 1 >= ports->count)
            snprintf(buffer, 80, "%.60s%zu", last->name, output + 1 - ports->count);
        else if (output < ports->count) return ports->at[output].name;
        else snprintf(buffer, 80, "%zu", output);
    }
    return buffer;
}

int build_error(struct build *build, const struct network_node *source, int code, struct position at, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *op = source->kind == NETWORK_OPERATOR && source->entry ? source->entry->op->name : NULL;
    if (op) return report_add(build->report, code, at, "node '%s': operator '%s': %s", source->path, op, text);
    return report_add(build->report, code, at, "node '%s': %s", source->path, text);
}

/* ---- Preparing ---- */

static int32_t most_outputs(const struct network_node *node) {
    size_t rows = node->kind == NETWORK_LOOP && node->body ? node->body->output_count + 1
                  : node->kind == NETWORK_OPERATOR         ? (node->entry ? node->entry->op->outputs.count : 0)
                                                           : 1;
    return (int32_t)(rows < 65536 ? rows : 65536);
}

static void use(struct build *build, struct network_ref ref) {
    enum { MOST = 65536 }; /* a variadic output's number comes from the file */
    if (ref.node < 0 || (size_t)ref.node >= build->network->node_count || ref.output < 0 || ref.output >= MOST) return;
    if (build->used[ref.node] <= ref.output) build->used[ref.node] = ref.output + 1;
}

/* Counts what is read of each node, and with it the values there will be. */
static size_t count_uses(struct build *build) {
    const struct network *network = build->network;
    size_t values = network->input_count;
    for (size_t i = 0; i < network->node_count; i++) build->used[i] = most_outputs(&network->nodes[i]);
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        for (size_t k = 0; k < node->in_count; k++) {
            use(build, node->in[k].from);
            values += node->in[k].delayed;
        }
        for (size_t k = 0; k < node->tie_count; k++)
            if (!node->ties[k].target) use(build, node->ties[k].value);
        if (node->kind == NETWORK_OPERATOR && node->entry) values += node->entry->op->params.count;
    }
    for (size_t i = 0; i < network->output_count; i++) use(build, network->outputs[i].from);
    for (size_t i = 0; i < build->options->ref_count; i++) use(build, build->options->refs[i]);
    for (size_t i = 0; i < network->node_count; i++) values += (size_t)build->used[i];
    return values;
}

static bool is_late(const struct build *build, const struct network_ref ref) {
    return ref.node >= 0 && (size_t)ref.node < build->network->node_count && build->late[ref.node];
}

static bool gathers(const struct network_node *node) {
    return node->kind == NETWORK_PARAMETERS || (node->kind == NETWORK_GRADIENT && node->match);
}

/* Nodes that gather parameters, and all that follows from them, wait until the
 * other nodes have declared theirs. */
static int find_late(struct build *build) {
    const struct network *network = build->network;
    bool any = false;
    for (size_t i = 0; i < network->node_count; i++) any |= gathers(&network->nodes[i]);
    if (!any) return 0;
    if (!(build->late = arena_array(&build->scratch, network->node_count, sizeof *build->late))) return -1;
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        bool late = gathers(node);
        for (size_t k = 0; k < node->in_count; k++) late |= !node->in[k].delayed && is_late(build, node->in[k].from);
        for (size_t k = 0; k < node->tie_count; k++) late |= !node->ties[k].target && is_late(build, node->ties[k].value);
        for (size_t k = 0; k < node->after_count; k++) late |= is_late(build, (struct network_ref){node->after[k], 0});
        build->late[i] = late;
    }
    return 0;
}

static size_t count_feeds(const struct network *network) {
    size_t count = 0;
    for (size_t i = 0; i < network->node_count; i++)
        for (size_t k = 0; k < network->nodes[i].in_count; k++) count += network->nodes[i].in[k].delayed;
    return count;
}

static int begin_feeds(struct build *build) {
    const struct network *network = build->network;
    size_t count = count_feeds(network);
    if (count == 0) return 0;
    if (!(build->feeds = arena_array(&build->scratch, count, sizeof *build->feeds)) ||
        !(build->feed_next = arena_array(&build->scratch, network->node_count, sizeof *build->feed_next)))
        return -1;
    for (size_t i = 0; i < network->node_count; i++) {
        build->feed_next[i] = build->feed_count;
        for (size_t k = 0; k < network->nodes[i].in_count; k++) {
            const struct network_edge *edge = &network->nodes[i].in[k];
            if (edge->delayed) build->feeds[build->feed_count++] = (struct build_feed){-1, edge->from, edge};
        }
    }
    return 0;
}

static int build_begin(struct build *build) {
    const struct network *network = build->network;
    struct instance *made = build->made;
    size_t scopes = network->scope_count > 0 ? (size_t)network->scope_count : 1;
    struct arena *scratch = &build->scratch;
    if (!(build->node_of = arena_array(scratch, network->node_count, sizeof *build->node_of)) ||
        !(build->used = arena_array(scratch, network->node_count, sizeof *build->used)) ||
        !(build->symbols = arena_array(scratch, scopes, sizeof *build->symbols)) || find_late(build) < 0)
        return -1;
    for (size_t i = 0; i < network->node_count; i++) build->node_of[i] = -1;
    for (size_t i = 0; i < scopes; i++) map_init(&build->symbols[i], scratch);
    map_init(&build->params, scratch);
    map_init(&build->paths, scratch);
    if (begin_feeds(build) < 0 || build_find_wanted(build) < 0) return -1;

    build->node_room = network->node_count + 1;
    build->value_room = count_uses(build) + 1;
    if (!(made->nodes = arena_array(&made->arena, build->node_room, sizeof *made->nodes)) ||
        !(made->values = arena_array(&made->arena, build->value_room, sizeof *made->values)) ||
        !(build->values = arena_array(scratch, build->value_room, sizeof *build->values)) ||
        !(made->inputs = arena_array(&made->arena, network->input_count, sizeof *made->inputs)) ||
        !(made->outputs = arena_array(&made->arena, network->output_count, sizeof *made->outputs)) ||
        !(made->refs = arena_array(&made->arena, build->options->ref_count, sizeof *made->refs)))
        return -1;
    return 0;
}

/* ---- The graph's inputs and outputs ---- */

static int make_inputs(struct build *build) {
    const struct network *network = build->network;
    for (size_t i = 0; i < network->input_count; i++) {
        const struct network_input *input = &network->inputs[i];
        const struct build_outer *outer = build->how->outer;
        struct flow_tensor type = build->options->inputs[i];
        bool fits = true;
        type.data = NULL;
        build->made->inputs[i] = -1;
        if (outer && type.rank < 0) continue; /* not given: said already */
        int status = build_signature(build, input, 0, &type, outer ? outer->at[i] : input->at, outer ? outer->path : NULL, &fits);
        if (status < 0) return status;
        if (!fits) continue;
        if (!extents_contiguous(&type)) {
            char text[EXTENTS_TEXT];
            report_add(build->report, FLOW_ERROR_SHAPE, input->at, "the tensor %s of input '%s' has more elements than can be addressed",
                       extents_text(text, type.dtype, &type), input->name);
            continue;
        }
        int32_t id = build_value(build, VALUE_INPUT, input->name, &type);
        if (id < 0) return -1;
        build->made->values[id].index = (int32_t)i;
        build->made->inputs[i] = id;
    }
    return 0;
}

static void make_outputs(struct build *build) {
    const struct network *network = build->network;
    char name[80];
    for (size_t i = 0; i < build->options->ref_count; i++) {
        bool missing;
        struct network_ref ref = build->options->refs[i];
        build->made->refs[i] = ref.node == NETWORK_NOTHING ? -1 : build_ref(build, ref, &missing);
        if (ref.node >= 0 && missing)
            report_add(build->report, FLOW_ERROR_GRAPH, network->nodes[ref.node].at, "node '%s' makes no output '%s' here",
                       network->nodes[ref.node].path, build_output_name(network, ref, name));
    }
    for (size_t i = 0; i < network->output_count; i++) {
        const struct network_output *output = &network->outputs[i];
        bool missing;
        build->made->outputs[i] = build_ref(build, output->from, &missing);
        if (missing)
            report_add(build->report, FLOW_ERROR_GRAPH, output->at, "output '%s': node '%s' makes no output '%s' here", output->name,
                       network->nodes[output->from.node].path, build_output_name(network, output->from, name));
    }
}

/* ---- Feeds ---- */

static int finish_feeds(struct build *build) {
    struct instance *made = build->made;
    char was[EXTENTS_TEXT], is[EXTENTS_TEXT], name[80];
    for (size_t i = 0; i < build->feed_count; i++) {
        const struct build_feed *feed = &build->feeds[i];
        bool missing;
        int32_t id = build_ref(build, feed->from, &missing);
        if (build->how->found) {
            if (id >= 0) build->how->found[i] = made->values[id].type;
            else extents_none(&build->how->found[i]);
            continue;
        }
        if (missing)
            report_add(build->report, FLOW_ERROR_GRAPH, feed->edge->at, "node '%s' makes no output '%s' here",
                       build->network->nodes[feed->from.node].path, build_output_name(build->network, feed->from, name));
        if (id < 0 || feed->value < 0) continue;
        made->values[feed->value].feed = id;
        const struct flow_tensor *now = &made->values[id].type, *before = &made->values[feed->value].type;
        bool same = build->streaming ? now->dtype == before->dtype && now->rank == before->rank : extents_same(now, before);
        if (!same)
            report_add(build->report, FLOW_ERROR_SHAPE, feed->edge->at,
                       "'%s' goes in as %s and comes out as %s: what is fed back "
                       "must keep its shape",
                       made->values[id].name, extents_text(was, before->dtype, before), extents_text(is, now->dtype, now));
    }
    return 0;
}

/* ---- One build ---- */

static int make_nodes(struct build *build, bool late) {
    const struct network *network = build->network;
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        int status = 0;
        if ((build->late && build->late[i]) != late) continue;
        switch (node->kind) {
        case NETWORK_OPERATOR: status = node->entry ? build_operator(build, (int32_t)i) : 0; break;
        case NETWORK_ENTER: status = build_enter(build, (int32_t)i); break;
        case NETWORK_LOOP: status = node->body ? build_loop(build, (int32_t)i) : 0; break;
        case NETWORK_PARAMETERS: status = build_parameters(build, (int32_t)i); break;
        case NETWORK_GRADIENT: status = build_gradient(build, (int32_t)i); break;
        }
        if (status == 0 && build->wanted_count && build->node_of[i] >= 0) status = build_apart(build, (int32_t)i);
        if (status < 0) return status;
    }
    return 0;
}

struct named {
    const char *name;
    int32_t value;
};

static int by_name(const void *a, const void *b) { return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

static int sort_params(struct build *build) {
    struct instance *made = build->made;
    struct named *named = arena_array(&build->scratch, build->params.count, sizeof *named);
    if (!named || !(made->params = arena_array(&made->arena, build->params.count, sizeof *made->params))) return -1;
    for (size_t i = 0; i < made->value_count; i++)
        if (made->values[i].kind == VALUE_PARAM) named[made->param_count++] = (struct named){made->values[i].name, (int32_t)i};
    if (made->param_count) qsort(named, made->param_count, sizeof *named, by_name);
    for (size_t i = 0; i < made->param_count; i++) made->params[i] = named[i].value;
    return 0;
}

static int build_all(struct build *build) {
    int status = build_begin(build);
    if (status == 0) status = make_inputs(build);
    if (status == 0 && build->streaming) status = stream_inputs(build);
    if (status == 0) status = make_nodes(build, false);
    if (status == 0 && build->late) status = make_nodes(build, true);
    if (status == 0) status = finish_feeds(build);
    if (status == 0 && !build->how->found) make_outputs(build);
    if (status == 0) status = sort_params(build);
    if (status == 0) status = build_pending_check(build);
    if (status == 0) status = build_ties_check(build);
    if (status == 0) status = build_parameters_check(build);
    return status;
}

static bool complete(const struct build *build) {
    for (size_t i = 0; i < build->network->node_count; i++)
        if (build->node_of[i] < 0) return false;
    for (size_t i = 0; i < build->network->input_count; i++)
        if (build->made->inputs[i] < 0) return false;
    for (size_t i = 0; i < build->network->output_count; i++)
        if (build->made->outputs[i] < 0) return false;
    return true;
}

static int build_once(const struct allocator *from, const struct network *network, const struct instance_options *options,
                      const struct build_options *how, struct report *report, struct instance **out) {
    struct build build = {.from = from, .network = network, .options = options, .how = how, .report = report};
    struct instance *made = memory_new(from, sizeof *made);
    int32_t errors = report->count;
    *out = NULL;
    if (!made) return report_memory(report);
    arena_init(&made->arena, from);
    arena_init(&build.scratch, from);
    made->network = network, build.made = made;
    made->input_count = network->input_count, made->output_count = network->output_count;
    made->streaming = build.streaming = options->stream != NULL && !how->outer;
    made->first = options->first, made->flush = options->flush, made->phase = options->phase;
    made->keep_all = options->keep_all;
    made->products = options->host ? options->host->products : FLOW_F32;
    build.seed = options->seeded ? options->seed : network->seed;
    build.f32 = options->precision == FLOW_F64 ? FLOW_F64 : FLOW_F32;

    int status = FLOW_ERROR_MEMORY;
    build.host = build.host_cpu = build_host(&made->arena, options->host);
    if (options->cpu) build.host_cpu = build_host(&made->arena, options->cpu);
    if (build.host && build.host_cpu) status = build_all(&build);
    if (status < 0) report_memory(report);
    else if (report->count > errors) status = report_code(report);
    else if (how->found || !complete(&build)) status = FLOW_ERROR_GRAPH;
    arena_free(&build.scratch);
    if (status < 0) instance_free(made);
    else *out = made;
    return status;
}

void instance_free(struct instance *instance) {
    if (!instance) return;
    const struct allocator *from = instance->arena.from;
    for (size_t i = 0; i < instance->node_count; i++)
        if (!instance->nodes[i].borrowed) instance_free(instance->nodes[i].body);
    arena_free(&instance->arena);
    memory_free(from, instance, sizeof *instance);
}

/* ---- Feeds that close a circle ---- */

/* Types of what the feeds repeat, by asking again until they stay the same: ports that may be left out are left out at first, others begin
 * as scalars, which broadcast; where nothing comes of that, as scalars of another type. Gives up after a few rounds; the build that follows
 * then says what is not known. `feeds` come in as not known. */
static int settle_feeds(const struct allocator *from, const struct network *network, const struct instance_options *options,
                        const struct build_options *how, struct flow_tensor *feeds, struct flow_tensor *found, size_t count) {
    static const int32_t guesses[] = {FLOW_F32, FLOW_I64, FLOW_BOOL, FLOW_I32, FLOW_U8, FLOW_F16, FLOW_BF16, FLOW_F64};
    enum { ROUNDS = 4 };
    struct build_options asking = *how;
    asking.found = found, asking.feeds = feeds;
    for (size_t guess = 0; guess < sizeof guesses / sizeof guesses[0]; guess++) {
        asking.guess = guesses[guess] == FLOW_F32 && options->precision == FLOW_F64 ? FLOW_F64 : guesses[guess];
        for (int round = 0; round < ROUNDS; round++) {
            struct report quiet;
            struct instance *none;
            bool settled = true, known = true;
            for (size_t i = 0; i < count; i++) extents_none(&found[i]);
            report_init(&quiet, from);
            int status = build_once(from, network, options, &asking, &quiet, &none);
            bool no_memory = status == FLOW_ERROR_MEMORY || quiet.incomplete;
            report_free(&quiet);
            instance_free(none);
            if (no_memory) return FLOW_ERROR_MEMORY;
            for (size_t i = 0; i < count; i++) {
                settled = settled && extents_same(&feeds[i], &found[i]);
                known = known && found[i].rank >= 0;
                feeds[i] = found[i];
            }
            if (known && settled) return 0;
            if (settled) break;
        }
    }
    return 0;
}

int build_make(const struct allocator *from, const struct network *network, const struct instance_options *options,
               const struct build_options *how, struct report *report, struct instance **out) {
    size_t count = count_feeds(network), bytes;
    if (count == 0) return build_once(from, network, options, how, report, out);
    struct build_options with_feeds = *how;
    struct flow_tensor *feeds = __builtin_mul_overflow(count, 2 * sizeof *feeds, &bytes) ? NULL : memory_new(from, bytes);
    *out = NULL;
    if (!feeds) return report_memory(report);
    for (size_t i = 0; i < count; i++) extents_none(&feeds[i]);
    int status = 0;
    const struct instance *before = options->stream && !options->first && !how->outer ? options->before : NULL;
    if (before) {
        for (size_t i = 0; i < before->value_count; i++) {
            const struct instance_value *value = &before->values[i];
            if (value->kind == VALUE_FEED && (size_t)value->index < count) feeds[value->index] = before->values[value->feed].type;
        }
    } else {
        status = settle_feeds(from, network, options, how, feeds, feeds + count, count);
    }
    with_feeds.feeds = feeds;
    if (status < 0) report_memory(report);
    else status = build_once(from, network, options, &with_feeds, report, out);
    memory_free(from, feeds, bytes);
    return status;
}

/* ---- The entry ---- */

int instance_new(const struct allocator *from, const struct network *network, const struct instance_options *options, struct report *report,
                 struct instance **out) {
    struct build_options how = {.guess = FLOW_F32};
    struct instance *probe = NULL;
    *out = NULL;
    if (options->stream && !options->first && !options->before) {
        struct position nowhere = {network->path, 0, 0};
        return report_add(report, FLOW_ERROR_USAGE, nowhere, "a piece that is not the first needs the piece before it");
    }
    if (options->stream && options->first) {
        int status = stream_probe(from, network, options, &probe);
        if (status < 0) return report_memory(report);
    }
    how.like = options->stream && !options->first ? options->before : probe;
    int status = build_make(from, network, options, &how, report, out);
    instance_free(probe);
    return status;
}

/* Does a piece whose incoming state is `state` follow one that left `before`? How much an appended state holds by now is its owner's to
 * know: a plan serves any length of it. */
static bool state_follows(const struct instance_state *state, const struct instance_state *before) {
    struct flow_tensor in = state->in, out = before->out;
    if (state->about && (state->about->flags & FLOW_APPENDED) && in.rank == out.rank)
        in.shape[state->about->axis] = out.shape[state->about->axis];
    return extents_same(&in, &out);
}

bool instance_fits(const struct instance *instance, const struct instance_options *options) {
    const struct network *network = instance->network;
    if (instance->streaming != (options->stream != NULL)) return false;
    for (size_t i = 0; i < network->input_count; i++)
        if (!extents_same(&instance->values[instance->inputs[i]].type, &options->inputs[i])) return false;
    if (!instance->streaming) return true;
    if (instance->first != options->first || instance->flush != options->flush) return false;
    if (options->first) return true;
    const struct instance *before = options->before;
    if (!before || before->network != network || before->state_count != instance->state_count) return false;
    for (size_t i = 0; i < instance->state_count; i++)
        if (!state_follows(&instance->states[i], &before->states[i])) return false;
    if (before->value_count != instance->value_count) return false;
    for (size_t i = 0; i < instance->value_count; i++) {
        const struct instance_value *value = &instance->values[i];
        if (value->kind == VALUE_FEED && !extents_same(&value->type, &before->values[value->feed].type)) return false;
    }
    return true;
}
