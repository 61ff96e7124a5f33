/* SPDX-License-Identifier: Apache-2.0 */
/* Needs a function that nobody has. */
#define PLUGIN undefined
#define OPERATOR undefined_op
#include "one.h"

int nobody_has_this_function(void);
FLOW_EXPORT int calls_it(void);
FLOW_EXPORT int calls_it(void) { return nobody_has_this_function(); }
