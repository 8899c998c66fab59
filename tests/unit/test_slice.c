/* SPDX-License-Identifier: MIT */
/* Theory of operation: counts, headroom and pool of blocks; queues against a plain array, with
 * random operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/slice.h"

static void blocks_are_counted_and_reused(void **state)
{
    (void)state;
    size_t before = block_total_bytes();
    struct block *block = block_new();

    assert_int_equal(block->size, BLOCK_BYTES);
    assert_int_equal(block_total_bytes(), before + BLOCK_BYTES);
    assert_ptr_equal(block_start(block), block->data + SLICE_HEADROOM);
    memset(block->data, 0xaa, SLICE_HEADROOM + BLOCK_BYTES); /* all of it is there */
    struct slice slice = {block, block_start(block), 10};
    struct slice more = slice_ref(&slice), part = slice_part(&slice, 4, 3);
    assert_int_equal(block->refs, 3);
    assert_ptr_equal(part.data, slice.data + 4);
    assert_int_equal(part.len, 3);
    slice_drop(&slice);
    assert_null(slice.block);
    slice_drop(&more);
    assert_int_equal(block_total_bytes(), before + BLOCK_BYTES);
    slice_drop(&part);
    slice_drop(&part); /* an empty slice may be dropped */
    assert_int_equal(block_total_bytes(), before);
    struct block *again = block_new();
    assert_ptr_equal(again, block); /* last in, first out */
    block_unref(again);
    block_unref(NULL);
}

static void the_pool_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = BLOCK_POOL_MAX + 10 };
    struct block *blocks[COUNT];

    for (int i = 0; i < COUNT; i++)
        blocks[i] = block_new();
    for (int i = 0; i < COUNT; i++)
        block_unref(blocks[i]);
    block_pool_trim(3);
    block_pool_trim(0);
    assert_int_equal(block_total_bytes(), 0);
}

static void copies_stand_alone(void **state)
{
    (void)state;
    char text[] = "hello";
    struct slice slice = slice_copy(text, 5), empty = slice_copy(NULL, 0);

    text[0] = 'j';
    assert_memory_equal(slice.data, "hello", 5);
    assert_int_equal(empty.len, 0);
    assert_non_null(empty.block);
    slice_drop(&slice);
    slice_drop(&empty);
}

static void queues_drop_empty_slices_and_free_when_empty(void **state)
{
    (void)state;
    struct slice_queue queue = {0};
    struct slice empty = slice_copy(NULL, 0), one = slice_copy("abc", 3);

    slice_queue_push(&queue, &empty);
    assert_int_equal(queue.count, 0);
    assert_null(slice_queue_first(&queue));
    slice_queue_push(&queue, &one);
    assert_null(one.block);
    assert_int_equal(queue.bytes, 3);
    assert_null(slice_queue_at(&queue, 1));
    slice_queue_drop(&queue, 2);
    assert_memory_equal(slice_queue_first(&queue)->data, "c", 1);
    slice_queue_drop(&queue, 100); /* more than there is */
    assert_int_equal(queue.bytes, 0);
    assert_null(queue.ring);
    slice_queue_clear(&queue);
}

/* Only the sole owner of a block may write behind its slice. */
static void appending_never_touches_shared_blocks(void **state)
{
    (void)state;
    struct slice_queue queue = {0};
    struct block *block = block_new();
    struct slice slice = {block, block_start(block), 4}, keep;

    memcpy(slice.data, "abcdefgh", 8);
    keep = slice_part(&slice, 0, 8); /* somebody else holds all eight */
    slice_queue_push(&queue, &slice);
    slice_queue_push_copy(&queue, "XY", 2);
    assert_memory_equal(keep.data, "abcdefgh", 8);
    assert_int_equal(queue.count, 2);
    slice_queue_push_copy(&queue, "Z", 1); /* now the last is ours alone, but it may have no room */
    char buf[8];
    assert_int_equal(slice_queue_peek(&queue, 0, buf, 8), 7);
    assert_memory_equal(buf, "abcdXYZ", 7);
    slice_drop(&keep);
    slice_queue_clear(&queue);
}

static void appending_fills_the_last_block(void **state)
{
    (void)state;
    struct slice_queue queue = {0};
    static uint8_t bytes[3000];

    slice_queue_push_copy(&queue, bytes, 1500);
    for (int i = 0; i < 20; i++)
        slice_queue_push_copy(&queue, bytes, 100);
    assert_int_equal(queue.bytes, 3500);
    assert_int_equal(queue.count, 1);
    slice_queue_clear(&queue);
}

