/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streaming: which axis of each value is cut into pieces, what states carry
 * from piece to piece, and where streams must be aligned.
 *
 * Each streaming value has a clock. Values of one clock have equal extents in
 * every piece; those of two clocks may not (a delay, another rate), and where
 * they meet in a node an `align` goes before it. An operator without states
 * keeps its inputs' clock; one with states keeps it if, asked for a long first
 * piece, it gave as many steps as it got and named no delay. Where `align`
 * nodes stand is decided once for a network, on a piece of fixed extent
 * (stream_probe), and repeated for all pieces, so that their states correspond.
 */
#include "graph/instance_build.h"

#include <stdio.h>
#include <string.h>

/* The probe divides by common hops and is longer than common delays; fewer
 * steps than LEAST left of it say nothing of eagerness. */
enum { PROBE_STEPS = 245760, PROBE_LEAST = 64 };

/* ---- The graph's inputs ---- */

static int32_t stream_axis_of(const struct network_input *input, const char *symbol) {
    for (int32_t axis = 0; axis < input->rank; axis++)
        if (strcmp(input->extents[axis]->text, symbol) == 0) return axis;
    return -1;
}

/* Does an expression such as "S/160" hold the symbol? */
static bool mentions(const char *text, const char *symbol) {
    size_t length = strlen(symbol);
    for (const char *at = text; (at = strstr(at, symbol)); at += length) {
        bool starts = at == text || !(build_is_symbol((char[]){at[-1], 0}) || (at[-1] >= '0' && at[-1] <= '9'));
        char after = at[length];
        bool ends = !after || !(build_is_symbol((char[]){after, 0}) || (after >= '0' && after <= '9'));
        if (starts && ends) return true;
    }
    return false;
}

static void say_no_symbol(struct build *build) {
    const struct network *network = build->network;
    struct position nowhere = {network->path, 0, 0};
    char symbols[256] = "";
    size_t used = 0;
    struct map known;
    map_init(&known, &build->scratch);
    for (size_t i = 0; i < network->input_count; i++)
        for (int32_t axis = 0; axis < network->inputs[i].rank; axis++) {
            const char *symbol = network->inputs[i].extents[axis]->text;
            if (!build_is_symbol(symbol) || map_get(&known, symbol, NULL) || used + strlen(symbol) + 3 > sizeof symbols) continue;
            if (map_set(&known, symbol, 0) < 0) return;
            used += (size_t)snprintf(symbols + used, sizeof symbols - used, used ? ", %s" : "%s", symbol);
        }
    report_add(build->report, FLOW_ERROR_USAGE, nowhere, "no input has an axis '%s' that could be cut into pieces (they have %s)",
               build->options->stream, used ? symbols : "none");
}

int stream_inputs(struct build *build) {
    const char *symbol = build->options->stream;
    bool any = false;
    for (size_t i = 0; i < build->network->input_count; i++) {
        const struct network_input *input = &build->network->inputs[i];
        int32_t axis = stream_axis_of(input, symbol), id = build->made->inputs[i];
        for (int32_t k = 0; k < input->rank; k++) {
            const struct document *extent = input->extents[k];
            if (k == axis || !mentions(extent->text, symbol)) continue;
            report_add(build->report, FLOW_ERROR_UNSUPPORTED, extent->at, "input '%s' cannot be cut into pieces along '%s': %s '%s'",
                       input->name, symbol, axis >= 0 ? "another of its axes is" : "one of its axes is", extent->text);
        }
        if (axis < 0) continue;
        any = true;
        if (id < 0) continue;
        build->made->values[id].stream_axis = axis;
        build->values[id].clock = 0;
    }
    build->clocks = 1;
    if (!any) say_no_symbol(build);
    return 0;
}

/* ---- Aligning ---- */

static int64_t steps_of(const struct build *build, int32_t value) {
    const struct instance_value *of = &build->made->values[value];
    return of->type.shape[of->stream_axis];
}

/* Clocks differ, and the extents are of one rate: an operator may well read
 * streams of two rates, and then knows what to do. */
