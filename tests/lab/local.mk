# SPDX-License-Identifier: MIT
#
# The wire: an emulated router with NAT and a link; see README.md. It is built by `make', too, so
# that the lab can be run by hand.

noinst_PROGRAMS += tests/lab/wire
check_LIBRARIES += tests/lab/libwire.a
tests_lab_libwire_a_SOURCES = tests/lab/chance.h tests/lab/packet.c tests/lab/packet.h \
	tests/lab/link.c tests/lab/link.h tests/lab/nat.c tests/lab/nat.h \
	tests/lab/settings.c tests/lab/settings.h tests/lab/gate.c tests/lab/gate.h \
	tests/lab/control.c tests/lab/control.h

tests_lab_wire_SOURCES = tests/lab/wire.c
tests_lab_wire_LDADD = tests/lab/libwire.a $(JANSSON_LIBS)

check_PROGRAMS += tests/unit/test-wire tests/unit/test-wire-line
tests_unit_test_wire_SOURCES = tests/unit/test_wire.c tests/unit/wire_world.c tests/unit/wire_world.h
tests_unit_test_wire_LDADD = tests/lab/libwire.a $(JANSSON_LIBS) $(CMOCKA_LIBS)
tests_unit_test_wire_line_SOURCES = tests/unit/test_wire_line.c tests/unit/wire_world.c \
	tests/unit/wire_world.h
tests_unit_test_wire_line_LDADD = $(tests_unit_test_wire_LDADD)

# What strangers say (hostile.py).
noinst_PROGRAMS += tests/lab/knock
tests_lab_knock_SOURCES = tests/lab/knock.c
tests_lab_knock_LDADD = libadit.a $(LWIP_LIB) $(ADIT_LIBS)
