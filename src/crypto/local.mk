# SPDX-License-Identifier: MIT

libadit_a_SOURCES += \
	src/crypto/base32.c src/crypto/base32.h \
	src/crypto/hash.c src/crypto/hash.h \
	src/crypto/identity.c src/crypto/identity.h src/crypto/identity_int.h \
	src/crypto/preface.c src/crypto/preface.h \
	src/crypto/seal.c src/crypto/seal.h \
	src/crypto/tls_client.c src/crypto/tls_client.h \
	src/crypto/tls_context.c src/crypto/tls_context.h \
	src/crypto/tls_handshake.c src/crypto/tls_handshake.h \
	src/crypto/tls_record.c src/crypto/tls_record.h \
	src/crypto/tls_socket.c src/crypto/tls_socket.h

check_PROGRAMS += tests/unit/test-hash tests/unit/test-identity tests/unit/test-seal \
	tests/unit/test-tls-context tests/unit/test-tls-record
tests_unit_test_hash_SOURCES = tests/unit/test_hash.c
tests_unit_test_identity_SOURCES = tests/unit/test_identity.c
tests_unit_test_seal_SOURCES = tests/unit/test_seal.c tests/unit/seal_by_hand.h
tests_unit_test_tls_context_SOURCES = tests/unit/test_tls_context.c
tests_unit_test_tls_record_SOURCES = tests/unit/test_tls_record.c

fuzz_targets += tests/fuzz/fuzz-preface tests/fuzz/fuzz-seal tests/fuzz/fuzz-tls-record
tests_fuzz_fuzz_preface_SOURCES = tests/fuzz/fuzz_preface.c
tests_fuzz_fuzz_seal_SOURCES = tests/fuzz/fuzz_seal.c
tests_fuzz_fuzz_tls_record_SOURCES = tests/fuzz/fuzz_tls_record.c
