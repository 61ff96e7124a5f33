/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into a network's inputs at a step: a source's batch, numbers of the trainer's, tensors given once. */
#include "base/element.h"
#include "train/stage.h"

#include <string.h>

static int32_t declared(const struct feeding *feeding, size_t input) {
    int32_t dtype = feeding->network->inputs[input].dtype;
    return dtype == FLOW_F32 && feeding->precision == FLOW_F64 ? FLOW_F64 : dtype;
}

static size_t source_outputs(const struct feeding *feeding) {
    return feeding->batches ? batches_outputs(feeding->batches) : feeding->generator ? generator_outputs(feeding->generator) : 0;
}

static const char *source_name(const struct feeding *feeding, size_t output) {
    return feeding->batches ? batches_name(feeding->batches, output) : generator_name(feeding->generator, output);
}

static const struct flow_tensor *source_type(const struct feeding *feeding, size_t output) {
    return feeding->batches ? batches_type(feeding->batches, output) : generator_tensor(feeding->generator, output);
}

static int connect(struct feeding *feeding, struct report *report) {
    const struct training_data *data = feeding->data;
    /* Without `feeds`, what the source gives goes where the graph calls it the same. */
    for (size_t i = 0; !data->feed_count && i < feeding->network->input_count; i++)
        for (size_t o = 0; o < source_outputs(feeding); o++)
            if (strcmp(feeding->network->inputs[i].name, source_name(feeding, o)) == 0) feeding->output[i] = (int32_t)o;
    for (size_t f = 0; f < data->feed_count; f++) {
        const struct training_pair *pair = &data->feeds[f];
        struct nearest nearest;
        nearest_init(&nearest, pair->output);
        int32_t found = -1;
        for (size_t o = 0; o < source_outputs(feeding); o++) {
            nearest_offer(&nearest, source_name(feeding, o));
            if (strcmp(source_name(feeding, o), pair->output) == 0) found = (int32_t)o;
        }
        if (found < 0) {
            const char *meant = nearest_name(&nearest);
            return report_add(report, FLOW_ERROR_GRAPH, pair->at, "data '%s': the source gives no '%s'%s%s%s", data->name, pair->output,
                              meant ? " (did you mean '" : "", meant ? meant : "", meant ? "'?)" : "");
        }
        feeding->output[pair->input] = found;
    }
    return 0;
}

static int open_source(struct feeding *feeding, struct trainer *trainer, bool validation, int64_t first, uint64_t seed,
                       struct report *report) {
    const struct training_data *data = feeding->data;
    if (!data->source) return generator_new(trainer, data, first, data->seeded ? data->seed : seed, report, &feeding->generator);
    struct batches_options options = {.source = data->source->source,
                                      .attrs = data->attrs,
                                      .path = data->path,
                                      .base = data->base,
                                      .at = data->at,
                                      .batch = data->batch,
                                      .shuffle = data->shuffle && !validation,
                                      .keep_last = data->keep_last || validation,
                                      .split_from = data->split_from,
                                      .split_to = data->split_to,
                                      .seed = data->seeded ? data->seed : seed,
                                      .ahead = data->ahead,
                                      .workers = data->workers,
                                      .first = first,
                                      .rate = data->rate};
    return batches_open(trainer->options.loop, &options, report, &feeding->batches);
}

int feeding_open(struct feeding *feeding, struct trainer *trainer, const struct network *network, const struct training_data *data,
                 int32_t step_input, int32_t progress_input, bool validation, int64_t first, uint64_t seed, struct report *report) {
    size_t count = network->input_count;
    *feeding = (struct feeding){.from = trainer->from,
                                .idle = feeding->idle,
                                .network = network,
                                .data = data,
                                .step_input = step_input,
                                .progress_input = progress_input,
                                .precision = trainer->options.precision,
                                .number = first - 1};
    feeding->inputs = memory_array(trainer->from, count + 1, sizeof *feeding->inputs);
    feeding->output = memory_array(trainer->from, count + 1, sizeof *feeding->output);
    feeding->converted = memory_array(trainer->from, count + 1, sizeof *feeding->converted);
    feeding->converted_bytes = memory_array(trainer->from, count + 1, sizeof *feeding->converted_bytes);
    if (!feeding->inputs || !feeding->output || !feeding->converted || !feeding->converted_bytes) return report_memory(report);
    for (size_t i = 0; i < count; i++) feeding->inputs[i].rank = -1, feeding->output[i] = -1;
    int code = data ? open_source(feeding, trainer, validation, first, seed, report) : 0;
    if (code == 0 && data) code = connect(feeding, report);
    if (step_input >= 0) feeding->inputs[step_input] = (struct flow_tensor){.data = &feeding->step_value, .dtype = FLOW_I64};
    if (progress_input >= 0) {
        bool wide = declared(feeding, (size_t)progress_input) == FLOW_F64;
        feeding->inputs[progress_input] = (struct flow_tensor){.data = wide ? (void *)&feeding->progress_wide : &feeding->progress_value,
                                                               .dtype = wide ? FLOW_F64 : FLOW_F32};
    }
    for (const struct fixed *f = trainer->fixed; f && code == 0; f = f->next)
        for (size_t i = 0; i < count; i++)
            if (strcmp(network->inputs[i].name, f->name) == 0 && feeding->output[i] < 0 && feeding->inputs[i].rank < 0)
                feeding->inputs[i] = f->value;
    for (size_t i = 0; i < count && code == 0; i++)
        if (feeding->inputs[i].rank < 0 && feeding->output[i] < 0 && !feeding->idle)
            code = report_add(report, FLOW_ERROR_USAGE, network->inputs[i].at,
                              "input '%s' is fed by nothing: name it under `feeds`%s%s%s%s", network->inputs[i].name,
                              data ? " of data '" : "", data ? data->name : "", data ? "'" : "", data ? "" : ", or give it with --inputs");
    return code;
}

