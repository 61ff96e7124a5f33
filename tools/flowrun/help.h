/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_HELP_H
#define FLOWRUN_HELP_H

#include "flowrun/table.h"

#include <stdio.h>

void help_all(FILE *out);                                                      /* flowrun --help */
void help_of(FILE *out, const struct subcommand *subcommand);                  /* flowrun COMMAND --help */
void help_usage(const struct subcommand *subcommand, char *text, size_t size); /* "flowrun verify GRAPH FILE" */
/* "--input NAME=VALUE" */
void help_option(const struct option *option, char *text, size_t size);

#endif
