/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that appears whole or not at all: written under another name in the same folder, flushed to the disk, renamed over the target, and
 * the folder flushed, so that after a crash, too, there is the old file or the new one. A target that is a device or a pipe is written to
 * directly.
 */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A new file beside the target. Its mode is the target's, where there is one, else what umask leaves. */
static int open_beside(struct out *out, const struct stat *old) {
    for (unsigned turn = 0; turn < 1000; turn++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        const unsigned long long mark = ((unsigned long long)now.tv_nsec * 1000 + turn) ^ (unsigned long long)getpid() << 24;
        const int length = snprintf(out->temporary, sizeof out->temporary, "%s.%010llx.part", out->target, mark & 0xFFFFFFFFFFull);
        if (length < 0 || (size_t)length >= sizeof out->temporary) errno = ENAMETOOLONG;
        else out->file = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (out->file >= 0) {
            if (old && fchmod(out->file, old->st_mode & 07777) < 0) errno = 0; /* then it has a mode of its own */
            return 0;
        }
        if (errno != EEXIST) return -1;
    }
    return -1;
}

int io_out_open(struct out *out, const char *path, struct report *report) {
    struct stat about;
    out->path = path, out->file = -1, out->error = 0, out->used = 0, out->target[0] = 0, out->temporary[0] = 0;
    const bool there = stat(path, &about) == 0;
    if (there && S_ISDIR(about.st_mode)) return io_fail(report, FLOW_ERROR_IO, path, "cannot be written: it is a folder");
    if (there && !S_ISREG(about.st_mode)) out->file = open(path, O_WRONLY | O_CLOEXEC);
    else {
        char whole[PATH_MAX];
        const char *target = there && realpath(path, whole) ? whole : path; /* a link is followed, not replaced */
        if (strlen(target) >= sizeof out->target) errno = ENAMETOOLONG;
        else {
            strcpy(out->target, target);
            if (open_beside(out, there ? &about : NULL) < 0) out->file = -1;
        }
    }
    return out->file >= 0 ? FLOW_OK : io_fail(report, FLOW_ERROR_IO, path, "cannot be written: %s", strerror(errno));
}

static void write_all(struct out *out, const uint8_t *bytes, size_t size) {
    while (size && !out->error) {
        const ssize_t n = write(out->file, bytes, size < (1u << 30) ? size : 1u << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) out->error = n < 0 ? errno : EIO;
        else bytes += n, size -= (size_t)n;
    }
}

static void flush(struct out *out) {
    write_all(out, out->buffer, out->used);
    out->used = 0;
}

void io_out_put(struct out *out, const void *bytes, size_t size) {
    if (size > OUT_BUFFER - out->used) flush(out);
    if (size > OUT_BUFFER) write_all(out, bytes, size);
    else if (size) {
        memcpy(out->buffer + out->used, bytes, size);
        out->used += size;
    }
}

void io_out_format(struct out *out, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) out->error = EINVAL;
    else io_out_put(out, text, (size_t)length);
}

bool io_walk_init(struct walk *walk, const struct flow_tensor *tensor) {
    *walk = (struct walk){.tensor = tensor, .bytes = dtype_bytes(tensor->dtype)};
    return io_elements(tensor->rank, tensor->shape, &walk->left);
}

const void *io_walk_next(struct walk *walk) {
    const struct flow_tensor *t = walk->tensor;
    if (walk->left == 0) return NULL;
    const void *at = (const char *)t->data + walk->offset * walk->bytes;
    if (--walk->left == 0) return at;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        if (++walk->index[i] < t->shape[i]) {
            walk->offset += t->strides[i];
            break;
        }
        walk->offset -= t->strides[i] * (t->shape[i] - 1);
        walk->index[i] = 0;
    }
    return at;
}

static bool contiguous(const struct flow_tensor *tensor) {
    int64_t stride = 1;
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->strides[i] != stride) return false;
        stride *= tensor->shape[i];
    }
    return true;
}

void io_out_tensor(struct out *out, const struct flow_tensor *tensor) {
    struct walk walk;
    if (!io_walk_init(&walk, tensor)) out->error = EOVERFLOW;
    else if (walk.left && contiguous(tensor)) io_out_put(out, tensor->data, (size_t)(walk.left * walk.bytes));
    else
        for (const void *at; !out->error && (at = io_walk_next(&walk));) io_out_put(out, at, (size_t)walk.bytes);
}

/* Makes the new name last. A file system that cannot flush folders is not an error. */
static void flush_folder(const char *path) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    if (length) memcpy(folder, path, length);
    strcpy(folder + length, length ? "" : ".");
    const int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return;
    while (fsync(file) < 0 && errno == EINTR) {}
    close(file);
}

int io_out_close(struct out *out, int status, struct report *report) {
    const bool beside = out->temporary[0];
    if (status == FLOW_OK) flush(out);
    if (status == FLOW_OK && !out->error && beside && fsync(out->file) < 0) out->error = errno;
    if (close(out->file) < 0 && !out->error && errno != EINTR) out->error = errno;
    if (status == FLOW_OK && !out->error && beside) {
        if (rename(out->temporary, out->target) < 0) out->error = errno;
        else {
            flush_folder(out->target);
            return FLOW_OK;
        }
    }
    if (beside) unlink(out->temporary);
    if (status == FLOW_OK && out->error) status = io_fail(report, FLOW_ERROR_IO, out->path, "cannot be written: %s", strerror(out->error));
    return status;
}
