/* SPDX-License-Identifier: Apache-2.0 */
/* An allocator for tests: counts what is outstanding, checks that blocks are freed by their true size, and fails the n-th request. */
#ifndef FLOW_TESTS_FAILING_H
#define FLOW_TESTS_FAILING_H

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct failing {
    pthread_mutex_t lock;
    long requests, fail_at; /* fail_at counts from 1; 0: never */
    bool lasting;           /* all from there on fail */
    long blocks;            /* outstanding */
    size_t bytes, most;     /* outstanding; the highest that was */
    bool wrong_size;
};

static void *failing_resize(void *context, void *block, size_t old_size, size_t new_size) {
    struct failing *f = context;
    char *base = block ? (char *)block - 16 : NULL;
    void *result = NULL;
    pthread_mutex_lock(&f->lock);
    if (base) {
        size_t true_size;
        memcpy(&true_size, base, sizeof true_size);
        if (true_size != old_size) f->wrong_size = true;
    }
    if (new_size == 0) {
        if (base) f->blocks--, f->bytes -= old_size;
        free(base);
    } else if (++f->requests != f->fail_at && !(f->lasting && f->fail_at && f->requests > f->fail_at)) {
        char *grown = realloc(base, new_size + 16);
        if (grown) {
            memcpy(grown, &new_size, sizeof new_size);
            if (!base) f->blocks++;
            f->bytes += new_size - old_size;
            if (f->bytes > f->most) f->most = f->bytes;
            result = grown + 16;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return result;
}

#define FAILING_INIT \
    { .lock = PTHREAD_MUTEX_INITIALIZER }
static inline struct allocator failing_allocator(struct failing *f) { return (struct allocator){f, failing_resize}; }

#endif
