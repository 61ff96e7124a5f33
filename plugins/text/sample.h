/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_SAMPLE_H
#define TEXT_SAMPLE_H

#include <stdint.h>

struct sample_attrs {
    double temperature, top_p;
    int64_t top_k;
};

#endif