static bool out_of_step(const struct build *build, const int32_t *values, uint32_t count) {
    bool differ = false;
    int64_t least = INT64_MAX, most = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t steps = steps_of(build, values[i]);
        differ |= build->values[values[i]].clock != build->values[values[0]].clock;
        if (steps < least) least = steps;
        if (steps > most) most = steps;
    }
    return differ && most / 2 <= least;
}

static bool aligned_before(struct build *build, const struct network_node *source) {
    const struct instance *like = build->how->like;
    for (; build->like_next < like->node_count; build->like_next++) {
        const struct instance_node *node = &like->nodes[build->like_next];
        if (node->entry != &align_entry) continue;
        if (node->source->param_path != source->path) return false; /* of a later node */
        build->like_next++;
        return true;
    }
    return false;
}

int stream_align(struct build *build, const struct network_node *source, int32_t *in, uint32_t count) {
    int32_t *streams = arena_array(&build->scratch, (size_t)2 * count + 1, sizeof *streams), *aligned = streams + count;
    uint32_t unique = 0;
    bool made;
    if (!streams) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        if (in[i] < 0 || build->made->values[in[i]].stream_axis < 0) continue;
        uint32_t k = 0;
        while (k < unique && k <= ALIGN_MOST && streams[k] != in[i]) k++;
        if (k == unique || k > ALIGN_MOST) streams[unique++] = in[i];
    }
    if (unique < 2 || !(build->how->like ? aligned_before(build, source) : out_of_step(build, streams, unique))) return 0;
    int status = build_inserted(build, source, "align", &align_entry, streams, unique, aligned, &made);
    if (status < 0 || !made) return status;
    int32_t clock = build->clocks++;
    for (uint32_t k = 0; k < unique; k++) build->values[aligned[k]].clock = clock;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < unique; k++)
            if (in[i] == streams[k]) {
                in[i] = aligned[k];
                break;
            }
    return 0;
}

/* ---- States ---- */

static int state_room(struct build *build, size_t more) {
    struct instance *made = build->made;
    size_t need = made->state_count + more;
    if (need <= build->state_room) return 0;
    size_t room = need > 2 * build->state_room ? need : 2 * build->state_room;
    struct instance_state *states = arena_array(&made->arena, room, sizeof *states);
    if (!states) return FLOW_ERROR_MEMORY;
    if (made->state_count) memcpy(states, made->states, made->state_count * sizeof *states);
    made->states = states, build->state_room = room;
    return 0;
}

/* The extents before this piece: those after the last one, or what the pattern
 * says of the first. */
static int state_in(struct build_asking *asking, const struct flow_state *row, uint32_t k, size_t number) {
    struct build *build = asking->build;
    struct flow_tensor *state = &asking->infer->state[k];
    char why[PATTERN_WHY];
    extents_none(state);
    state->dtype = build_type(build, row->types, asking->node_type, asking->float_type);
    if (!build->options->first) {
        const struct instance *before = build->options->before;
        if (number >= before->state_count || before->states[number].about != row)
            return build_fail(asking, FLOW_ERROR_INTERNAL, asking->source->op_at, "state '%s': the piece before had other states",
                              row->name),
                   0;
        *state = before->states[number].out;
    } else if (row->shape) {
        int status = pattern_fill(asking->bindings, row->shape, state, why);
        if (status < 0) build_fail(asking, status, asking->source->op_at, "state '%s': %s", row->name, why);
        if (status > 0 && !extents_contiguous(state))
            build_fail(asking, FLOW_ERROR_SHAPE, asking->source->op_at, "state '%s' has more elements than can be addressed", row->name);
    }
    asking->infer->state_out[k] = *state;
    return 0;
}

