/* SPDX-License-Identifier: Apache-2.0 */
#include "stft.h"

#define REAL float
#define FFT_FORWARD forward_f32
#define FFT_INVERSE inverse_f32
#define STFT_FRAME frame_f32
#define STFT_CUT cut_f32
#define STFT_LOAD load_f32
#define STFT_SUM sum_f32
#define STFT_WRITE write_f32
#define STFT_LOAD_GRADIENT load_gradient_f32
#define STFT_SPREAD spread_f32
#include "stft_tmpl.h"
#undef REAL
#undef FFT_FORWARD
#undef FFT_INVERSE
#undef STFT_FRAME
#undef STFT_CUT
#undef STFT_LOAD
#undef STFT_SUM
#undef STFT_WRITE
#undef STFT_LOAD_GRADIENT
#undef STFT_SPREAD

#define REAL double
#define FFT_FORWARD forward_f64
#define FFT_INVERSE inverse_f64
#define STFT_FRAME frame_f64
#define STFT_CUT cut_f64
#define STFT_LOAD load_f64
#define STFT_SUM sum_f64
#define STFT_WRITE write_f64
#define STFT_LOAD_GRADIENT load_gradient_f64
#define STFT_SPREAD spread_f64
#include "stft_tmpl.h"

const struct stft_functions ISA(stft_functions) = {cut_f32, cut_f64, sum_f32, sum_f64, spread_f32, spread_f64};
