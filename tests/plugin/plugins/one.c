/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled many times, with PLUGIN and OPERATOR (and ABI) given by the build. */
#include "one.h"
