/* SPDX-License-Identifier: Apache-2.0 */
/* `samples`: the trained parameters every so many steps, one after another along a new leading axis, written when the stage ends. The path
 * is relative to the graph's folder, like those of data, so that a later stage's source may read what this one wrote. */
#include "train/stage.h"

#include <stdio.h>
#include <string.h>

struct samples {
    int64_t count;    /* taken */
    void **data;      /* by param of the instance; NULL: not trained */
    size_t *capacity; /* bytes */
};

static const struct flow_tensor *param(const struct stage *stage, size_t p) {
    const struct instance *instance = program_instance(stage->program);
    return model_get(stage->trainer->options.model, instance->values[instance->params[p]].name);
}

static bool trained(const struct stage *stage, size_t p) {
    for (size_t g = 0; g < stage->groups->count; g++)
        for (uint32_t i = 0; i < stage->groups->at[g].count; i++)
            if (stage->groups->at[g].params[i] == p) return true;
    return false;
}

static int begin(struct stage *stage, struct report *report) {
    size_t count = program_instance(stage->program)->param_count;
    struct samples *samples = arena_new(&stage->arena, sizeof *samples);
    if (!samples) return report_memory(report);
    samples->data = arena_array(&stage->arena, count, sizeof *samples->data);
    samples->capacity = arena_array(&stage->arena, count, sizeof *samples->capacity);
    if (!samples->data || !samples->capacity) return report_memory(report);
    stage->samples = samples;
    return 0;
}

/* `live`: a value of the model's, else memory of the host. */
static int put(struct stage *stage, size_t p, const void *from, bool live, int64_t bytes, int64_t at, struct report *report) {
    struct samples *samples = stage->samples;
    if (memory_grow(stage->trainer->from, &samples->data[p], &samples->capacity[p], (size_t)(at + bytes) + 1, 1) < 0)
        return report_memory(report);
    if (!live) {
        if (bytes) memcpy((char *)samples->data[p] + at, from, (size_t)bytes);
        return 0;
    }
    return device_get(stage->trainer->options.device, (char *)samples->data[p] + at, from, bytes) < 0 ? report_memory(report) : 0;
}

int samples_take(struct stage *stage, struct report *report) {
    const struct training *training = stage->training;
    if (!training->samples.file || stage->step <= training->samples.after) return 0;
    int64_t every = training->samples.every > 0 ? training->samples.every : 1;
    if ((stage->step - training->samples.after) % every != 0) return 0;
    if (!stage->samples && begin(stage, report) < 0) return FLOW_ERROR_MEMORY;
    for (size_t p = 0; p < program_instance(stage->program)->param_count; p++) {
        if (!trained(stage, p)) continue;
        int64_t bytes = stage_bytes(param(stage, p));
        int code = put(stage, p, param(stage, p)->data, true, bytes, bytes * stage->samples->count, report);
        if (code < 0) return code;
    }
    stage->samples->count++;
    return 0;
}

/* All samples of one parameter as a tensor; rank -1: none. */
static struct flow_tensor stack(const struct stage *stage, size_t p) {
    struct flow_tensor all = *param(stage, p);
    if (!stage->samples || !stage->samples->data[p] || all.rank >= FLOW_RANK_MAX) {
        all.rank = -1;
        return all;
    }
    for (int32_t a = all.rank; a > 0; a--) all.shape[a] = all.shape[a - 1];
    all.rank++, all.shape[0] = stage->samples->count;
    all = plan_packed_type(&all);
    all.data = stage->samples->data[p];
    return all;
}

bool samples_tensor(const struct stage *stage, size_t p, struct flow_tensor *all, const char **name) {
    const struct instance *instance = program_instance(stage->program);
    *all = stack(stage, p);
    *name = instance->values[instance->params[p]].name;
    return all->rank >= 0;
}

int samples_restore(struct stage *stage, const struct tensor_file *file, struct report *report) {
    const struct instance *instance = program_instance(stage->program);
    for (size_t p = 0; p < instance->param_count; p++) {
        char name[1200];
        snprintf(name, sizeof name, "~samples.%zu.%.1000s", p, instance->values[instance->params[p]].name);
        const struct flow_tensor *all = tensor_file_get(file, name);
        if (!all || all->rank < 1) continue;
        if (!stage->samples && begin(stage, report) < 0) return FLOW_ERROR_MEMORY;
        if (stage_bytes(all) != all->shape[0] * stage_bytes(param(stage, p)))
            return report_add(report, FLOW_ERROR_FORMAT, (struct position){file->path, 0, 0}, "the checkpoint has another shape for '%s'",
                              name);
        int code = put(stage, p, all->data, false, stage_bytes(all), 0, report);
        if (code < 0) return code;
        stage->samples->count = all->shape[0];
    }
    return 0;
}

int samples_write(struct stage *stage, struct report *report) {
    const struct training *training = stage->training;
    if (!training->samples.file || !stage->samples) return 0;
    size_t count = program_instance(stage->program)->param_count, used = 0;
    struct tensor_write *tensors = arena_array(&stage->arena, count, sizeof *tensors);
    struct flow_tensor *types = arena_array(&stage->arena, count, sizeof *types);
    const char *file = training->samples.file, *graph = stage->trainer->options.reading.path, *slash = strrchr(graph, '/');
    const char *path = file[0] == '/' || !slash ? file : arena_format(&stage->arena, "%.*s/%s", (int)(slash - graph), graph, file);
    if (!tensors || !types || !path) return report_memory(report);
    for (size_t p = 0; p < count; p++)
        if (samples_tensor(stage, p, &types[used], &tensors[used].name)) tensors[used].tensor = &types[used], used++;
    char folder[4096];
    const char *end = strrchr(path, '/');
    if (end && end != path && (size_t)(end - path) < sizeof folder) {
        snprintf(folder, sizeof folder, "%.*s", (int)(end - path), path);
        int code = checkpoint_folder(folder, report);
        if (code < 0) return code;
    }
    struct tensor_write_options options = {0};
    return tensor_file_write(stage->trainer->from, path, tensors, used, &options, report);
}

void samples_free(struct stage *stage) {
    const struct instance *instance = stage->program ? program_instance(stage->program) : NULL;
    for (size_t p = 0; stage->samples && instance && p < instance->param_count; p++)
        if (stage->samples->capacity[p]) memory_free(stage->trainer->from, stage->samples->data[p], stage->samples->capacity[p]);
    stage->samples = NULL;
}
