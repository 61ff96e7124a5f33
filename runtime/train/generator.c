/* SPDX-License-Identifier: Apache-2.0 */
/* `source: graph`: batches that are another graph's outputs: tasks made up, frozen teachers, rollouts of the policy that is trained. It
 * runs on the trainer's thread, on the parameters of the step, unless it names weights of its own; its states go on from batch to batch.
 * With `reuse` a batch is given several times, its rows shuffled and cut into parts. */
#include "train/stage.h"

#include <flow/random.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct generator {
    struct trainer *trainer;
    const struct training_data *data;
    struct network *network;
    char *text;
    size_t text_length;
    struct model *model; /* its own; NULL: the trainer's */
    struct tensor_file *weights;
    struct program *program;
    struct network_ref *refs;
    struct arena arena;
    struct flow_tensor *given; /* what is handed out, by output */
    void **parts;              /* reuse: memory of a part, by output */
    int64_t *part_bytes;
    int64_t number; /* of the batch handed out last */
    uint64_t seed;
    bool made;                 /* there is a batch in hand */
    struct flow_tensor *whole; /* it, by output */
    struct flow_tensor *kept;  /* reuse: where it came back from a checkpoint; data NULL */
};

static char *resolve_path(struct arena *arena, const struct training_data *data) {
    if (data->path[0] == '/' || !data->base || !*data->base) return arena_text(arena, data->path);
    return arena_format(arena, "%s/%s", data->base, data->path);
}

static int read_text(struct generator *generator, const char *path, struct report *report) {
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size < 0 || size > (1 << 26) || fseek(file, 0, SEEK_SET) != 0) {
        if (file) fclose(file);
        return report_add(report, FLOW_ERROR_IO, generator->data->path_at, "data '%s': graph '%s' cannot be read", generator->data->name,
                          path);
    }
    generator->text_length = (size_t)size;
    generator->text = arena_new(&generator->arena, (size_t)size + 1);
    bool whole = generator->text && fread(generator->text, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    if (!generator->text) return report_memory(report);
    return whole ? 0
                 : report_add(report, FLOW_ERROR_IO, generator->data->path_at, "data '%s': graph '%s' cannot be read to its end",
                              generator->data->name, path);
}

static int read_network(struct generator *generator, const char *path, struct report *report) {
    const struct trainer_reading *reading = &generator->trainer->options.reading;
    struct network_options options = {.vars = generator->data->vars, .var_count = generator->data->var_count};
    int32_t errors = report->count;
    int code = network_read(reading->from, reading->registry, path, generator->text, generator->text_length, &options, report,
                            &generator->network);
    if (code == 0 && report->count > errors) code = report_code(report);
    if (code < 0) return code;
    const struct network *network = generator->network;
    if (network->input_count)
        return report_add(report, FLOW_ERROR_GRAPH, network->inputs[0].at, "a graph that is a source has no inputs: '%s' is fed by nothing",
                          network->inputs[0].name);
    generator->refs = arena_array(&generator->arena, network->output_count, sizeof *generator->refs);
    generator->given = arena_array(&generator->arena, network->output_count, sizeof *generator->given);
    generator->whole = arena_array(&generator->arena, network->output_count, sizeof *generator->whole);
    generator->kept = arena_array(&generator->arena, network->output_count, sizeof *generator->kept);
    generator->parts = arena_array(&generator->arena, network->output_count, sizeof *generator->parts);
    generator->part_bytes = arena_array(&generator->arena, network->output_count, sizeof *generator->part_bytes);
    if (!generator->refs || !generator->given || !generator->whole || !generator->kept || !generator->parts || !generator->part_bytes)
        return report_memory(report);
    for (size_t o = 0; o < network->output_count; o++) generator->refs[o] = network->outputs[o].from;
    return 0;
}

