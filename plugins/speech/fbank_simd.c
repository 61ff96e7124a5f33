/* SPDX-License-Identifier: Apache-2.0 */
#include "fbank.h"

#include "common/math_simd.h"

#define REAL float
#define FFT_FORWARD forward_f32
#define FFT_INVERSE inverse_f32
#define FBANK_SUMS sums_f32
#define FBANK_SPREAD spread_f32
#define FBANK_UNWINDOW unwindow_f32
#define FBANK_BACK back_f32
#define FBANK_LOAD load_f32
#define FBANK_WINDOW window_f32
#define FBANK_MELS mels_f32
#define FBANK_FRAMES frames_f32
#define LOG log_f32
#define MAX max_f32
#define SQRT sqrtf
#include "fbank_tmpl.h"
#undef REAL
#undef FFT_FORWARD
#undef FFT_INVERSE
#undef FBANK_SUMS
#undef FBANK_SPREAD
#undef FBANK_UNWINDOW
#undef FBANK_BACK
#undef FBANK_LOAD
#undef FBANK_WINDOW
#undef FBANK_MELS
#undef FBANK_FRAMES
#undef LOG
#undef MAX
#undef SQRT

#define REAL double
#define FFT_FORWARD forward_f64
#define FFT_INVERSE inverse_f64
#define FBANK_SUMS sums_f64
#define FBANK_SPREAD spread_f64
#define FBANK_UNWINDOW unwindow_f64
#define FBANK_BACK back_f64
#define FBANK_LOAD load_f64
#define FBANK_WINDOW window_f64
#define FBANK_MELS mels_f64
#define FBANK_FRAMES frames_f64
#define LOG log_f64
#define MAX max_f64
#define SQRT sqrt
#include "fbank_tmpl.h"

const struct fbank_functions ISA(fbank_functions) = {frames_f32, frames_f64, back_f32, back_f64};
