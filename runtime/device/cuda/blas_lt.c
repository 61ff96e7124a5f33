/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/blas_lt.h"

#include <dlfcn.h>
#include <string.h>

#ifdef FLOW_CUDA_EMULATION
static void *library_open(void) { return cuda_emulation_cublas(""); }
static void *library_symbol(void *library, const char *name) { return (void)library, cuda_emulation_cublas(name); }
static void library_close(void *library) { (void)library; }
#else
static void *library_open(void) {
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}
static void *library_symbol(void *library, const char *name) { return dlsym(library, name); }
static void library_close(void *library) { dlclose(library); }
#endif

static bool functions(struct blas_lt *lt) {
    bool found = true;
#define ENTRY(name)                                                \
    {                                                              \
        void *symbol = library_symbol(lt->library, #name);         \
        found = found && symbol;                                   \
        memcpy((void *)&lt->name, (void *)&symbol, sizeof symbol); \
    }
    BLAS_LT_MAP(ENTRY)
#undef ENTRY
    return found;
}

bool blas_lt_open(struct blas_lt *lt) {
    *lt = (struct blas_lt){.library = library_open()};
    if (lt->library && functions(lt) && lt->cublasLtCreate(&lt->handle) == CUBLAS_STATUS_SUCCESS) return true;
    if (lt->library) library_close(lt->library);
    *lt = (struct blas_lt){0};
    return false;
}

void blas_lt_close(struct blas_lt *lt) {
    if (!lt->library) return;
    (void)lt->cublasLtDestroy(lt->handle);
    library_close(lt->library);
    *lt = (struct blas_lt){0};
}
