/* SPDX-License-Identifier: Apache-2.0 */
/* spawn N PROGRAM ARGUMENT...: runs the program N times, its output thrown away, and prints the least wall clock time and the least
 * processor time in microseconds and the largest resident size in KiB. A process of its own, since a child's size counts from its parent's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int main(int count, char **arguments) {
    double wall = 1e30, cpu = 1e30;
    long size = 0;
    if (count < 3) return 2;
    for (int i = 0; i < atoi(arguments[1]); i++) {
        struct rusage used;
        int status = 0;
        double start = now();
        pid_t child = fork();
        if (child == 0) {
            dup2(open("/dev/null", O_WRONLY), 1);
            execv(arguments[2], arguments + 2);
            _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &used) < 0 || status) return 1;
        double took = now() - start;
        double busy = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
        if (took < wall) wall = took;
        if (busy < cpu) cpu = busy;
        if (used.ru_maxrss > size) size = used.ru_maxrss;
    }
    printf("%.0f %.0f %ld\n", wall, cpu, size);
    return 0;
}
