/* SPDX-License-Identifier: MIT */
/*
 * The messages of RFC 5769 (2.1 to 2.4) and of RFC 8489 B.1, the latter with its erratum, in
 * hexadecimal.
 */
#ifndef ADIT_TESTS_STUN_VECTORS_H
#define ADIT_TESTS_STUN_VECTORS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* RFC 5769 2.1: a request of ICE, short-term, password VECTOR_PASSWORD. */
static const char vector_request[] =
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c"
    "69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a683676"
    "59202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/* 2.2 and 2.3: the responses, 192.0.2.1:32853 and [2001:db8:1234:5678:11:2233:4455:6677]:32853. */
static const char vector_ipv4[] =
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96";
static const char vector_ipv6[] =
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf1"
    "1784c97c8292c275bfe3ed4180280004c8fb0b4c";
/* 2.4: long-term, and RFC 8489 B.1: with USERHASH, PASSWORD-ALGORITHM and SHA-256. */
static const char vector_long_term[] =
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383"
    "e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679"
    "363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e071"
    "2e85c9a28ca89666";
static const char vector_sha256[] =
    "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c678"
    "0417da0f24819415569e60b205c46e41407f1704001500296f624d61744a6f7332414141"
    "43662f2f3439396b39353464364f4c33346f4c394653547679363473410000000014000b"
    "6578616d706c652e6f726700001d000400020000001c0020b5c7bf005b6c52a21c51c5e8"
    "92f81924136296cb927c43149309278cc6518e65";

#define VECTOR_PASSWORD "VOkJxbRl1RmTxUk/WvJxBt"
/* "Matrix" in katakana. */
#define VECTOR_USER          "\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9"
#define VECTOR_REALM         "example.org"
#define VECTOR_LONG_PASSWORD "TheMatrIX"

/* Length. */
static inline size_t unhex(const char *hex, uint8_t *bytes)
{
    size_t len = 0;

    for (unsigned byte; sscanf(hex + 2 * len, "%2x", &byte) == 1;)
        bytes[len++] = (uint8_t)byte;
    return len;
}

#endif
