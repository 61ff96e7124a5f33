/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to run on, and which plugins were found: for `flowrun doctor`. */
#include "embed/embed.h"
#include "plugin/registry.h"

#include <string.h>

bool flow_runtime_plugin_folder(flow_runtime *runtime, size_t index, const char **path, const char **why) {
    return registry_folder_at(runtime->registry, index, path, why);
}

bool flow_runtime_plugin_file(flow_runtime *runtime, size_t index, struct flow_plugin_file *out) {
    struct registry_file file;
    if (!registry_file_at(runtime->registry, index, &file)) return false;
    struct flow_plugin_file made = {.size = out->size,
                                    .path = file.path,
                                    .plugin = file.plugin,
                                    .why = file.why,
                                    .operators = file.operators,
                                    .optimizers = file.optimizers,
                                    .sources = file.sources,
                                    .kernels = file.kernels};
    memcpy(out, &made, out->size < sizeof made ? out->size : sizeof made);
    return true;
}

const char *flow_runtime_plugin_index(flow_runtime *runtime) { return registry_index_path(runtime->registry); }

int flow_runtime_machine(flow_runtime *runtime, struct flow_machine *out, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &runtime->from);
    struct device *device;
    int rc = runtime_device(runtime, 0, &report, &device);
    if (rc == 0) {
        struct flow_machine made = {.size = out->size, .threads = device->host->threads, .isa = device->host->isa};
        memcpy(out, &made, out->size < sizeof made ? out->size : sizeof made);
    }
    return errors_end(&report, errors, rc);
}
