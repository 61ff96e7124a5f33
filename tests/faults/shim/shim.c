/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before a program (LD_PRELOAD), so that a call of the system's fails: the n-th of its kind, or all from the n-th on.
 *   FAULTS_KIND     memory open read short write sync rename close map folder   (short: a read that finds the file's end)
 *   FAULTS_AT       n, from 1; 0: none, calls are counted
 *   FAULTS_LASTING  1: also all calls of the kind after the n-th
 *   FAULTS_TOLD     a file that gets "calls of the kind, blocks of memory that are still held" at the end
 * Reads and writes count where they concern files and the standard streams; what a loop tells its threads does not.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { MEMORY, OPEN, READ, SHORT, WRITE, SYNC, RENAME, CLOSE, MAP, FOLDER, KINDS };
static const char *const names[KINDS] = {"memory", "open", "read", "short", "write", "sync", "rename", "close", "map", "folder"};

static enum kind kind = KINDS;
static long at;
static bool lasting;
static const char *told;
static atomic_long calls, blocks;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTS_KIND"), *number = getenv("FAULTS_AT"), *mode = getenv("FAULTS_LASTING");
    told = getenv("FAULTS_TOLD");
    at = number ? atol(number) : 0;
    lasting = mode && *mode == '1';
    for (int k = 0; name && k < KINDS; k++)
        if (strcmp(name, names[k]) == 0) kind = (enum kind)k;
}

__attribute__((destructor)) static void end(void) {
    char text[64];
    const enum kind was = kind;
    kind = KINDS;
    if (!told || was == KINDS) return;
    const int length = snprintf(text, sizeof text, "%ld %ld\n", atomic_load(&calls), atomic_load(&blocks));
    const long file = syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file >= 0) syscall(SYS_write, file, text, length), syscall(SYS_close, file);
}

/* libuv ends the program where its one handler of forks finds no memory, once a process: nothing that a library on top could mend. */
static _Thread_local bool exempt;

static bool fails(enum kind of, int error) {
    if (of != kind || exempt) return false;
    const long n = atomic_fetch_add(&calls, 1) + 1;
    if (!at || (lasting ? n < at : n != at)) return false;
    errno = error;
    return true;
}

static bool counts(int file) {
    struct stat about;
    if (kind != READ && kind != SHORT && kind != WRITE) return false;
    return fstat(file, &about) == 0 && (S_ISREG(about.st_mode) || file == 0 || file == 1);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name)

/* ---- Memory ---- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void *held(void *block) {
    if (block) atomic_fetch_add(&blocks, 1);
    return block;
}
void *malloc(size_t size) { return fails(MEMORY, ENOMEM) ? NULL : held(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return fails(MEMORY, ENOMEM) ? NULL : held(__libc_calloc(count, size)); }
void *memalign(size_t align, size_t size) { return fails(MEMORY, ENOMEM) ? NULL : held(__libc_memalign(align, size)); }
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **out, size_t align, size_t size) { return (*out = memalign(align, size)) ? 0 : ENOMEM; }
void free(void *block) {
    if (block) atomic_fetch_sub(&blocks, 1);
    __libc_free(block);
}
void *realloc(void *block, size_t size) {
    if (!block) return malloc(size);
    if (fails(MEMORY, ENOMEM)) return NULL;
    void *grown = __libc_realloc(block, size);
    if (!grown && size == 0) atomic_fetch_sub(&blocks, 1);
    return grown;
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *module);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *module) {
    exempt = true; /* also while it is looked for, which takes memory */
    NEXT(__register_atfork);
    const int status = next(prepare, parent, child, module);
    exempt = false;
    return status;
}

/* ---- Files ---- */

static mode_t mode_of(int flags, va_list rest) { return flags & O_CREAT ? va_arg(rest, mode_t) : 0; }
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return fails(OPEN, EMFILE) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open(path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    NEXT(fopen);
    return fails(OPEN, EMFILE) ? NULL : next(path, mode);
}
FILE *fopen64(const char *path, const char *mode) { return fopen(path, mode); }
ssize_t read(int file, void *into, size_t size) {
    if (counts(file) && fails(READ, EIO)) return -1;
    return counts(file) && fails(SHORT, 0) ? 0 : syscall(SYS_read, file, into, size);
}
ssize_t pread(int file, void *into, size_t size, off_t offset) {
    if (counts(file) && fails(READ, EIO)) return -1;
    return counts(file) && fails(SHORT, 0) ? 0 : syscall(SYS_pread64, file, into, size, offset);
}
ssize_t pread64(int file, void *into, size_t size, off64_t offset) { return pread(file, into, size, offset); }
ssize_t readv(int file, const struct iovec *to, int count) {
    NEXT(readv);
    if (counts(file) && fails(READ, EIO)) return -1;
    return counts(file) && fails(SHORT, 0) ? 0 : next(file, to, count);
}
size_t fread(void *into, size_t size, size_t count, FILE *file) {
    NEXT(fread);
    if (counts(fileno(file)) && fails(READ, EIO)) { /* as stdio says it: the stream's own flag */
        const int saved = dup(fileno(file)), none = (int)syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY, 0);
        dup2(none, fileno(file)); /* reading a folder is an error */
        size_t got = next(into, size, count, file);
        dup2(saved, fileno(file));
        syscall(SYS_close, saved), syscall(SYS_close, none);
        errno = EIO;
        return got;
    }
    return counts(fileno(file)) && fails(SHORT, 0) ? 0 : next(into, size, count, file);
}
ssize_t write(int file, const void *bytes, size_t size) {
    return counts(file) && fails(WRITE, ENOSPC) ? -1 : syscall(SYS_write, file, bytes, size);
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
    return counts(file) && fails(WRITE, ENOSPC) ? -1 : syscall(SYS_pwrite64, file, bytes, size, offset);
}
int fflush(FILE *file) {
    NEXT(fflush);
    return file && counts(fileno(file)) && fails(WRITE, ENOSPC) ? EOF : next(file);
}
int fsync(int file) { return fails(SYNC, EIO) ? -1 : (int)syscall(SYS_fsync, file); }
int rename(const char *from, const char *to) { return fails(RENAME, EACCES) ? -1 : (int)syscall(SYS_rename, from, to); }
int close(int file) {
    const int status = (int)syscall(SYS_close, file);
    return status == 0 && fails(CLOSE, EIO) ? -1 : status;
}
int ftruncate(int file, off_t size) { return fails(WRITE, EIO) ? -1 : (int)syscall(SYS_ftruncate, file, size); }
void *mmap(void *where, size_t size, int protection, int flags, int file, off_t offset) {
    return fails(MAP, ENOMEM) ? MAP_FAILED : (void *)syscall(SYS_mmap, where, size, protection, flags, file, offset);
}
void *mmap64(void *where, size_t size, int protection, int flags, int file, off64_t offset) {
    return mmap(where, size, protection, flags, file, offset);
}
int mkdir(const char *path, mode_t mode) { return fails(FOLDER, EACCES) ? -1 : (int)syscall(SYS_mkdir, path, mode); }
DIR *opendir(const char *path) {
    NEXT(opendir);
    return fails(FOLDER, EMFILE) ? NULL : next(path);
}
