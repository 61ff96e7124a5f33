/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask of the device. */
#include "device_state.h"

using namespace cuda_emulation;

extern "C" {

void cuda_emulation_seed(uint64_t seed) {
    device &d = the_device();
    const holding hold(d.lock);
    seed_set(d, seed);
}
void cuda_emulation_fail_allocation(int64_t n) {
    device &d = the_device();
    const holding hold(d.lock);
    d.fail = n;
}
void cuda_emulation_memory_limit(int64_t bytes) {
    device &d = the_device();
    const holding hold(d.lock);
    d.limit = bytes;
}
void cuda_emulation_ignore_wait(int64_t k) {
    device &d = the_device();
    const holding hold(d.lock);
    d.ignore = k;
}
void cuda_emulation_check(int on) {
    device &d = the_device();
    holding hold(d.lock);
    wait_all(d, hold);
    d.check = on != 0;
}
void cuda_emulation_count(struct cuda_emulation_counts *out) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = d.counts;
}
void cuda_emulation_count_reset() {
    device &d = the_device();
    const holding hold(d.lock);
    const int64_t live = d.counts.live, bytes = d.counts.live_bytes;
    d.counts = {};
    d.counts.live = live, d.counts.live_bytes = bytes;
}
const char *cuda_emulation_fault() {
    device &d = the_device();
    const holding hold(d.lock);
    return d.fault.c_str();
}
void cuda_emulation_reset() {
    device &d = the_device();
    {
        holding hold(d.lock);
        wait_all(d, hold);
        d.sticky = cudaSuccess;
        d.fault.clear();
        d.fail = d.limit = d.ignore = 0;
        seed_set(d, 0);
    }
    (void)cudaGetLastError();
    cuda_emulation_count_reset();
}

} // extern "C"
