/* SPDX-License-Identifier: Apache-2.0 */
#include "fiber.h"

#include <cstdint>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#ifdef CUDA_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CUDA_EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* cuda_emulation_switch(void **save, void *load): pushes what a callee must keep, changes stacks, pops. */
#if defined(__x86_64__)
extern "C" void cuda_emulation_switch(void **save, void *load);
__asm__(".text\n.p2align 4\n.globl cuda_emulation_switch\n.hidden cuda_emulation_switch\n.type cuda_emulation_switch, @function\n"
        "cuda_emulation_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n    ret\n"
        ".size cuda_emulation_switch, .-cuda_emulation_switch\n");
#elif defined(__aarch64__)
extern "C" void cuda_emulation_switch(void **save, void *load);
__asm__(".text\n.p2align 4\n.globl cuda_emulation_switch\n.hidden cuda_emulation_switch\n.type cuda_emulation_switch, %function\n"
        "cuda_emulation_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n    ret\n"
        ".size cuda_emulation_switch, .-cuda_emulation_switch\n");
#endif

namespace cuda_emulation {

#ifdef CUDA_EMULATION_ASAN
static __thread fiber *left, *current;
#endif

bool fiber_init(fiber *f, size_t bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    *f = {};
    void *mapped = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    (void)mprotect(mapped, page, PROT_NONE); /* below the stack: an overflow ends the program instead of changing what lies there */
    f->stack = static_cast<char *>(mapped) + page;
    f->stack_size = bytes;
    f->sanitizer_stack = f->stack;
#ifdef CUDA_EMULATION_TSAN
    f->shadow = __tsan_create_fiber(0);
#endif
    return true;
}

void fiber_free(fiber *f) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
#ifdef CUDA_EMULATION_TSAN
    if (f->shadow) __tsan_destroy_fiber(f->shadow);
#endif
    if (f->stack) munmap(f->stack - page, f->stack_size + page);
    *f = {};
}

void fiber_adopt(fiber *f) {
    *f = {};
#ifdef CUDA_EMULATION_TSAN
    f->shadow = __tsan_get_current_fiber();
#endif
#ifdef CUDA_EMULATION_ASAN
    current = f;
#endif
}

void fiber_start(fiber *f, void (*entry)()) {
    f->entry = entry;
    f->tracked = nullptr;
#ifdef CUDA_EMULATION_ASAN
    __asan_unpoison_memory_region(f->stack, f->stack_size);
#endif
#ifdef CUDA_EMULATION_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = f->stack_size;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
#else
    void **top = reinterpret_cast<void **>(f->stack + f->stack_size);
    void *start;
    std::memcpy(&start, &entry, sizeof start);
#ifdef __x86_64__
    top[-1] = nullptr; /* where a caller's return address would be: entry finds the stack as after a call */
    top[-2] = start;
    for (int i = 3; i <= 8; i++) top[-i] = nullptr;
    f->pointer = top - 8;
#else
    for (int i = 1; i <= 20; i++) top[-i] = nullptr;
    top[-20 + 11] = start; /* x30 */
    f->pointer = top - 20;
#endif
#endif
}

void fiber_entered() {
#ifdef CUDA_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(current->tracked, left->stack ? nullptr : &left->sanitizer_stack,
                                    left->stack ? nullptr : &left->stack_size);
#endif
}

void fiber_switch(fiber *from, fiber *to) {
#ifdef CUDA_EMULATION_ASAN
    left = from, current = to;
    __sanitizer_start_switch_fiber(&from->tracked, to->sanitizer_stack, to->stack_size);
#endif
#ifdef CUDA_EMULATION_TSAN
    __tsan_switch_to_fiber(to->shadow, 0);
#endif
#ifdef CUDA_EMULATION_UCONTEXT
    swapcontext(&from->context, &to->context);
#else
    cuda_emulation_switch(&from->pointer, to->pointer);
#endif
    fiber_entered();
}

} // namespace cuda_emulation
