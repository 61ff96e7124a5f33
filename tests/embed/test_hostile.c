/* SPDX-License-Identifier: Apache-2.0 */
/* A few seconds of what fuzz_graphs does for long: the same graphs each time. */
/* One thread, and memory limits that the thread sanitizer's shadow would break: nothing for it to find here. */
#ifndef __SANITIZE_THREAD__
#include "fuzz/hostile.h"

#include <criterion/criterion.h>

static struct hostile hostile;

static void expect_clean(void) {
    cr_assert(!hostile.limited.wrong_size, "a block is freed by another size than it was made with:\n%s", hostile.text);
}

static void done(void) {
    hostile_close(&hostile);
    cr_assert(hostile.limited.blocks == 0, "%ld blocks are left", hostile.limited.blocks);
}

Test(hostile, mutated_graphs_end_well, .timeout = 300) {
    cr_assert(hostile_open(&hostile) == 0);
    for (uint64_t trial = 0; trial < 1500; trial++) {
        hostile.draw.state = 77 + 1000003 * trial;
        hostile_make(&hostile);
        hostile_try(&hostile);
        expect_clean();
    }
    cr_assert(hostile.ran > 50 && hostile.refused > 500, "%ld run, %ld refused", hostile.ran, hostile.refused);
    done();
}

Test(hostile, attributes_at_their_worst, .timeout = 300) {
    cr_assert(hostile_open(&hostile) == 0);
    long trial = 0;
    for (; hostile_worst(&hostile, trial); trial += 41) {
        hostile_try(&hostile);
        expect_clean();
    }
    cr_assert(trial > 1000);
    done();
}
#endif
