/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A steady single-thread run makes no allocation, takes no lock and makes no system call. Each case below opens a graph, makes some runs
 * until everything has its place, and then many in which all three are counted:
 *   - allocations: of the runtime by its own allocator, and of anybody by malloc, calloc, realloc and free, which this program defines
 *   - locks: by pthread_mutex_lock and its kin, which this program defines, too
 *   - system calls: by a seccomp filter that lets only what ends the process through and hands every other call to a signal handler;
 *     `steady --markers` leaves the filter out and calls getppid before and after instead, for strace
 *     steady FOLDER_OF_GRAPHS PLUGIN_FOLDER [--markers] [CASE]
 */
#include <dlfcn.h>
#include <errno.h>
#include <flow/flow.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { RUNS = 300, SAMPLES = 160 };

/* ---- What is counted ---- */

static atomic_bool counting;
static atomic_long allocations, locks, calls, last_call;

static void count(atomic_long *what) {
    if (atomic_load(&counting)) atomic_fetch_add(what, 1);
}

/* What the C library itself calls them. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);
void *malloc(size_t size) { return count(&allocations), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return count(&allocations), __libc_calloc(n, size); }
void *realloc(void *block, size_t size) { return count(&allocations), __libc_realloc(block, size); }
void free(void *block) { count(&allocations), __libc_free(block); }

#define LOCK(name, type)                                              \
    int name(type *lock) {                                            \
        static int (*real)(type *);                                   \
        if (!real) *(void **)(void *)&real = dlsym(RTLD_NEXT, #name); \
        count(&locks);                                                \
        return real(lock);                                            \
    }
LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCK(pthread_cond_signal, pthread_cond_t)
LOCK(pthread_cond_broadcast, pthread_cond_t)

static void *resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context, (void)old_size;
    count(&allocations);
    if (new_size == 0) return __libc_free(block), NULL;
    return __libc_realloc(block, new_size);
}

static void trapped(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    atomic_store(&last_call, info->si_syscall);
    count(&calls);
}

/* From here on every system call is trapped but exit_group and the handler's return. */
static int trap_calls(void) {
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sock_filter rows[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rows / sizeof *rows, rows};
    if (sigaction(SIGSYS, &action, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* ---- The cases ---- */

struct one {
    const char *name, *file; /* file NULL: text */
    const char *text, *stream, *input, *feedback;
    int32_t dtype, rank, warm;
    int64_t shape[3];
    bool bound; /* the output "y" goes to memory of ours */
};

static const char lstm[] = "flow: 1\nseed: 3\ninputs: {x: {dtype: f32, shape: [B, T, 40]}}\nnodes:\n"
                           "  l: {op: lstm, in: x, with: {units: 128}}\n  h: {op: linear, in: l, with: {units: 30}}\n"
                           "  y: {op: softmax, in: h}\noutputs: {y: y}\n";
static const char mixed[] =
    "flow: 1\nseed: 3\ninputs: {x: {dtype: f32, shape: [B, T, 64]}}\nnodes:\n"
    "  n: {op: layer_norm, in: x}\n  a: {op: attention, in: [n, n, n], with: {heads: 4}}\n  r: {op: add, in: [x, a]}\n"
    "  u: {op: linear, in: r, with: {units: 256}}\n  g: {op: gelu, in: u}\n"
    "  d: {op: linear, in: g, with: {units: 64}}\n  y: {op: add, in: [r, d]}\noutputs: {y: y}\n";
static const char filter[] =
    "flow: 1\nseed: 3\ninputs: {x: {dtype: f32, shape: [B, 3, T]}}\nnodes:\n"
    "  c: {op: conv1d, in: x, with: {units: 32, kernel: 9, padding: causal}}\n  y: {op: relu, in: c}\noutputs: {y: y}\n";

static const struct one cases[] = {
    {"fsmn-vad", "fsmn-vad/fsmn-vad.yaml", NULL, "S", "wave", NULL, FLOW_F32, 2, 200, {1, SAMPLES}, false},
    {"silero-vad", "silero-vad/silero-vad.yaml", NULL, "S", "wave", NULL, FLOW_F32, 2, 200, {1, 512}, false},
    {"lstm", NULL, lstm, "T", "x", NULL, FLOW_F32, 3, 20, {1, 1, 40}, false},
    {"lstm, whole", NULL, lstm, NULL, "x", NULL, FLOW_F32, 3, 20, {2, 50, 40}, true},
    {"transformer block", NULL, mixed, NULL, "x", NULL, FLOW_F32, 3, 20, {1, 96, 64}, true},
    {"convolution", NULL, filter, "T", "x", NULL, FLOW_F32, 3, 20, {1, 3, 64}, true},
    /* Attention's memory doubles as it fills: the sequence before has made room for this one. */
    {"stories260k", "stories260k/stories260k.yaml", NULL, "T", "tokens", "next", FLOW_I64, 2, 300, {1, 1}, false},
    {"char-lm", "char-lm/write.yaml", NULL, "T", "tokens", "next", FLOW_I64, 2, 300, {1, 1}, false},
};
enum { CASES = sizeof cases / sizeof *cases };

static int64_t data[4 * 96 * 64];
static float output[4 * 96 * 256];

static void fill(const struct flow_tensor *t, int64_t run) {
    for (int64_t i = 0; i < flow_tensor_count(t); i++) {
        if (t->dtype == FLOW_F32) ((float *)t->data)[i] = (float)((i * 37 + run * 11) % 101) / 200 - 0.25f;
        else ((int64_t *)t->data)[i] = 1 + (i + run) % 50;
    }
}

static int fail(const char *name, flow_errors *errors) {
    struct flow_error error = flow_errors_get(errors, 0);
    fprintf(stderr, "%s: %s:%d: %s\n", name, error.file ? error.file : "", error.line, error.text);
    return 1;
}

/* Everything is set up, warm and bound. */
static int prepare(const struct one *one, const char *folder, const char *plugins, flow_errors **errors, flow_session **session) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = plugins, .resize = resize};
    struct flow_session_options how = {.size = sizeof how, .stream = one->stream};
    flow_runtime *runtime;
    flow_graph *graph;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, one->file ? one->file : "case.yaml");
    struct flow_tensor t = flow_tensor_of(data, one->dtype, one->rank, one->shape);
    int rc = flow_runtime_new(&options, errors, &runtime);
    if (rc == 0 && one->file) rc = flow_graph_open(runtime, path, NULL, errors, &graph);
    else if (rc == 0) rc = flow_graph_parse(runtime, path, one->text, strlen(one->text), NULL, errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, &how, errors, session);
    if (rc == 0) rc = flow_session_input(*session, one->input, &t, errors);
    if (rc == 0 && one->feedback) rc = flow_session_feedback(*session, one->input, one->feedback, errors);
    if (rc == 0 && one->bound) rc = flow_session_bind_output(*session, "y", output, sizeof output, errors);
    fill(&t, 0);
    for (int64_t run = 0; rc == 0 && run < one->warm; run++) {
        if (one->dtype == FLOW_F32) fill(&t, run);
        rc = flow_session_run(*session, errors);
    }
    return rc;
}