void feeding_close(struct feeding *feeding, struct trainer *trainer) {
    if (!feeding->from) return;
    size_t count = feeding->network ? feeding->network->input_count : 0;
    trainer->waited += feeding_waited(feeding);
    batches_close(feeding->batches);
    generator_free(feeding->generator);
    for (size_t i = 0; feeding->converted && feeding->converted_bytes && i < count; i++)
        memory_free(feeding->from, feeding->converted[i], (size_t)feeding->converted_bytes[i]);
    memory_free(feeding->from, feeding->inputs, (count + 1) * sizeof *feeding->inputs);
    memory_free(feeding->from, feeding->output, (count + 1) * sizeof *feeding->output);
    memory_free(feeding->from, feeding->converted, (count + 1) * sizeof *feeding->converted);
    memory_free(feeding->from, feeding->converted_bytes, (count + 1) * sizeof *feeding->converted_bytes);
    *feeding = (struct feeding){0};
}

/* The source's tensor, of the type that the graph declares. */
static int take(struct feeding *feeding, size_t input, const struct flow_tensor *given, bool data, struct report *report) {
    const struct network_input *about = &feeding->network->inputs[input];
    int32_t dtype = declared(feeding, input);
    struct flow_tensor *to = &feeding->inputs[input];
    *to = *given;
    if (given->rank != about->rank)
        return report_add(report, FLOW_ERROR_SHAPE, about->at, "input '%s' has %d axes in the graph, data '%s' gives %d", about->name,
                          about->rank, feeding->data ? feeding->data->name : "", given->rank);
    if (given->dtype == dtype) return 0;
    bool fits = dtype_float(dtype) ? given->dtype != FLOW_BOOL
                                   : !dtype_float(given->dtype) && dtype != FLOW_BOOL && dtype_bytes(given->dtype) <= dtype_bytes(dtype);
    if (!fits)
        return report_add(report, FLOW_ERROR_TYPE, about->dtype_at, "input '%s' is %s in the graph, data '%s' gives %s", about->name,
                          dtype_name(dtype), feeding->data ? feeding->data->name : "", dtype_name(given->dtype));
    *to = plan_packed_type(given);
    to->dtype = dtype, to->data = NULL;
    if (!data) return 0;
    int64_t count = 1, bytes;
    for (int32_t a = 0; a < given->rank; a++) count *= given->shape[a];
    if (!size_multiply(count > 0 ? count : 1, dtype_bytes(dtype), &bytes)) return report_memory(report);
    if (feeding->converted_bytes[input] < bytes) {
        memory_free(feeding->from, feeding->converted[input], (size_t)feeding->converted_bytes[input]);
        feeding->converted[input] = memory_new(feeding->from, (size_t)bytes);
        feeding->converted_bytes[input] = feeding->converted[input] ? bytes : 0;
        if (!feeding->converted[input]) return report_memory(report);
    }
    to->data = feeding->converted[input];
    for (int64_t i = 0; i < count; i++) element_write(to->data, dtype, i, element_read(given->data, given->dtype, i));
    return 0;
}

int feeding_types(struct feeding *feeding, struct report *report) {
    int code = 0;
    for (size_t i = 0; i < feeding->network->input_count && code == 0; i++) {
        if (feeding->output[i] >= 0) code = take(feeding, i, source_type(feeding, (size_t)feeding->output[i]), false, report);
        else if ((int32_t)i != feeding->step_input && (int32_t)i != feeding->progress_input && feeding->inputs[i].rank >= 0) {
            struct flow_tensor given = feeding->inputs[i];
            code = take(feeding, i, &given, true, report);
        }
    }
    return code;
}

int feeding_next(struct feeding *feeding, struct trainer *trainer, int64_t step, double progress, struct report *report) {
    const struct flow_tensor *tensors = NULL;
    feeding->step_value = step, feeding->progress_value = (float)progress, feeding->progress_wide = progress;
    feeding->rows = 1;
    int code = 0;
    if (feeding->batches) code = batches_next(feeding->batches, report, &tensors, &feeding->number);
    else if (feeding->generator) {
        code = generator_next(feeding->generator, report);
        feeding->number = generator_number(feeding->generator);
    } else feeding->number++;
    bool first = true;
    (void)trainer;
    for (size_t i = 0; i < feeding->network->input_count && code == 0; i++) {
        if (feeding->output[i] < 0) continue;
        size_t o = (size_t)feeding->output[i];
        const struct flow_tensor *tensor = tensors ? &tensors[o] : generator_tensor(feeding->generator, o);
        code = take(feeding, i, tensor, true, report);
        if (first && tensor->rank > 0) feeding->rows = tensor->shape[0], first = false;
    }
    return code;
}

void feeding_restart(struct feeding *feeding) {
    if (feeding->generator) generator_restart(feeding->generator);
}

double feeding_waited(const struct feeding *feeding) { return feeding->batches ? batches_waited(feeding->batches) : 0; }

int64_t feeding_in_epoch(const struct feeding *feeding) { return feeding->batches ? batches_in_epoch(feeding->batches) : INT64_MAX; }
