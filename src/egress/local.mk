# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/egress/policy.c src/egress/policy.h
check_PROGRAMS += tests/unit/test-policy
tests_unit_test_policy_SOURCES = tests/unit/test_policy.c
fuzz_targets += tests/fuzz/fuzz-policy
tests_fuzz_fuzz_policy_SOURCES = tests/fuzz/fuzz_policy.c

libadit_a_SOURCES += src/egress/dial.c src/egress/dial.h
check_PROGRAMS += tests/unit/test-dial
tests_unit_test_dial_SOURCES = tests/unit/test_dial.c

libadit_a_SOURCES += src/egress/hosts.c src/egress/hosts.h src/egress/resolve.c src/egress/resolve.h
check_PROGRAMS += tests/unit/test-resolve
tests_unit_test_resolve_SOURCES = tests/unit/test_resolve.c tests/unit/dns_server.c tests/unit/dns_server.h
fuzz_targets += tests/fuzz/fuzz-hosts
tests_fuzz_fuzz_hosts_SOURCES = tests/fuzz/fuzz_hosts.c

libadit_a_SOURCES += src/egress/egress.c src/egress/egress.h src/egress/peer.c src/egress/peer.h \
	src/egress/rate.c src/egress/rate.h
check_PROGRAMS += tests/unit/test-rate tests/unit/test-egress
tests_unit_test_rate_SOURCES = tests/unit/test_rate.c
tests_unit_test_egress_SOURCES = tests/unit/test_egress.c tests/unit/dns_server.c tests/unit/dns_server.h
