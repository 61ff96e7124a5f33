/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step of the cells, vectorised over the units. a = u + v:
 *   rnn   h' = act(a)
 *   lstm  i = s(a_i + p_i c)  f = s(a_f + p_f c)  g = tanh(a_g)  c' = f c + i g  o = s(a_o + p_o c')  h' = o tanh(c');  coupled: i = 1 - f
 *   gru   r = s(u_r + v_r)  z = s(u_z + v_z)  n = tanh(u_n + r v_n)  h' = (1 - z) n + z h
 * and the same backward, from the values of the gates.
 * Hochreiter, Schmidhuber 1997; Gers, Schmidhuber 2000 (peepholes); Cho et al. 2014, in the form of cuDNN.
 */
#include "common/math_simd.h"
#include "recurrent.h"

#include <math.h>

#define T float
#define SIGMOID sigmoid_f32
#define TANH tanh_f32
#define EXP exp_negative_f32
#define EXPM1 expm1_f32
#define ABS fabsf
#define RNN rnn_f32
#define LSTM lstm_f32
#define LSTM_PLAIN lstm_plain_f32
#define LSTM_ANY lstm_any_f32
#define GRU gru_f32
#define LSTM_KEPT lstm_kept_f32
#define DIAGONAL_BACK diagonal_back_f32
#define RNN_BACK rnn_back_f32
#define LSTM_BACK lstm_back_f32
#define LSTM_BACK_PLAIN lstm_back_plain_f32
#define LSTM_BACK_ANY lstm_back_any_f32
#define GRU_BACK gru_back_f32
#define SUMS sums_f32
#define ADD add_f32
#include "cells_tmpl.h"
#include "cells_backward_tmpl.h"
#undef T
#undef SIGMOID
#undef TANH
#undef EXP
#undef EXPM1
#undef ABS
#undef RNN
#undef LSTM
#undef LSTM_PLAIN
#undef LSTM_ANY
#undef GRU
#undef LSTM_KEPT
#undef DIAGONAL_BACK
#undef RNN_BACK
#undef LSTM_BACK
#undef LSTM_BACK_PLAIN
#undef LSTM_BACK_ANY
#undef GRU_BACK
#undef SUMS
#undef ADD

#define T double
#define SIGMOID sigmoid_f64
#define TANH tanh_f64
#define EXP exp_negative_f64
#define EXPM1 expm1_f64
#define ABS fabs
#define RNN rnn_f64
#define LSTM lstm_f64
#define LSTM_PLAIN lstm_plain_f64
#define LSTM_ANY lstm_any_f64
#define GRU gru_f64
#define LSTM_KEPT lstm_kept_f64
#define DIAGONAL_BACK diagonal_back_f64
#define RNN_BACK rnn_back_f64
#define LSTM_BACK lstm_back_f64
#define LSTM_BACK_PLAIN lstm_back_plain_f64
#define LSTM_BACK_ANY lstm_back_any_f64
#define GRU_BACK gru_back_f64
#define SUMS sums_f64
#define ADD add_f64
#include "cells_tmpl.h"
#include "cells_backward_tmpl.h"

extern const struct recurrent_table ISA(recurrent_table);
const struct recurrent_table ISA(recurrent_table) = {{rnn_f32, lstm_f32, gru_f32},
                                                     {rnn_f64, lstm_f64, gru_f64},
                                                     {rnn_back_f32, lstm_back_f32, gru_back_f32},
                                                     {rnn_back_f64, lstm_back_f64, gru_back_f64},
                                                     sums_f32,
                                                     sums_f64,
                                                     add_f32,
                                                     add_f64};
