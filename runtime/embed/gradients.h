/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients of a session: by which inputs and parameters, of which outputs. */
#ifndef FLOW_EMBED_GRADIENTS_H
#define FLOW_EMBED_GRADIENTS_H

#include "embed/embed.h"

/* Appends to the instance what computes the gradients by its floating inputs and parameters: extra inputs, one for each output o with
 * given[o], in order; extra outputs, one for each gradient, in the order of gradients_name. */
int must_use gradients_add(struct instance *instance, const bool *given, struct report *report);
/* The value that gradient `index` is by; -1 after the last. */
int32_t gradients_value(const struct instance *instance, size_t index);

#endif