static void moving_keeps_order_and_empties_the_source(void **state)
{
    (void)state;
    for (int had = 0; had < 2; had++) {
        struct slice_queue a = {0}, b = {0};
        char buf[16];

        if (had)
            slice_queue_push_copy(&a, "one", 3);
        for (int i = 0; i < 6; i++) {
            struct slice part = slice_copy("t", 1);
            slice_queue_push(&b, &part);
        }
        slice_queue_move(&a, &b);
        assert_int_equal(b.count, 0);
        assert_int_equal(b.bytes, 0);
        assert_null(b.ring);
        assert_int_equal(a.bytes, had ? 9 : 6);
        size_t n = slice_queue_peek(&a, 0, buf, sizeof(buf));
        assert_memory_equal(buf, had ? "onetttttt" : "tttttt", n);
        slice_queue_clear(&a);
    }
}

static void compacting_unpins_large_blocks(void **state)
{
    (void)state;
    size_t before = block_total_bytes();
    struct slice_queue queue = {0};
    char want[64], got[64];

    for (int i = 0; i < 50; i++) {
        struct block *block = block_new();
        struct slice slice = {block, block_start(block), 1};

        *slice.data = want[i] = (char)('A' + i % 26);
        slice_queue_push(&queue, &slice);
    }
    assert_int_equal(block_total_bytes(), before + (size_t)50 * BLOCK_BYTES);
    slice_queue_compact(&queue);
    assert_true(block_total_bytes() < before + 4096);
    assert_int_equal(queue.bytes, 50);
    assert_int_equal(slice_queue_peek(&queue, 0, got, sizeof(got)), 50);
    assert_memory_equal(got, want, 50);
    slice_queue_clear(&queue);

    for (int i = 0; i < 3; i++) { /* well filled: nothing to gain */
        struct block *block = block_new();
        struct slice slice = {block, block_start(block), BLOCK_BYTES - 10};

        memset(slice.data, i, slice.len);
        slice_queue_push(&queue, &slice);
    }
    struct block *first = slice_queue_first(&queue)->block;
    slice_queue_compact(&queue);
    assert_ptr_equal(slice_queue_first(&queue)->block, first);
    slice_queue_clear(&queue);
    slice_queue_compact(&queue);
}

/* Random operations, set beside one long array. */
static void a_queue_equals_an_array(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(11);
    enum { MAX = 400000 };
    uint8_t *all = malloc(MAX), *buf = malloc(MAX);
    size_t head = 0, tail = 0;
    struct slice_queue queue = {0};

    loop_random(loop, all, MAX);
    for (int i = 0; i < 4000; i++) {
        uint64_t dice = loop_random64(loop);
        size_t size = (dice >> 8) % (dice & 128 ? 300 : 9000);

        if (size > MAX - tail)
            size = MAX - tail;
        switch (dice % 6) {
        case 0:
        case 1:
            slice_queue_push_copy(&queue, all + tail, size);
            tail += size;
            break;
        case 2: {
            struct slice slice = slice_copy(all + tail, size);
            slice_queue_push(&queue, &slice);
            tail += size;
            break;
        }
        case 3:
            if (size > tail - head)
                size = tail - head;
            slice_queue_drop(&queue, size);
            head += size;
            break;
        case 4: {
            struct iovec iov[8];
            size_t sum, at = head;
            int n = slice_queue_iov(&queue, iov, 8, &sum);

            for (int k = 0; k < n; k++) {
                assert_memory_equal(iov[k].iov_base, all + at, iov[k].iov_len);
                at += iov[k].iov_len;
            }
            assert_int_equal(at - head, sum);
            break;
        }
        default:
            slice_queue_compact(&queue);
            break;
        }
        assert_int_equal(queue.bytes, tail - head);
    }
    assert_int_equal(slice_queue_peek(&queue, 0, buf, MAX), tail - head);
    assert_memory_equal(buf, all + head, tail - head);
    assert_int_equal(slice_queue_peek(&queue, 5, buf, 7), tail - head > 12 ? 7 : 0);
    slice_queue_clear(&queue);
    assert_int_equal(block_total_bytes(), 0);
    free(all);
    free(buf);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_counted_and_reused),
        cmocka_unit_test(the_pool_is_bounded),
        cmocka_unit_test(copies_stand_alone),
        cmocka_unit_test(queues_drop_empty_slices_and_free_when_empty),
        cmocka_unit_test(appending_never_touches_shared_blocks),
        cmocka_unit_test(appending_fills_the_last_block),
        cmocka_unit_test(moving_keeps_order_and_empties_the_source),
        cmocka_unit_test(compacting_unpins_large_blocks),
        cmocka_unit_test(a_queue_equals_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
