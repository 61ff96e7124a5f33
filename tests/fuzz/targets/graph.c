/* SPDX-License-Identifier: Apache-2.0 */
/* A graph file: read, checked for all extents, planned for none. The operators of some families are linked in; the others are unknown. */
#include "graph/instance.h"
#include "graph/network.h"
#include "plugin/registry.h"
#include "targets/fuzz.h"

/* What is not inferred here is not needed of the host. */
static void *scratch(const struct flow_call *call, size_t size) { return (void)call, (void)size, NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct registry *registry;
    static const struct registry_options none = {.path = "", .installed = "/nonexistent", .index = ""};
    static struct flow_host host = {.size = sizeof host, .threads = 1};
    if (!registry && registry_new(&memory_default, &none, &registry) < 0) abort();
    (void)scratch;
    struct report report;
    struct network *network = NULL;
    report_init(&report, &fuzz_memory);
    int status = network_read(&fuzz_memory, registry, "fuzz.yaml", (const char *)bytes, size, NULL, &report, &network);
    if (status < 0 && status != FLOW_ERROR_MEMORY && !report.count) abort(); /* refused without a word */
    if (network) {
        const struct instance_options options = {.host = &host, .phase = FLOW_PHASE_INFERENCE, .precision = FLOW_F32};
        status = instance_check(&fuzz_memory, network, &options, &report);
        if (status < 0 && status != FLOW_ERROR_MEMORY && !report.count) abort();
    }
    network_free(network);
    report_free(&report);
    return 0;
}
