/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of data: each in a file of its own. */
#include <flow/plugin.h>

extern const struct flow_source data_babi, data_cifar, data_csv, data_edges, data_events, data_idx, data_mix, data_node_graph,
    data_sequences, data_series, data_tensors, data_text, data_tokens, data_wav, data_windows;

static const struct flow_source *const sources[] = {&data_babi,    &data_cifar, &data_csv,        &data_edges,     &data_events,
                                                    &data_idx,     &data_mix,   &data_node_graph, &data_sequences, &data_series,
                                                    &data_tensors, &data_text,  &data_tokens,     &data_wav,       &data_windows};

static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "data",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "Sources: text, images, tables, sounds, graphs, events, sequences and series from files",
    .sources = FLOW_TABLE(sources),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
