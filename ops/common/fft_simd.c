/* SPDX-License-Identifier: Apache-2.0 */
/* The Fourier transform in f32 and f64, once for each instruction set. */
#include "common/fft.h"

#define REAL float
#define FFT_POINT2 point2_f32
#define FFT_POINT3 point3_f32
#define FFT_POINT4 point4_f32
#define FFT_POINT5 point5_f32
#define FFT_STAGE2 stage2_f32
#define FFT_STAGE3 stage3_f32
#define FFT_STAGE4 stage4_f32
#define FFT_STAGE5 stage5_f32
#define FFT_STAGE_ANY stage_any_f32
#define FFT_STAGES stages_f32
#define FFT_COMPLEX complex_f32
#define FFT_LINES lines_f32
#define FFT_FORWARD forward_f32
#define FFT_INVERSE inverse_f32
#include "common/fft_tmpl.h"
#undef REAL
#undef FFT_POINT2
#undef FFT_POINT3
#undef FFT_POINT4
#undef FFT_POINT5
#undef FFT_STAGE2
#undef FFT_STAGE3
#undef FFT_STAGE4
#undef FFT_STAGE5
#undef FFT_STAGE_ANY
#undef FFT_STAGES
#undef FFT_COMPLEX
#undef FFT_LINES
#undef FFT_FORWARD
#undef FFT_INVERSE

#define REAL double
#define FFT_POINT2 point2_f64
#define FFT_POINT3 point3_f64
#define FFT_POINT4 point4_f64
#define FFT_POINT5 point5_f64
#define FFT_STAGE2 stage2_f64
#define FFT_STAGE3 stage3_f64
#define FFT_STAGE4 stage4_f64
#define FFT_STAGE5 stage5_f64
#define FFT_STAGE_ANY stage_any_f64
#define FFT_STAGES stages_f64
#define FFT_COMPLEX complex_f64
#define FFT_LINES lines_f64
#define FFT_FORWARD forward_f64
#define FFT_INVERSE inverse_f64
#include "common/fft_tmpl.h"

const struct fft_functions ISA(fft_functions) = {forward_f32, inverse_f32, forward_f64, inverse_f64};
