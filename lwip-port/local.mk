# SPDX-License-Identifier: MIT
#
# lwIP's own source lies outside our tree and is compiled unmodified, with our lwipopts.h, into
# lwip-port/liblwip.a. Its warnings are its own affair; hardening and sanitizers apply to it.

EXTRA_DIST += lwip-port/lwipopts.h lwip-port/arch/cc.h

if HAVE_LWIP

LWIP_LIB = lwip-port/liblwip.a
LWIP_CPPFLAGS = -I$(srcdir)/lwip-port -isystem $(LWIP_DIR)/src/include
AM_CPPFLAGS += $(LWIP_CPPFLAGS)

lwip_names = \
	core/def core/inet_chksum core/init core/ip core/mem core/memp core/netif core/pbuf \
	core/tcp core/tcp_in core/tcp_out core/timeouts \
	core/ipv4/icmp core/ipv4/ip4 core/ipv4/ip4_addr \
	core/ipv6/icmp6 core/ipv6/inet6 core/ipv6/ip6 core/ipv6/ip6_addr core/ipv6/nd6
lwip_objects = $(lwip_names:%=lwip-port/lwip/%.o)

$(lwip_objects): lwip-port/lwip/%.o: $(LWIP_DIR)/src/%.c \
		lwip-port/lwipopts.h lwip-port/lwip_port_hooks.h lwip-port/arch/cc.h
	@$(MKDIR_P) $(@D)
	$(AM_V_CC)$(CC) $(DEFS) $(LWIP_CPPFLAGS) -D_GNU_SOURCE= $(HARD_CPPFLAGS) $(CPPFLAGS) \
		-std=gnu11 -w $(HARD_CFLAGS) $(SAN_CFLAGS) $(LTO_CFLAGS) $(CFLAGS) -c -o $@ $<

$(LWIP_LIB): $(lwip_objects)
	$(AM_V_AR)rm -f $@ && $(AR) $(ARFLAGS) $@ $(lwip_objects) && $(RANLIB) $@

libadit_a_SOURCES += \
	lwip-port/lwip_port.c \
	lwip-port/lwip_port.h \
	lwip-port/lwip_port_hooks.h

check_PROGRAMS += tests/unit/test-lwip
tests_unit_test_lwip_SOURCES = tests/unit/test_lwip.c

CLEANFILES += $(LWIP_LIB) $(lwip_objects)

endif
