/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation tells what is wrong in a kernel, and nothing of what is right. */
#include "cuda/kernels.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static float *values(void) {
    void *made = NULL;
    cuda_emulation_reset();
    cr_assert_eq(cudaMalloc(&made, 4096 * sizeof(float)), cudaSuccess);
    cr_assert_eq(cudaMemset(made, 0, 4096 * sizeof(float)), cudaSuccess);
    return made;
}

static void right(const struct kernel_case *c, bool check, uint64_t seed) {
    float *out = values(), first[2];
    cuda_emulation_check(check);
    cuda_emulation_seed(seed);
    cr_assert_eq(c->launch(out, NULL), 0, "%s", c->name);
    cr_assert_eq(cudaMemcpy(first, out, sizeof first, cudaMemcpyDeviceToHost), cudaSuccess, "%s: %s", c->name, cuda_emulation_fault());
    cr_assert(first[0] == c->first && first[1] == c->other, "%s: %g %g", c->name, (double)first[0], (double)first[1]);
    cr_assert_eq(cudaFree(out), cudaSuccess);
}

/* The fault ends what is queued; every later call says so, and the reset makes the device usable again. */
static void faulty(const struct kernel_case *c, bool check) {
    float *out = values();
    cuda_emulation_check(check);
    (void)c->launch(out, NULL);
    cr_assert_eq(cudaDeviceSynchronize(), check || !c->check ? cudaErrorLaunchFailure : cudaSuccess, "%s", c->name);
    if (check || !c->check) {
        cr_assert(strstr(cuda_emulation_fault(), c->told) != NULL, "%s: %s", c->name, cuda_emulation_fault());
        cr_assert(strstr(cuda_emulation_fault(), c->name) != NULL, "%s: %s", c->name, cuda_emulation_fault());
        cr_assert_eq(kernel_shaped(1, 1, 0, NULL), cudaErrorLaunchFailure);
        cr_assert_eq(cudaGetLastError(), cudaErrorLaunchFailure);
    }
    cuda_emulation_reset();
    cr_assert_eq(cudaGetLastError(), cudaSuccess);
    cr_assert_eq(cudaFree(out), cudaSuccess);
}

Test(kernels, what_is_right_is_right) {
    for (int i = 0; i < kernel_case_count; i++)
        for (uint64_t seed = 0; seed < 4 && !kernel_cases[i].told; seed++) right(&kernel_cases[i], seed % 2 == 0, seed);
}

Test(kernels, each_fault_is_told) {
    int faults = 0;
    for (int i = 0; i < kernel_case_count; i++) {
        if (!kernel_cases[i].told) continue;
        faulty(&kernel_cases[i], true);
        faulty(&kernel_cases[i], false);
        right(&kernel_cases[0], true, 0);
        faults++;
    }
    cr_assert_gt(faults, 12);
}

Test(kernels, what_is_not_written_is_nan) {
    float *out = values(), first[2];
    cuda_emulation_check(1);
    for (int i = 0; i < 2; i++) { /* also after another launch has written there */
        cr_assert_eq(kernel_unwritten(out, NULL), 0);
        cr_assert_eq(cudaMemcpy(first, out, sizeof first, cudaMemcpyDeviceToHost), cudaSuccess);
        cr_assert(isnan(first[0]) && isnan(first[1]));
    }
    void *fresh = NULL;
    cr_assert_eq(cudaMalloc(&fresh, 8), cudaSuccess);
    cr_assert_eq(cudaMemcpy(first, fresh, sizeof first, cudaMemcpyDeviceToHost), cudaSuccess);
    cr_assert(isnan(first[0]) && isnan(first[1]));
    cr_assert_eq(cudaFree(fresh), cudaSuccess);
    cr_assert_eq(cudaFree(out), cudaSuccess);
}

Test(kernels, blocks_run_in_an_order_of_the_seed) {
    enum { BLOCKS = 37 };
    int *order = (int *)(void *)values(), got[BLOCKS + 1], shuffled = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        cuda_emulation_seed(seed);
        cr_assert_eq(cudaMemset(order, 0, (BLOCKS + 1) * sizeof(int)), cudaSuccess);
        cr_assert_eq(kernel_order(order, order + BLOCKS, BLOCKS, NULL), 0);
        cr_assert_eq(cudaMemcpy(got, order, sizeof got, cudaMemcpyDeviceToHost), cudaSuccess);
        bool seen[BLOCKS] = {false}, ascending = true;
        for (int i = 0; i < BLOCKS; i++) {
            cr_assert(got[i] >= 0 && got[i] < BLOCKS && !seen[got[i]]);
            seen[got[i]] = true;
            ascending = ascending && got[i] == i;
        }
        cr_assert(seed > 0 || ascending);
        shuffled += !ascending;
    }
    cr_assert_gt(shuffled, 4);
    cr_assert_eq(cudaFree(order), cudaSuccess);
}

Test(kernels, launches_that_do_not_fit_are_refused) {
    cuda_emulation_reset();
    cr_assert_eq(kernel_shaped(1, 1024, 48 << 10, NULL), 0);
    cr_assert_eq(kernel_shaped(0, 32, 0, NULL), cudaErrorInvalidConfiguration);
    cr_assert_eq(kernel_shaped(1, 0, 0, NULL), cudaErrorInvalidConfiguration);
    cr_assert_eq(kernel_shaped(1, 1025, 0, NULL), cudaErrorInvalidConfiguration);
    cr_assert_eq(kernel_shaped(1, 32, (48 << 10) + 4, NULL), cudaErrorInvalidConfiguration);
    kernel_allow_shared(100 << 10);
    cr_assert_eq(kernel_shaped(1, 32, 100 << 10, NULL), 0);
    cr_assert_eq(kernel_shaped(1, 32, (100 << 10) + 4, NULL), cudaErrorInvalidConfiguration);
    cr_assert_eq(cudaDeviceSynchronize(), cudaSuccess);
}
