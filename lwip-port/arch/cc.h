/* SPDX-License-Identifier: MIT */
/* What lwIP wants to know about the compiler and the platform. lwIP's own defaults, taken from
 * <stdint.h> and <inttypes.h>, are right for the integer types and their formats. */
#ifndef ADIT_LWIP_ARCH_CC_H
#define ADIT_LWIP_ARCH_CC_H

#include <endian.h>
#include <stdio.h>

#include "lwip_port_hooks.h"

#ifndef BYTE_ORDER
#error "<endian.h> does not define BYTE_ORDER"
#endif

/* lwIP takes errno and struct timeval from the system. */
#define LWIP_ERRNO_STDINCLUDE 1
#define LWIP_TIMEVAL_PRIVATE  0

#define LWIP_RAND() lwip_port_random()

/* Only lwIP's debug output, which is not compiled in, would print. */
#define LWIP_PLATFORM_DIAG(x)      \
    do {                           \
        printf x;                  \
    } while (0)
#define LWIP_PLATFORM_ASSERT(text) lwip_port_assert_failed(text, __FILE__, __LINE__)

#endif