static int make_states(struct build_asking *asking, struct instance_node *node) {
    struct build *build = asking->build;
    struct instance *made = build->made;
    const struct flow_states *rows = &asking->op->states;
    struct flow_infer *infer = asking->infer;
    uint32_t count = node->entry == &align_entry && node->in_count < rows->count ? node->in_count : rows->count;
    if (count == 0) return 0;
    infer->state = arena_array(&made->arena, count, sizeof *infer->state);
    infer->state_out = arena_array(&made->arena, count, sizeof *infer->state_out);
    if (!infer->state || !infer->state_out || state_room(build, count) < 0) return FLOW_ERROR_MEMORY;
    infer->state_count = count;
    node->state = (int32_t)made->state_count, node->state_count = (int32_t)count;
    for (uint32_t k = 0; k < count && !asking->failed; k++) {
        const struct flow_state *row = &rows->at[k];
        struct instance_state *state = &made->states[made->state_count + k];
        *state = (struct instance_state){.node = (int32_t)made->node_count, .row = (int32_t)k, .about = row};
        if (!(state->name = build_join(&made->arena, asking->source->path, row->name))) return FLOW_ERROR_MEMORY;
        int status = build_init(asking, row->name, row->init, &state->init);
        if (status == 0 && !asking->failed) status = state_in(asking, row, k, made->state_count + k);
        if (status < 0) return status;
    }
    return 0;
}

int stream_begin(struct build_asking *asking, struct instance_node *node) {
    struct build *build = asking->build;
    struct flow_infer *infer = asking->infer;
    int32_t *in_axis = (int32_t *)infer->in_axis;
    if (!build->streaming) return 0;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] < 0) continue;
        in_axis[i] = build->made->values[node->in[i]].stream_axis;
        node->streaming |= in_axis[i] >= 0;
    }
    if (!node->streaming) return 0;
    infer->streaming = true;
    infer->first = build->options->first, infer->flush = build->options->flush;
    return make_states(asking, node);
}

static bool finish_state(const struct build *build, struct flow_tensor *state) {
    if (state->rank < 0) return true;
    if (state->dtype == FLOW_F32) state->dtype = build->f32;
    state->data = NULL;
    return extents_contiguous(state);
}

static void finish_states(struct build_asking *asking, struct instance_node *node) {
    struct flow_infer *infer = asking->infer;
    struct instance *made = asking->build->made;
    for (uint32_t k = 0; k < infer->state_count; k++) {
        struct flow_tensor *in = &infer->state[k], *out = &infer->state_out[k];
        struct instance_state *state = &made->states[made->state_count + k];
        if (out->rank < 0) *out = *in;
        if (!finish_state(asking->build, in) || !finish_state(asking->build, out) || in->rank != out->rank || in->dtype != out->dtype) {
            char before[EXTENTS_TEXT], after[EXTENTS_TEXT];
            build_fail(asking, FLOW_ERROR_SHAPE, asking->source->op_at, "state '%s' cannot go from %s to %s", state->about->name,
                       extents_text(before, in->dtype, in), extents_text(after, out->dtype, out));
            return;
        }
        state->in = *in, state->out = *out;
    }
    made->state_count += (size_t)node->state_count;
}

/* ---- Axes ---- */

/* Pointwise operators broadcast from the right; a whole input must not have an
 * extent of its own where others are cut. */
static void pointwise_axes(struct build_asking *asking) {
    struct flow_infer *infer = asking->infer;
    int32_t from_right = -1;
    for (uint32_t i = 0; i < infer->in_count; i++) {
        if (infer->in_axis[i] < 0) continue;
        int32_t here = infer->in[i].rank - infer->in_axis[i];
        if (from_right >= 0 && here != from_right) {
            build_fail(asking, FLOW_ERROR_UNSUPPORTED, asking->source->op_at, "its inputs are cut into pieces along different axes");
            return;
        }
        from_right = here;
    }
    for (uint32_t i = 0; i < infer->in_count; i++) {
        const struct flow_tensor *in = &infer->in[i];
        if (infer->in_axis[i] >= 0 || in->rank < from_right || in->shape[in->rank - from_right] == 1) continue;
        build_fail(asking, FLOW_ERROR_UNSUPPORTED, asking->source->op_at,
                   "input %u is whole, with extent %lld along the axis that its "
                   "other inputs are cut along",
                   i, (long long)in->shape[in->rank - from_right]);
        return;
    }
    for (uint32_t i = 0; i < infer->out_count; i++)
        if (infer->out[i].rank >= from_right && infer->out_axis[i] < 0) infer->out_axis[i] = infer->out[i].rank - from_right;
}

