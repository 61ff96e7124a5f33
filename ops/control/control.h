/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels of every device read of the control family. */
#ifndef OPS_CONTROL_CONTROL_H
#define OPS_CONTROL_CONTROL_H

#include <flow/plugin.h>

struct scale_attrs {
    double factor;
};

#endif