/* Weights of its own: a model of its own. */
static int own_model(struct generator *generator, struct report *report) {
    const struct trainer_options *options = &generator->trainer->options;
    const struct training_data *data = generator->data;
    if (data->rename_count && data->weights)
        return report_add(report, FLOW_ERROR_GRAPH, data->renames[0].at,
                          "data '%s': `rename` is from that graph's parameters to the trainer's, and it has `weights` of its own",
                          data->name);
    if (data->rename_count || (!data->weights && !generator->network->weights)) return 0;
    const char *file = data->weights ? data->weights : generator->network->weights;
    char *path = file[0] == '/' || !data->base || !*data->base ? arena_text(&generator->arena, file)
                                                               : arena_format(&generator->arena, "%s/%s", data->base, file);
    if (!path || model_new(generator->trainer->from, options->device, &generator->model) < 0) return report_memory(report);
    int code = tensor_file_open(generator->trainer->from, path, report, &generator->weights);
    for (size_t t = 0; code == 0 && t < generator->weights->count; t++)
        code = model_set(generator->model, generator->weights->entries[t].name, &generator->weights->entries[t].tensor, true);
    return code;
}

static int64_t bytes_of(const struct flow_tensor *t) {
    int64_t bytes = 0;
    return plan_bytes(t, &bytes) && bytes > 0 ? bytes : 1;
}

static int64_t parts_of(const struct generator *generator) {
    const struct training_data *data = generator->data;
    if (data->reuse_epochs <= 0) return 1;
    int64_t rows = generator->network->output_count && generator->whole[0].rank > 0 ? generator->whole[0].shape[0] : 1;
    int64_t batch = data->reuse_batch > 0 && data->reuse_batch < rows ? data->reuse_batch : rows;
    return data->reuse_epochs * (rows / batch > 0 ? rows / batch : 1);
}

static int generate(struct generator *generator, uint64_t number, struct report *report) {
    int code = program_run(generator->program, NULL, number, report);
    for (size_t o = 0; code == 0 && o < generator->network->output_count; o++) generator->whole[o] = *program_value(generator->program, o);
    generator->made = code == 0;
    return code;
}

int generator_new(struct trainer *trainer, const struct training_data *data, int64_t first, uint64_t seed, struct report *report,
                  struct generator **out) {
    *out = NULL;
    struct generator *generator = memory_new(trainer->from, sizeof *generator);
    if (!generator) return report_memory(report);
    generator->trainer = trainer, generator->data = data, generator->seed = seed, generator->number = first - 1;
    arena_init(&generator->arena, trainer->from);
    char *path = resolve_path(&generator->arena, data);
    int code = path ? read_text(generator, path, report) : report_memory(report);
    if (code == 0) code = read_network(generator, path, report);
    if (code == 0) code = own_model(generator, report);
    struct program_options options = stage_program(trainer, generator->network, FLOW_PHASE_INFERENCE);
    if (generator->model) options.model = generator->model;
    options.seeded = true, options.seed = seed;
    options.changing = generator->model == NULL;
    options.renames = data->renames, options.rename_count = data->rename_count;
    options.refs = generator->refs, options.ref_count = generator->network ? generator->network->output_count : 0;
    if (code == 0) code = program_new(&options, report, &generator->program);
    /* The extents of what it gives are known when it is planned. */
    if (code == 0) code = program_shape(generator->program, NULL, report);
    const struct instance *instance = code == 0 ? program_instance(generator->program) : NULL;
    for (size_t o = 0; code == 0 && o < generator->network->output_count; o++)
        generator->given[o] = generator->whole[o] = plan_packed_type(&instance->values[instance->refs[o]].type);
    if (code == 0 && data->reuse_batch > 0)
        for (size_t o = 0; o < generator->network->output_count; o++)
            if (generator->given[o].rank > 0 && generator->given[o].shape[0] > data->reuse_batch)
                generator->given[o].shape[0] = data->reuse_batch;
    if (code < 0) generator_free(generator);
    else *out = generator;
    return code;
}

void generator_free(struct generator *generator) {
    if (!generator) return;
    const struct allocator *from = generator->trainer->from;
    for (size_t o = 0; generator->parts && o < generator->network->output_count; o++)
        memory_free(from, generator->parts[o], (size_t)generator->part_bytes[o]);
    for (size_t o = 0; generator->kept && o < generator->network->output_count; o++)
        if (generator->kept[o].data) memory_free(from, generator->kept[o].data, (size_t)bytes_of(&generator->kept[o]));
    program_free(generator->program);
    model_free(generator->model);
    tensor_file_close(generator->weights);
    network_free(generator->network);
    arena_free(&generator->arena);
    memory_free(from, generator, sizeof *generator);
}