static void check_axes(struct build_asking *asking) {
    const struct flow_infer *infer = asking->infer;
    int32_t axis = -1;
    bool any = false;
    for (uint32_t i = 0; i < infer->in_count; i++)
        if (infer->in_axis[i] >= 0 && axis < 0) axis = infer->in_axis[i];
    for (uint32_t i = 0; i < infer->out_count; i++) any |= infer->out[i].rank >= 0 && infer->out_axis[i] >= 0;
    for (uint32_t i = 0; i < infer->out_count; i++) {
        const struct flow_port *row = &asking->op->outputs.at[i < asking->op->outputs.count ? i : asking->op->outputs.count - 1];
        if (infer->out[i].rank < 0 || (infer->out_axis[i] >= 0 && infer->out_axis[i] < infer->out[i].rank)) continue;
        if (any && infer->out_axis[i] < 0 && (row->flags & FLOW_WHOLE)) continue;
        build_fail(asking, FLOW_ERROR_UNSUPPORTED, asking->source->op_at, "output '%s' does not stream along axis %d of the input",
                   row->name, axis);
        return;
    }
}

int stream_end(struct build_asking *asking, struct instance_node *node) {
    if (!node->streaming) return 0;
    if (asking->op->flags & FLOW_OP_POINTWISE) pointwise_axes(asking);
    if (!asking->failed) check_axes(asking);
    if (!asking->failed) finish_states(asking, node);
    return 0;
}

void stream_outputs(struct build *build, const struct instance_node *node) {
    const struct flow_infer *infer = &node->infer;
    int32_t clock = -1;
    bool one = true;
    int64_t came = 0;
    if (!node->streaming) return;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (infer->in_axis[i] < 0) continue;
        int32_t here = build->values[node->in[i]].clock;
        if (clock < 0) clock = here, came = infer->in[i].shape[infer->in_axis[i]];
        one = one && here == clock;
    }
    int32_t fresh = -1;
    for (uint32_t i = 0; i < node->out_count; i++) {
        if (node->out[i] < 0 || infer->out_axis[i] < 0) continue;
        bool eager = infer->delay == 0 && came >= PROBE_LEAST && infer->out[i].shape[infer->out_axis[i]] == came;
        bool keeps = one && (node->entry->op->states.count == 0 || eager);
        if (!keeps && fresh < 0) fresh = build->clocks++; /* outputs of one node go in step */
        build->made->values[node->out[i]].stream_axis = infer->out_axis[i];
        build->values[node->out[i]].clock = keeps ? clock : fresh;
    }
}

/* ---- Deciding where to align ---- */

int stream_probe(const struct allocator *from, const struct network *network, const struct instance_options *options,
                 struct instance **out) {
    struct build_options how = {.guess = FLOW_F32};
    struct instance_options probing = *options;
    struct report quiet;
    *out = NULL;
    struct flow_tensor *inputs = memory_array(from, network->input_count, sizeof *inputs);
    if (!inputs) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < network->input_count; i++) {
        int32_t axis = stream_axis_of(&network->inputs[i], options->stream);
        inputs[i] = options->inputs[i];
        if (axis >= 0 && axis < inputs[i].rank) inputs[i].shape[axis] = PROBE_STEPS;
    }
    probing.inputs = inputs, probing.first = true, probing.flush = false, probing.before = NULL;
    report_init(&quiet, from);
    int status = build_make(from, network, &probing, &how, &quiet, out);
    bool no_memory = status == FLOW_ERROR_MEMORY || quiet.incomplete;
    report_free(&quiet);
    memory_free(from, inputs, network->input_count * sizeof *inputs);
    return no_memory ? FLOW_ERROR_MEMORY : 0;
}
