/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in graphs, messages and files have a point, whatever the application's locale says. */
#ifndef FLOW_BASE_PLAIN_H
#define FLOW_BASE_PLAIN_H

/* This thread reads and writes numbers plainly until plain_end, which is given what plain_begin returned. Calls may be nested. */
void *plain_begin(void);
void plain_end(void *before);

#endif
