/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The rate of ordered pipes in virtual time: a path of one round trip without a limit of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stun/ordered_rate.h"

#define RTT_US UINT64_C(40000)
#define PACKET 1200

/* Sends so many packets at once, and has them confirmed a round trip later. */
static void round_trip(struct ordered_rate *rate, uint64_t *now, size_t packets, bool limited)
{
    struct ordered_mark marks[4096];
    size_t flight = 0;

    assert_true(packets <= sizeof(marks) / sizeof(*marks));
    for (size_t i = 0; i < packets; i++) {
        ordered_rate_sent(rate, &marks[i], *now, flight, limited);
        flight += PACKET;
    }
    *now += RTT_US;
    ordered_rate_rtt(rate, *now, RTT_US);
    for (size_t i = 0; i < packets; i++) {
        flight -= PACKET;
        ordered_rate_confirmed(rate, *now, PACKET, &marks[i], flight);
    }
}

static size_t packets_now(const struct ordered_rate *rate)
{
    return ordered_rate_window(rate) / PACKET;
}

/* Single messages say nothing about the path: what follows them starts as fast as ever. */
static void messages_before_a_file(void **state)
{
    (void)state;
    struct ordered_rate rate;
    uint64_t now = 1000000;

    ordered_rate_init(&rate, 0);
    for (int i = 0; i < 50; i++)
        round_trip(&rate, &now, 1, true);
    assert_int_equal(rate.mode, RATE_STARTUP);
    for (int i = 0; i < 4; i++)
        round_trip(&rate, &now, packets_now(&rate), false);
    assert_true(ordered_rate_estimate(&rate) > 20000000);
}

/* A path that carries so much, and no more, ends the start. */
static void full_path(void **state)
{
    (void)state;
    struct ordered_rate rate;
    uint64_t now = 1000000;

    ordered_rate_init(&rate, 0);
    for (int i = 0; i < 6; i++)
        round_trip(&rate, &now, 100, false);
    assert_int_not_equal(rate.mode, RATE_STARTUP);
    assert_in_range(ordered_rate_estimate(&rate), 100 * PACKET * 25 * 9 / 10,
                    100 * PACKET * 25 * 11 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_before_a_file),
        cmocka_unit_test(full_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
