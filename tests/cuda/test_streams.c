/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events and memory of the emulation: what is ordered is never seen out of order, what is not is, under some seed. */
#include "cuda/kernels.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 100, SEEDS = 50 };
#define OK(call) cr_assert_eq((call), 0, "%s: %s", #call, cudaGetErrorString(cudaPeekAtLastError()))

static float *device_values(float first) {
    void *made = NULL;
    float host[COUNT];
    for (int i = 0; i < COUNT; i++) host[i] = first;
    OK(cudaMalloc(&made, sizeof host));
    OK(cudaMemcpy(made, host, sizeof host, cudaMemcpyHostToDevice));
    return made;
}

static float first_of(const float *device) {
    float x = 0;
    OK(cudaMemcpy(&x, device, sizeof x, cudaMemcpyDeviceToHost));
    return x;
}

/* x = 1; stream a: x += 1, twice; stream b: y = 10 y + x, which must see 3. Two waits: b for a, and a's next step for b. */
static float chain(bool ordered) {
    float *x = device_values(1), *y = device_values(0);
    cudaStream_t a, b;
    cudaEvent_t made, read;
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&read, cudaEventDisableTiming));
    for (int step = 0; step < 2; step++) {
        OK(kernel_add(x, x, COUNT, 1, a));
        OK(cudaEventRecord(made, a));
        if (ordered) OK(cudaStreamWaitEvent(b, made, 0));
        OK(kernel_append(x, y, COUNT, b));
        OK(cudaEventRecord(read, b));
        if (ordered) OK(cudaStreamWaitEvent(a, read, 0));
    }
    OK(cudaStreamSynchronize(b));
    OK(cudaStreamSynchronize(a));
    const float got = first_of(y);
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
    OK(cudaEventDestroy(made));
    OK(cudaEventDestroy(read));
    OK(cudaFree(x));
    OK(cudaFree(y));
    return got;
}

Test(streams, events_order_streams) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        cuda_emulation_seed(seed);
        cr_assert_eq(chain(true), 23, "seed %d", (int)seed);
    }
}

Test(streams, without_events_some_seed_shows_it) {
    int wrong = 0;
    cuda_emulation_reset();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        cuda_emulation_seed(seed);
        wrong += chain(false) != 23;
    }
    cr_assert_gt(wrong, SEEDS / 4);
}

/* The check itself is checked: each single wait that is left out is seen (the last, after which nothing follows, has no effect). */
Test(streams, each_missing_wait_is_seen) {
    for (int64_t wait = 1; wait <= 3; wait++) {
        int wrong = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            cuda_emulation_reset();
            cuda_emulation_seed(seed);
            cuda_emulation_ignore_wait(wait);
            wrong += chain(true) != 23;
        }
        cr_assert_gt(wrong, 0, "wait %d", (int)wait);
    }
}

/* Pinned memory is read when the copy runs, pageable memory at the call. */
static float copied(bool pinned, bool waits) {
    float *x = device_values(0), *host = NULL, kept[COUNT];
    void *made = NULL;
    cudaStream_t s;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaMallocHost(&made, sizeof kept));
    host = pinned ? made : kept;
    for (int i = 0; i < COUNT; i++) host[i] = 5;
    OK(cudaMemcpyAsync(x, host, sizeof kept, cudaMemcpyHostToDevice, s));
    if (waits) OK(cudaStreamSynchronize(s));
    for (int i = 0; i < COUNT; i++) host[i] = 7;
    OK(cudaStreamSynchronize(s));
    const float got = first_of(x);
    OK(cudaStreamDestroy(s));
    OK(cudaFreeHost(made));
    OK(cudaFree(x));
    return got;
}

#ifndef __SANITIZE_THREAD__ /* it is a race, on purpose */
Test(streams, memory_that_is_still_to_be_read_is_seen_changed) {
    int wrong = 0;
    cuda_emulation_reset();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        cuda_emulation_seed(seed);
        wrong += copied(true, false) != 5;
    }
    cr_assert_gt(wrong, SEEDS / 4);
}
#endif

