/* SPDX-License-Identifier: Apache-2.0 */
#include "overlap_add.h"

enum { OVERLAP_STRETCH = 1024 };

#define REAL float
#define OVERLAP_RUN run_f32
#define OVERLAP_SUM sum_f32
#define OVERLAP_SEGMENT segment_f32
#include "overlap_add_tmpl.h"
#undef REAL
#undef OVERLAP_RUN
#undef OVERLAP_SUM
#undef OVERLAP_SEGMENT

#define REAL double
#define OVERLAP_RUN run_f64
#define OVERLAP_SUM sum_f64
#define OVERLAP_SEGMENT segment_f64
#include "overlap_add_tmpl.h"

const struct overlap_functions ISA(overlap_functions) = {sum_f32, sum_f64, segment_f32, segment_f64};
