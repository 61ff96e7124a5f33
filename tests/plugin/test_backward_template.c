/* SPDX-License-Identifier: Apache-2.0 */
/* The template's gradient, as that of any operator in a plugin file. */
#include "harness/backward.h"

#include <criterion/criterion.h>

Test(backward, of_a_plugin) {
    static const int64_t shape[2] = {3, 7};
    uint64_t state = 5;
    struct trial t = {.node = "{op: softsign, in: x, with: {scale: 1.5}}"};
    backward_input(&t, "x", &state, -2, 2, 2, shape);
    backward_check(&t, (struct backward_options){.plugins = BUILD_DIR "/plugins"});
    trial_free(&t);
}
