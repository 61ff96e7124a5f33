/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_COMPLETE_H
#define FLOWRUN_COMPLETE_H

#include "flowrun/table.h"

/* `words`: what follows `flowrun`, the last being completed (it may be empty). `of_graph`: what `flowrun GRAPH` takes. */
int complete_words(int count, char **words, const struct subcommand *of_graph);

#endif
