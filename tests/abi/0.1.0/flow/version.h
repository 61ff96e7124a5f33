/* SPDX-License-Identifier: Apache-2.0 */
/* The library's version. ABI and API numbers of plugins are in plugin.h. */
#ifndef FLOW_VERSION_H
#define FLOW_VERSION_H

#define FLOW_VERSION_MAJOR 0
#define FLOW_VERSION_MINOR 1
#define FLOW_VERSION_PATCH 0
#define FLOW_VERSION_TEXT "0.1.0"

#endif
