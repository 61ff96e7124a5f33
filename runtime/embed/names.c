/* SPDX-License-Identifier: Apache-2.0 */
/* What a graph file calls things, for those who list it. */
#include "embed/embed.h"

bool flow_graph_variable(const flow_graph *graph, size_t index, const char **name, const char **value) {
    const struct document *vars = graph->network->vars;
    if (!vars || index >= vars->count) return false;
    *name = vars->keys[index]->text;
    *value = vars->values[index]->kind == DOCUMENT_SCALAR ? vars->values[index]->text : NULL;
    return true;
}