/* The counted runs: binding an input and reading an output are part of them. */
static int steady(const struct one *one, flow_session *session, flow_errors **errors) {
    struct flow_tensor t = flow_tensor_of(data, one->dtype, one->rank, one->shape);
    int rc = 0;
    if (one->stream) flow_session_reset(session); /* a new sequence; what is planned and the room that there is stay */
    for (int64_t run = 0; rc == 0 && run < RUNS; run++) {
        if (one->dtype == FLOW_F32) fill(&t, run);
        if (!one->feedback) rc = flow_session_input(session, one->input, &t, errors);
        if (rc == 0) rc = flow_session_run(session, errors);
        if (rc == 0 && !flow_session_output_at(session, 0)) rc = FLOW_ERROR_INTERNAL;
    }
    return rc;
}

struct counts {
    long runs, allocations, locks, calls, last_call;
};

static int run_case(const struct one *one, const char *folder, const char *plugins, bool markers, struct counts *counts) {
    flow_errors *errors = NULL;
    flow_session *session;
    if (prepare(one, folder, plugins, &errors, &session) < 0) return fail(one->name, errors);
    if (!markers && trap_calls() < 0) return perror("seccomp"), 1;
    if (markers) (void)syscall(SYS_getppid);
    atomic_store(&counting, true);
    int rc = steady(one, session, &errors);
    atomic_store(&counting, false);
    if (markers) (void)syscall(SYS_getppid);
    *counts = (struct counts){rc == 0 ? RUNS : -1, allocations, locks, calls, last_call};
    return 0;
}

/* Does counting count? A lock, an allocation and a system call of ours must be seen. */
static int counters_count(struct counts *counts) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    void *volatile block = malloc(1); /* the C library's heap is there */
    free(block);
    if (trap_calls() < 0) return perror("seccomp"), 1;
    atomic_store(&counting, true);
    pthread_mutex_lock(&lock);
    block = malloc(1);
    free(block);
    (void)syscall(SYS_getppid);
    atomic_store(&counting, false);
    *counts = (struct counts){RUNS, allocations, locks, calls, last_call};
    return 0;
}

/* In a process of its own, since a filter stays. */
static bool apart(const struct one *one, const char *folder, const char *plugins, bool markers, struct counts *counts) {
    fflush(NULL);
    *counts = (struct counts){0};
    pid_t child = fork();
    if (child == 0) _exit(one ? run_case(one, folder, plugins, markers, counts) : counters_count(counts));
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int word_count, char **words) {
    if (word_count < 3) return fprintf(stderr, "usage: steady FOLDER_OF_GRAPHS PLUGIN_FOLDER [--markers] [CASE]\n"), 2;
    bool markers = word_count > 3 && strcmp(words[3], "--markers") == 0;
    const char *wanted = word_count > 3 + markers ? words[3 + markers] : NULL;
    struct counts *counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED) return perror("mmap"), 1;
    int failed = 0;
    if (!markers && (!apart(NULL, NULL, NULL, false, counts) || counts->allocations != 2 || counts->locks != 1 || counts->calls != 1)) {
        printf("FAIL  the counters saw %ld allocations (2), %ld locks (1), %ld system calls (1)\n", counts->allocations, counts->locks,
               counts->calls);
        failed++;
    }
    for (int i = 0; i < CASES; i++) {
        if (wanted && strcmp(wanted, cases[i].name) != 0) continue;
        bool ran = apart(&cases[i], words[1], words[2], markers, counts) && counts->runs == RUNS;
        bool good = ran && counts->allocations == 0 && counts->locks == 0 && counts->calls == 0;
        if (!good) failed++;
        printf("%s  %-18s %ld runs: %ld allocations, %ld locks, %ld system calls", good ? "ok  " : "FAIL", cases[i].name, counts->runs,
               counts->allocations, counts->locks, counts->calls);
        printf(counts->calls ? " (the last: %ld)\n" : "\n", counts->last_call);
    }
    return failed > 0;
}
