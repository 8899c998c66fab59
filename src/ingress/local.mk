# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/ingress/front.c src/ingress/front.h src/ingress/front_int.h \
	src/ingress/front_listener.c src/ingress/outlet.h \
	src/ingress/socks.c src/ingress/socks.h src/ingress/socks_conn.c \
	src/ingress/http.c src/ingress/http.h src/ingress/http_conn.c src/ingress/http_int.h \
	src/ingress/http_page.c src/ingress/http_page.h \
	src/ingress/http_rewrite.c src/ingress/http_rewrite.h src/ingress/http_stream.c \
	src/ingress/users.c src/ingress/users.h

check_PROGRAMS += tests/unit/test-socks tests/unit/test-http tests/unit/test-front
tests_unit_test_socks_SOURCES = tests/unit/test_socks.c
tests_unit_test_http_SOURCES = tests/unit/test_http.c
tests_unit_test_front_SOURCES = tests/unit/test_front.c tests/unit/front_fake.h
check_PROGRAMS += tests/unit/test-http-proxy
tests_unit_test_http_proxy_SOURCES = tests/unit/test_http_proxy.c tests/unit/front_fake.h

fuzz_targets += tests/fuzz/fuzz-socks tests/fuzz/fuzz-http tests/fuzz/fuzz-front
tests_fuzz_fuzz_socks_SOURCES = tests/fuzz/fuzz_socks.c
tests_fuzz_fuzz_http_SOURCES = tests/fuzz/fuzz_http.c
tests_fuzz_fuzz_front_SOURCES = tests/fuzz/fuzz_front.c