/* Rows of one part of the batch: a shuffle of its own in each of the epochs that it is used for. */
static int cut(struct generator *generator, int64_t part, int64_t batch, struct report *report) {
    const struct training_data *data = generator->data;
    for (size_t o = 0; o < generator->network->output_count; o++) {
        const struct flow_tensor *whole = &generator->whole[o];
        if (whole->rank < 1) {
            generator->given[o] = *whole;
            continue;
        }
        int64_t rows = whole->shape[0], take = data->reuse_batch > 0 && data->reuse_batch < rows ? data->reuse_batch : rows, bytes;
        int64_t each = rows / take > 0 ? rows / take : 1, epoch = part / each, at = part % each * take;
        struct flow_tensor *given = &generator->given[o];
        *given = plan_packed_type(whole);
        given->shape[0] = take;
        if (!plan_bytes(given, &bytes)) return report_memory(report);
        if (generator->part_bytes[o] < bytes) {
            memory_free(generator->trainer->from, generator->parts[o], (size_t)generator->part_bytes[o]);
            generator->parts[o] = memory_new(generator->trainer->from, (size_t)bytes);
            generator->part_bytes[o] = generator->parts[o] ? bytes : 0;
            if (!generator->parts[o]) return report_memory(report);
        }
        given->data = generator->parts[o];
        int64_t row = take ? bytes / take : 0;
        uint64_t key = flow_key(generator->seed + (uint64_t)batch * 1000003u + (uint64_t)epoch, "reuse");
        for (int64_t r = 0; r < take && row; r++) {
            int64_t from = (int64_t)flow_permute(key, (uint64_t)(at + r), (uint64_t)rows);
            memcpy((char *)given->data + r * row, (const char *)whole->data + from * row, (size_t)row);
        }
    }
    return 0;
}

int generator_next(struct generator *generator, struct report *report) {
    generator->number++;
    if (generator->data->reuse_epochs <= 0) {
        int code = generate(generator, (uint64_t)generator->number, report);
        for (size_t o = 0; code == 0 && o < generator->network->output_count; o++) generator->given[o] = generator->whole[o];
        return code;
    }
    /* Extents do not change, so how many parts a batch has is known beforehand. */
    int64_t parts = parts_of(generator), batch = generator->number / parts, part = generator->number % parts;
    if (!generator->made || part == 0) {
        int code = generate(generator, (uint64_t)batch, report);
        if (code < 0) return code;
    }
    return cut(generator, part, batch, report);
}

int generator_bind(struct generator *generator, struct report *report) { return program_plan(generator->program, NULL, report); }

void generator_restart(struct generator *generator) {
    context_reset(program_context(generator->program));
    generator->number = -1, generator->made = false;
}

const struct flow_tensor *generator_whole(const struct generator *generator, size_t output) {
    return generator->data->reuse_epochs > 0 && generator->made ? &generator->whole[output] : NULL;
}

int generator_restore(struct generator *generator, size_t output, const struct flow_tensor *value, struct report *report) {
    struct flow_tensor *whole = &generator->whole[output], *kept = &generator->kept[output];
    if (value->dtype != whole->dtype || bytes_of(value) != bytes_of(whole))
        return report_add(report, FLOW_ERROR_FORMAT, generator->data->at, "the checkpoint's batch of data '%s' has another shape for '%s'",
                          generator->data->name, generator_name(generator, output));
    *kept = *whole;
    if (!(kept->data = memory_new(generator->trainer->from, (size_t)bytes_of(kept)))) return report_memory(report);
    int64_t bytes = 0;
    if (plan_bytes(kept, &bytes) && bytes) memcpy(kept->data, value->data, (size_t)bytes);
    *whole = *kept, generator->made = true;
    return 0;
}

size_t generator_outputs(const struct generator *generator) { return generator->network->output_count; }
const char *generator_name(const struct generator *generator, size_t output) { return generator->network->outputs[output].name; }
const struct flow_tensor *generator_tensor(const struct generator *generator, size_t output) { return &generator->given[output]; }
int64_t generator_number(const struct generator *generator) { return generator->number; }
struct context *generator_context(const struct generator *generator) {
    return program_context(generator->program);
}
