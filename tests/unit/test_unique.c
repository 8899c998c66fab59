/* SPDX-License-Identifier: MIT */
/* Theory of operation: the hash against its authors' vectors, the filter's memory against a list,
 * and the filter on a pipe. */
#include "pipe_recorder.h"

#include "pipe/pair.h"
#include "pipe/unique.h"

/* From the paper's appendix A, and the reference implementation's first vectors. */
static void siphash_vectors(void **state)
{
    (void)state;
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t message[16];

    for (uint8_t i = 0; i < sizeof(message); i++)
        message[i] = i;
    assert_true(unique_hash(key, message, 15, NULL) == UINT64_C(0xa129ca6149be45e5));
    assert_true(unique_hash(key, message, 0, NULL) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(unique_hash(key, message, 1, NULL) == UINT64_C(0x74f839c593dc67fd));
    assert_true(unique_hash(key, message, 8, NULL) == UINT64_C(0x93f5f5799a932462));
}

/* The source counts; and how the pieces are cut does not matter. */
static void source_and_message_make_the_hash(void **state)
{
    (void)state;
    const uint64_t key[2] = {1, 2};
    struct addr a = addr_loopback(AF_INET, 1), b = addr_loopback(AF_INET, 2),
                c = addr_loopback(AF_INET6, 1);

    assert_true(unique_hash(key, "m", 1, &a) == unique_hash(key, "m", 1, &a));
    assert_true(unique_hash(key, "m", 1, &a) != unique_hash(key, "m", 1, &b));
    assert_true(unique_hash(key, "m", 1, &a) != unique_hash(key, "m", 1, &c));
    assert_true(unique_hash(key, "m", 1, &a) != unique_hash(key, "n", 1, &a));
    assert_true(unique_hash(key, "m", 1, NULL) != unique_hash(key, "m", 1, &a));
}

static void remembers_exactly_the_last(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 64, 1000};
    struct loop *loop = loop_new_virtual(3);
    static const uint8_t seed[16] = "sixteen bytes!!";

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct unique *unique = unique_new(sizes[s], seed);
        uint32_t *last = calloc(sizes[s], sizeof(*last)), count = 0, next = 0;

        for (int i = 0; i < 6000; i++) {
            uint32_t value = (uint32_t)(loop_random64(loop) % (2 * sizes[s] + 1));
            bool known = false;

            for (uint32_t k = 0; k < count; k++)
                known |= last[k] == value;
            assert_int_equal(unique_add(unique, &value, sizeof(value), NULL), !known);
            if (known)
                continue;
            last[next] = value;
            next = (next + 1) % sizes[s];
            if (count < sizes[s])
                count++;
        }
        free(last);
        unique_free(unique);
    }
    assert_null(unique_new(UNIQUE_MAX + 1, seed));
    struct unique *by_default = unique_new(0, seed);
    for (int i = 0; i <= UNIQUE_DEFAULT; i++)
        assert_true(unique_add(by_default, &i, sizeof(i), NULL));
    int first = 0, second = 1;
    assert_false(unique_add(by_default, &second, sizeof(second), NULL));
    assert_true(unique_add(by_default, &first, sizeof(first), NULL)); /* forgotten */
    unique_free(by_default);
    unique_free(NULL);
    loop_free(loop);
}

static void a_pipe_drops_duplicates(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct pipe *ends[2], *streams[2];
    struct recorder heard = {0};

    pair_new(loop, &(struct pair_options){.messages = true}, ends);
    record(&heard, ends[1]);
    assert_int_equal(pipe_drop_duplicates(ends[1], UNIQUE_MAX + 1), -EINVAL);
    assert_int_equal(pipe_drop_duplicates(ends[1], 2), 0);
    assert_int_equal(pipe_drop_duplicates(ends[1], 2), -EALREADY);
    for (int i = 0; i < 3; i++)
        write_text(ends[0], "a");
    write_text(ends[0], "b");
    write_text(ends[0], "a");
    write_text(ends[0], "c"); /* forgets a */
    write_text(ends[0], "a");
    run_dry(loop);
    assert_string_equal(heard.text, "abca");
    assert_int_equal(pipe_duplicates(ends[1]), 3);
    assert_int_equal(pipe_duplicates(ends[0]), 0);
    pair_new(loop, NULL, streams);
    assert_int_equal(pipe_drop_duplicates(streams[0], 0), -ENOTSUP);
    for (int i = 0; i < 2; i++) {
        pipe_abort(ends[i], -ECANCELED);
        pipe_abort(streams[i], -ECANCELED);
    }
    run_dry(loop);
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors),
        cmocka_unit_test(source_and_message_make_the_hash),
        cmocka_unit_test(remembers_exactly_the_last),
        cmocka_unit_test(a_pipe_drops_duplicates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
