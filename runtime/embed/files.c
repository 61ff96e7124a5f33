/* SPDX-License-Identifier: Apache-2.0 */
/* Files of tensors and waves as an application sees them: io/ with errors as lists. */
#include "embed/embed.h"

struct flow_file {
    flow_runtime *runtime;
    struct tensor_file *file;
};

int flow_file_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_file **out) {
    struct report report;
    errors_begin(&report, &runtime->from);
    *out = NULL;
    flow_file *file = memory_new(&runtime->from, sizeof *file);
    if (!file) return errors_end(&report, errors, report_memory(&report));
    file->runtime = runtime;
    int rc = tensor_file_open(&runtime->from, path, &report, &file->file);
    if (rc < 0) memory_free(&runtime->from, file, sizeof *file);
    else *out = file;
    return errors_end(&report, errors, rc);
}

int flow_file_image(flow_runtime *runtime, const char *name, const void *bytes, size_t size, flow_errors **errors, flow_file **out) {
    struct report report;
    errors_begin(&report, &runtime->from);
    *out = NULL;
    flow_file *file = memory_new(&runtime->from, sizeof *file);
    if (!file) return errors_end(&report, errors, report_memory(&report));
    file->runtime = runtime;
    int rc = tensor_file_image(&runtime->from, name, bytes, size, &report, &file->file);
    if (rc < 0) memory_free(&runtime->from, file, sizeof *file);
    else *out = file;
    return errors_end(&report, errors, rc);
}

void flow_file_close(flow_file *file) {
    if (!file) return;
    tensor_file_close(file->file);
    memory_free(&file->runtime->from, file, sizeof *file);
}

size_t flow_file_count(const flow_file *file) { return file->file->count; }
const char *flow_file_name(const flow_file *file, size_t index) { return file->file->entries[index].name; }
const struct flow_tensor *flow_file_tensor(const flow_file *file, size_t index) { return &file->file->entries[index].tensor; }
const struct flow_tensor *flow_file_get(const flow_file *file, const char *name) { return tensor_file_get(file->file, name); }
const char *flow_file_metadata(const flow_file *file, const char *key) { return tensor_file_metadata(file->file, key); }
double flow_file_rate(const flow_file *file) { return file->file->rate; }

int flow_file_write(flow_runtime *runtime, const char *path, const struct flow_named *tensors, size_t count, double rate,
                    flow_errors **errors) {
    struct report report;
    errors_begin(&report, &runtime->from);
    struct tensor_write *write = memory_array(&runtime->from, count, sizeof *write);
    if (!write) return errors_end(&report, errors, report_memory(&report));
    for (size_t i = 0; i < count; i++) write[i] = (struct tensor_write){tensors[i].name, tensors[i].tensor};
    struct tensor_write_options options = {.rate = rate};
    int rc = tensor_file_write(&runtime->from, path, write, count, &options, &report);
    memory_free(&runtime->from, write, count * sizeof *write);
    return errors_end(&report, errors, rc);
}

int flow_file_write_bytes(flow_runtime *runtime, const char *path, const void *bytes, size_t size, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &runtime->from);
    return errors_end(&report, errors, file_write(path, bytes, size, &report));
}

struct flow_wave {
    flow_runtime *runtime;
    struct wave_reader *reader;
};

int flow_wave_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_wave **out) {
    struct report report;
    errors_begin(&report, &runtime->from);
    *out = NULL;
    struct io_loop *loop;
    flow_wave *wave = memory_new(&runtime->from, sizeof *wave);
    int rc = wave ? runtime_loop(runtime, &report, &loop) : report_memory(&report);
    if (rc == 0) rc = wave_reader_open(loop, path, &report, &wave->reader);
    if (rc < 0) memory_free(&runtime->from, wave, sizeof *wave);
    else wave->runtime = runtime, *out = wave;
    return errors_end(&report, errors, rc);
}

void flow_wave_close(flow_wave *wave) {
    if (!wave) return;
    wave_reader_close(wave->reader);
    memory_free(&wave->runtime->from, wave, sizeof *wave);
}

void flow_wave_cancel(flow_wave *wave) { wave_reader_cancel(wave->reader); }
int32_t flow_wave_channels(const flow_wave *wave) { return wave_reader_channels(wave->reader); }
double flow_wave_rate(const flow_wave *wave) { return wave_reader_rate(wave->reader); }

int flow_wave_next(flow_wave *wave, int64_t least, int64_t count, float *samples, int64_t stride, int64_t *got, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &wave->runtime->from);
    return errors_end(&report, errors, wave_reader_next(wave->reader, least, count, samples, stride, got, &report));
}
