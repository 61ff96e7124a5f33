/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_graphs SEED SECONDS FOLDER: hostile graph files for so long, each of a seed of its own; SECONDS 0: every attribute of every operator
 * at its worst, once. A graph that ends the process (a sanitizer's finding, a signal, no end) is kept in FOLDER, and it goes on
 * with the next. Exit status: 0 if there was none.
 */
#include "fuzz/hostile.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What outlives a process that ends early. */
struct progress {
    volatile long trial;
    volatile size_t length;
    char text[HOSTILE_ROOM + 256];
};

static struct hostile hostile;
static struct progress *progress;
enum { PATIENCE = 5, END = 30 }; /* seconds of processor time: then it is cancelled, then it hangs */

static volatile int rung;

static void set_alarm(long seconds) { setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = seconds}}, NULL); }

static void on_alarm(int signal_number) {
    (void)signal_number;
    if (rung++) abort();
    if (hostile.session) flow_session_cancel(hostile.session);
    set_alarm(END);
}

static void one(void) {
    struct timespec a, b;
    memcpy(progress->text, hostile.text, hostile.length);
    progress->length = hostile.length;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    rung = 0;
    set_alarm(PATIENCE);
    hostile_try(&hostile);
    set_alarm(0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double took = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    if (took > 2) fprintf(stderr, "slow, %.1f s:\n%s\n", took, hostile.text);
    if (hostile.limited.wrong_size) fprintf(stderr, "a block was freed by a wrong size\n"), abort();
}

/* In a process of its own: trials from `first` on. */
static int work(uint64_t seed, time_t end, long first) {
    signal(SIGPROF, on_alarm);
    if (hostile_open(&hostile) < 0) return 1;
    for (long trial = first; end ? time(NULL) < end : true; trial++) {
        progress->trial = trial;
        hostile.draw.state = seed * 1000003u + (uint64_t)trial;
        if (end) hostile_make(&hostile);
        else if (!hostile_worst(&hostile, trial)) break;
        one();
    }
    fprintf(stderr, "%ld graphs: %ld opened, %ld checked, %ld runs held; most memory %zu\n", progress->trial, hostile.opened,
            hostile.checked, hostile.ran, hostile.limited.most);
    hostile_close(&hostile);
    if (hostile.limited.blocks) return fprintf(stderr, "%ld blocks are left\n", hostile.limited.blocks), 1;
    return 0;
}

static void keep(const char *folder, uint64_t seed) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%llu-%ld.yaml", folder, (unsigned long long)seed, progress->trial);
    fprintf(stderr, "trial %ld ends the process: %s\n", progress->trial, path);
    FILE *file = fopen(path, "wb");
    if (!file) return;
    fwrite(progress->text, 1, progress->length, file);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: fuzz_graphs SEED SECONDS FOLDER\n"), 2;
    uint64_t seed = strtoull(argv[1], NULL, 10);
    time_t end = atol(argv[2]) ? time(NULL) + atol(argv[2]) : 0;
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) return 1;
    int found = 0, status = 0;
    for (long first = 0;; first = progress->trial + 1) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) return work(seed, end, first);
        if (waitpid(child, &status, 0) < 0) return 1;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        found++;
        keep(argv[3], seed);
        if (end && time(NULL) >= end) break;
    }
    return found > 0;
}
