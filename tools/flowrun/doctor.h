/* SPDX-License-Identifier: Apache-2.0 */
/* Findings of `flowrun doctor`: rows of a section, some with advice. */
#ifndef FLOWRUN_DOCTOR_H
#define FLOWRUN_DOCTOR_H

#include "flowrun/command.h"

enum finding_state { FINDING_GOOD, FINDING_NOTE, FINDING_WRONG }; /* NOTE: may surprise, is no fault */

struct finding {
    const char *section; /* a literal */
    char name[64];
    char value[512];
    char advice[512]; /* what to do; "" */
    enum finding_state state;
};

struct findings {
    struct finding *at;
    size_t count;
    bool failed; /* memory ran out: some are missing */
};

/* Adds a row, with `format` as its value; advice is added to it by finding_advise. */
void finding_add(struct findings *findings, const char *section, const char *name, enum finding_state state, const char *format, ...)
    __attribute__((format(__printf__, 5, 6)));
void finding_advise(struct findings *findings, const char *format, ...) __attribute__((format(__printf__, 2, 3))); /* on the last row */

/* doctor_machine.c */
void doctor_program(struct findings *findings);
void doctor_processor(struct findings *findings, const struct flow_machine *machine);
void doctor_memory(struct findings *findings);
void doctor_cuda(struct findings *findings);
void doctor_terminal(struct findings *findings);

#endif
