/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers' loops for f32 and f64. */
#include "optimizer/optimizer.h"

#include <math.h>
#include <string.h>

enum { SIDE = 32 }; /* of the squares in which a matrix is mirrored */

#define T float
#define SQRT sqrtf
#define SGD sgd_f32
#define SGD_MOMENTUM sgd_momentum_f32
#define ADAM adam_f32
#define RMSPROP rmsprop_f32
#define RMSPROP_MOMENTUM rmsprop_momentum_f32
#define ADAGRAD adagrad_f32
#define FOLLOW follow_f32
#define COPY copy_f32
#define ADD add_f32
#define DIRECTION direction_f32
#define MULTIPLY multiply_f32
#define APPLY apply_f32
#define MIRROR mirror_f32
#define POLYNOMIAL polynomial_f32
#include "optimizer/steps_tmpl.h"
#undef T
#undef SQRT
#undef SGD
#undef SGD_MOMENTUM
#undef ADAM
#undef RMSPROP
#undef RMSPROP_MOMENTUM
#undef ADAGRAD
#undef FOLLOW
#undef COPY
#undef ADD
#undef DIRECTION
#undef MULTIPLY
#undef APPLY
#undef MIRROR
#undef POLYNOMIAL

#define T double
#define SQRT sqrt
#define SGD sgd_f64
#define SGD_MOMENTUM sgd_momentum_f64
#define ADAM adam_f64
#define RMSPROP rmsprop_f64
#define RMSPROP_MOMENTUM rmsprop_momentum_f64
#define ADAGRAD adagrad_f64
#define FOLLOW follow_f64
#define COPY copy_f64
#define ADD add_f64
#define DIRECTION direction_f64
#define MULTIPLY multiply_f64
#define APPLY apply_f64
#define MIRROR mirror_f64
#define POLYNOMIAL polynomial_f64
#include "optimizer/steps_tmpl.h"

const struct optimizer_table ISA(optimizer_table) = {
    {{sgd_f32, sgd_momentum_f32, adam_f32, rmsprop_f32, rmsprop_momentum_f32, adagrad_f32, follow_f32, copy_f32, add_f32, direction_f32,
      multiply_f32, apply_f32, mirror_f32, polynomial_f32},
     {sgd_f64, sgd_momentum_f64, adam_f64, rmsprop_f64, rmsprop_momentum_f64, adagrad_f64, follow_f64, copy_f64, add_f64, direction_f64,
      multiply_f64, apply_f64, mirror_f64, polynomial_f64}}};