Test(streams, copies_that_are_waited_for_or_pageable_are_right) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        cuda_emulation_seed(seed);
        cr_assert_eq(copied(false, false), 5);
        cr_assert_eq(copied(true, true), 5);
    }
}

/* The legacy stream waits for all blocking ones, and they for it. */
Test(streams, the_legacy_stream_is_between) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        cuda_emulation_seed(seed);
        float *x = device_values(1), *y = device_values(0);
        cudaStream_t a, b;
        OK(cudaStreamCreateWithFlags(&a, cudaStreamDefault));
        OK(cudaStreamCreateWithPriority(&b, cudaStreamDefault, -5));
        OK(kernel_append(x, y, COUNT, a));
        OK(kernel_add(x, x, COUNT, 1, NULL));
        OK(kernel_append(x, y, COUNT, b));
        OK(kernel_add(x, x, COUNT, 1, cudaStreamLegacy));
        OK(kernel_append(x, y, COUNT, a));
        OK(cudaDeviceSynchronize());
        cr_assert_eq(first_of(y), 123, "seed %d", (int)seed);
        OK(cudaStreamDestroy(a));
        OK(cudaStreamDestroy(b));
        OK(cudaFree(x));
        OK(cudaFree(y));
    }
}

static void set_flag(void *flag) { __atomic_store_n((int *)flag, 1, __ATOMIC_RELEASE); }

/* What is queued comes to an end without anybody waiting: host functions run, events that are asked for come. */
Test(streams, work_goes_on_by_itself) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= 12; seed++) {
        cuda_emulation_seed(seed);
        float *x = device_values(1);
        int flag = 0;
        cudaStream_t s;
        cudaEvent_t begin, end;
        OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
        OK(cudaEventCreateWithFlags(&begin, cudaEventDefault));
        OK(cudaEventCreateWithFlags(&end, cudaEventDefault));
        OK(cudaEventRecord(begin, s));
        OK(kernel_add(x, x, COUNT, 1, s));
        OK(cudaLaunchHostFunc(s, set_flag, &flag));
        OK(cudaEventRecord(end, s));
        while (!__atomic_load_n(&flag, __ATOMIC_ACQUIRE)) {}
        cudaError_t state;
        while ((state = cudaEventQuery(end)) == cudaErrorNotReady) {}
        OK(state);
        (void)cudaGetLastError();
        float milliseconds = -1;
        OK(cudaEventElapsedTime(&milliseconds, begin, end));
        cr_assert(milliseconds >= 0);
        cr_assert_eq(first_of(x), 2);
        OK(cudaStreamDestroy(s));
        OK(cudaEventDestroy(begin));
        OK(cudaEventDestroy(end));
        OK(cudaFree(x));
    }
}

/* Not even a host function: pinned memory changes after a while. */
Test(streams, what_nobody_waits_for_is_done_at_last) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= 12; seed++) {
        cuda_emulation_seed(seed);
        float *x = device_values(1);
        void *pinned = NULL;
        cudaStream_t s;
        int bits = 0;
        OK(cudaMallocHost(&pinned, sizeof(int)));
        __atomic_store_n((int *)pinned, 0, __ATOMIC_RELEASE);
        OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
        OK(kernel_add(x, x, COUNT, 1, s));
        OK(cudaMemcpyAsync(pinned, x, sizeof(float), cudaMemcpyDeviceToHost, s));
#ifndef __SANITIZE_THREAD__
        while (!(bits = __atomic_load_n((int *)pinned, __ATOMIC_ACQUIRE))) {}
#else
        OK(cudaStreamSynchronize(s));
        bits = *(int *)pinned;
#endif
        const float two = 2;
        cr_assert_eq(memcmp(&bits, &two, sizeof two), 0);
        OK(cudaStreamDestroy(s));
        OK(cudaFreeHost(pinned));
        OK(cudaFree(x));
    }
}

