# SPDX-License-Identifier: MIT

libadit_a_SOURCES += \
	src/node/admission.c src/node/direct.c src/node/exit.c src/node/finder.c \
	src/node/forward.c src/node/forward.h src/node/greet.c src/node/inlet.c src/node/inlet.h \
	src/node/invite.c src/node/lent.c src/node/listen.c src/node/listen.h src/node/lookup.c src/node/node.c src/node/node.h \
	src/node/node_int.h src/node/offer.c src/node/outlet.c src/node/peer.c src/node/ping.c \
	src/node/reach.c src/node/route.c src/node/serve.c src/node/standby.c \
	src/node/status.c src/node/trouble.c

check_PROGRAMS += tests/unit/test-node
tests_unit_test_node_SOURCES = tests/unit/test_node.c tests/unit/node_sides.h
check_PROGRAMS += tests/unit/test-admission
tests_unit_test_admission_SOURCES = tests/unit/test_admission.c tests/unit/node_sides.h

check_PROGRAMS += tests/unit/test-forward
tests_unit_test_forward_SOURCES = tests/unit/test_forward.c tests/unit/node_sides.h
