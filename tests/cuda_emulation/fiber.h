/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: stacks that one OS thread switches between. A fiber never moves to another OS thread. */
#ifndef CUDA_EMULATION_FIBER_H
#define CUDA_EMULATION_FIBER_H

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_EMULATION_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CUDA_EMULATION_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CUDA_EMULATION_TSAN 1
#endif
#endif

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#define CUDA_EMULATION_UCONTEXT 1
#endif

namespace cuda_emulation {

struct fiber {
    void *pointer;     /* the stack pointer while it is not running */
    char *stack;       /* NULL: the OS thread's own */
    size_t stack_size; /* as the sanitizer needs it; of the OS thread's own stack known after the first switch away from it */
    void (*entry)();
    void *shadow;  /* the thread sanitizer's */
    void *tracked; /* the address sanitizer's */
    fiber *next;   /* in a list of free ones */
    const void *sanitizer_stack;
#ifdef CUDA_EMULATION_UCONTEXT
    ucontext_t context;
#endif
};

bool fiber_init(fiber *f, size_t bytes); /* maps a stack; false when there is none to be had */
void fiber_free(fiber *f);
void fiber_start(fiber *f, void (*entry)()); /* the next switch to it calls entry, which never returns */
void fiber_adopt(fiber *f);                  /* f stands for the OS thread's own stack; from is what it switches from first */
void fiber_switch(fiber *from, fiber *to);
void fiber_entered(); /* the first thing that entry does */

} // namespace cuda_emulation

#endif