Test(streams, a_stream_that_is_given_up_finishes) {
    cuda_emulation_reset();
    for (uint64_t seed = 0; seed <= 12; seed++) {
        cuda_emulation_seed(seed);
        float *x = device_values(1);
        cudaStream_t s;
        OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
        for (int i = 0; i < 20; i++) OK(kernel_add(x, x, COUNT, 1, s));
        OK(cudaStreamDestroy(s));
        OK(cudaDeviceSynchronize());
        cr_assert_eq(first_of(x), 21);
        OK(cudaFree(x));
    }
}

Test(streams, calls_are_counted) {
    struct cuda_emulation_counts counts;
    cuda_emulation_reset();
    cr_assert_eq(chain(true), 23);
    cuda_emulation_count(&counts);
    cr_assert_eq(counts.launches, 4);
    cr_assert_eq(counts.copies, 3);
    cr_assert_eq(counts.waits, 4);
    cr_assert_eq(counts.records, 4);
    cr_assert_eq(counts.live, 0);
    cr_assert_eq(counts.live_bytes, 0);
}

/* ---- Memory */

Test(memory, allocations_fail_on_demand_and_beyond_the_limit) {
    void *a = NULL, *b = NULL;
    size_t free_bytes, total;
    cuda_emulation_reset();
    cuda_emulation_fail_allocation(2);
    OK(cudaMalloc(&a, 64));
    cr_assert_eq(cudaMalloc(&b, 64), cudaErrorMemoryAllocation);
    cr_assert_null(b);
    cr_assert_eq(cudaGetLastError(), cudaErrorMemoryAllocation);
    OK(cudaGetLastError());
    OK(cudaFree(a));
    cuda_emulation_memory_limit(1000);
    OK(cudaMalloc(&a, 600));
    OK(cudaMemGetInfo(&free_bytes, &total));
    cr_assert(free_bytes == 400 && total == 1000);
    cr_assert_eq(cudaMalloc(&b, 401), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&b, 400));
    OK(cudaFreeAsync(a, NULL));
    OK(cudaFreeAsync(b, NULL));
    OK(cudaDeviceSynchronize());
    OK(cudaMemGetInfo(&free_bytes, &total));
    cr_assert_eq(free_bytes, 1000);
    cuda_emulation_reset();
}

Test(memory, wrong_places_are_refused) {
    char host[64] = {0};
    void *a = NULL;
    cuda_emulation_reset();
    OK(cudaMalloc(&a, 64));
    cr_assert_eq(cudaMemcpy(a, host, 65, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemcpy(host, a, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemcpy(a, host, 64, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemset((char *)a + 1, 0, 64), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemset(host, 0, 64), cudaErrorInvalidValue);
    cr_assert_eq(cudaFree(host), cudaErrorInvalidValue);
    cr_assert_eq(cudaFreeHost(a), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemcpy(host, a, 64, cudaMemcpyDefault), cudaSuccess);
    OK(cudaFree(a));
    cr_assert_eq(cudaFree(a), cudaErrorInvalidValue);
    cuda_emulation_reset();
}

Test(memory, rectangles) {
    float host[4 * 5], back[4 * 3] = {0};
    void *a = NULL;
    cuda_emulation_reset();
    for (int i = 0; i < 20; i++) host[i] = (float)i;
    OK(cudaMalloc(&a, sizeof back));
    OK(cudaMemcpy2DAsync(a, 12, host + 1, 20, 12, 4, cudaMemcpyHostToDevice, NULL));
    OK(cudaMemcpy(back, a, sizeof back, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 12; i++) cr_assert_eq(back[i], (float)(i / 3 * 5 + i % 3 + 1));
    cr_assert_eq(cudaMemcpy2DAsync(a, 8, host, 20, 12, 4, cudaMemcpyHostToDevice, NULL), cudaErrorInvalidPitchValue);
    OK(cudaFree(a));
    cuda_emulation_reset();
}
