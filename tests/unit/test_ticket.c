/* SPDX-License-Identifier: MIT */
/* Theory of operation: tickets against the vectors of docs/protocol-ticket.md, there and back, and
 * what is wrong with the wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/ticket.h"

static const char small[] = "adit1aeqaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4hz2hbxr2";
static const char full[] =
    "adit1aeqaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4hyca3aaaaqbcfiqeeraaeg3qaaaaaaaa"
    "aaaaaaaaaabcfiqgdqbxnsxq2lufzsxqylnobwgkba3nvyxi5dthixs6ytsn5vwk4romv4gc3lqnrstuobyhazqkni"
    "3or2xe3r2or2xe3romv4gc3lqnrstumzug44d66b5ovsbamjxgyydambqgaydaotbnruwgzldgjlguy3nkyyamecqk"
    "fjfgvcvkzlvqwk2lnof2xs7a4cgrz3yaaeam26dxrrwqzpp34i22";
/* Items 99 and 200, of a later version. */
static const char unknown[] =
    "adit1aeqaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4h3davwgc5dfoleibftypb4hq6dypb4hq"
    "6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6d"
    "ypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dyp"
    "b4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6dypb4hq6frvnzwm";
static const char empty[] = "adit1jlppfga";
static const char twice[] =
    "adit1aeqaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4hybeaaacaqdaqcqmbyibefawdanbyhra"
    "eiscmkbkfqxdamrugy4dupb7sru7gxa";

static struct ticket small_ticket(void)
{
    struct ticket ticket;

    memset(&ticket, 0, sizeof ticket);
    for (int i = 0; i < NODE_ID_BYTES; i++)
        ticket.id.key[i] = (uint8_t)i;
    return ticket;
}

static struct ticket full_ticket(void)
{
    struct ticket ticket = small_ticket();

    assert_int_equal(target_parse("192.0.2.1:4433", &ticket.reach[0]), 0);
    assert_int_equal(target_parse("[2001:db8::1]:4433", &ticket.reach[1]), 0);
    assert_int_equal(target_parse("exit.example:443", &ticket.reach[2]), 0);
    ticket.reach_count = 3;
    strcpy(ticket.brokers[0], "mqtts://broker.example:8883");
    ticket.broker_count = 1;
    strcpy(ticket.turn[0].url, "turn:turn.example:3478?x=ud");
    strcpy(ticket.turn[0].user, "1760000000:alice");
    strcpy(ticket.turn[0].password, "c2VjcmV0");
    ticket.turn_count = 1;
    ticket.has_secret = true;
    for (int i = 0; i < TICKET_SECRET_BYTES; i++)
        ticket.secret[i] = (uint8_t)(0x50 + i);
    ticket.expiry_s = 1760000000;
    strcpy(ticket.name, "k\xc3\xbc"
                        "che");
    return ticket;
}

static enum ticket_result parse(const char *text, struct ticket *ticket)
{
    return ticket_parse(text, strlen(text), ticket);
}

static void vectors(void **state)
{
    (void)state;
    const struct {
        const char *text;
        struct ticket ticket;
    } cases[] = {{small, small_ticket()}, {full, full_ticket()}};

    for (size_t i = 0; i < 2; i++) {
        char text[TICKET_TEXT_MAX + 1];
        struct ticket ticket;

        assert_int_equal(ticket_format(&cases[i].ticket, text, sizeof text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
        assert_int_equal(parse(text, &ticket), TICKET_OK);
        assert_int_equal(ticket.reach_count, cases[i].ticket.reach_count);
        assert_true(node_id_equal(&ticket.id, &cases[i].ticket.id));
        assert_int_equal(ticket.broker_count, cases[i].ticket.broker_count);
        assert_string_equal(ticket.brokers[0], cases[i].ticket.brokers[0]);
        assert_memory_equal(ticket.turn, cases[i].ticket.turn, sizeof ticket.turn);
        assert_int_equal(ticket.has_secret, cases[i].ticket.has_secret);
        assert_memory_equal(ticket.secret, cases[i].ticket.secret, sizeof ticket.secret);
        assert_int_equal(ticket.expiry_s, cases[i].ticket.expiry_s);
        assert_string_equal(ticket.name, cases[i].ticket.name);
        for (size_t j = 0; j < ticket.reach_count; j++) {
            char a[TARGET_TEXT_MAX], b[TARGET_TEXT_MAX];

            assert_string_equal(target_format(&ticket.reach[j], a),
                                target_format(&cases[i].ticket.reach[j], b));
        }
    }
}

static void later_items_are_skipped(void **state)
{
    (void)state;
    struct ticket ticket, expected = small_ticket();

    assert_int_equal(parse(unknown, &ticket), TICKET_OK);
    assert_memory_equal(&ticket, &expected, sizeof ticket);
}

static void as_people_paste_it(void **state)
{
    (void)state;
    char text[2 * sizeof full + 32];
    struct ticket ticket;
    size_t n = (size_t)sprintf(text, " \n Ticket: ");

    for (size_t i = 0; i < sizeof full - 1; i++) {
        text[n++] = full[i] >= 'a' && full[i] <= 'z' && i % 3 ? (char)(full[i] - 32) : full[i];
        if (i % 64 == 63)
            n += (size_t)sprintf(text + n, "\r\n\t");
    }
    text[n] = '\0';
    assert_int_equal(parse(text, &ticket), TICKET_OK);
    assert_string_equal(ticket.turn[0].password, "c2VjcmV0");
    assert_true(ticket_looks_like_one(text));
    assert_true(ticket_looks_like_one(small));
    assert_false(ticket_looks_like_one("adit1"));
    assert_false(ticket_looks_like_one("home"));
    assert_false(ticket_looks_like_one(""));
    assert_false(ticket_looks_like_one("adit"));
    assert_false(ticket_looks_like_one("aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"));
}

static void every_mistake_is_noticed(void **state)
{
    (void)state;
    char text[sizeof full + 1];
    struct ticket ticket;

    for (size_t i = 5; i < sizeof full - 1; i++) {
        strcpy(text, full);
        text[i] = text[i] == 'q' ? 'g' : 'q';
        assert_int_equal(parse(text, &ticket), TICKET_DAMAGED);
        assert_int_equal(ticket_parse(full, i, &ticket), TICKET_DAMAGED);
        strcpy(text, full);
        memmove(text + i, text + i + 1, sizeof full - i - 1);
        assert_int_equal(parse(text, &ticket), TICKET_DAMAGED);
        if (full[i] != full[i + 1] && i + 2 < sizeof full) {
            strcpy(text, full);
            text[i] = full[i + 1];
            text[i + 1] = full[i];
            assert_int_equal(parse(text, &ticket), TICKET_DAMAGED);
        }
    }
    strcpy(text, small);
    text[20] = '0';
    assert_int_equal(parse(text, &ticket), TICKET_DAMAGED);
}

static void other_wrongs(void **state)
{
    (void)state;
    static char longest[TICKET_TEXT_MAX + 100];
    struct ticket ticket, zero;

    memset(&zero, 0, sizeof zero);
    assert_int_equal(parse("", &ticket), TICKET_NOT_ONE);
    assert_int_equal(parse("adit", &ticket), TICKET_NOT_ONE);
    assert_int_equal(parse("aditx", &ticket), TICKET_NOT_ONE);
    assert_int_equal(parse("aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq", &ticket),
                     TICKET_NOT_ONE);
    assert_int_equal(parse("adit1", &ticket), TICKET_DAMAGED);
    assert_int_equal(parse("adit2aaaa", &ticket), TICKET_NEWER);
    assert_int_equal(parse(empty, &ticket), TICKET_MALFORMED);
    assert_int_equal(parse(twice, &ticket), TICKET_MALFORMED);
    assert_memory_equal(&ticket, &zero, sizeof ticket);
    memset(longest, 'a', sizeof longest - 1);
    memcpy(longest, "adit1", 5);
    assert_int_equal(parse(longest, &ticket), TICKET_DAMAGED);
    for (int i = TICKET_OK; i <= TICKET_MALFORMED; i++)
        assert_true(strlen(ticket_result_text((enum ticket_result)i)) > 10);
}

static void wrong_items(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
#define ITEM(text) {text, sizeof text - 1}
        ITEM("\x02\x06\xc0\x00\x02\x01\x00\x00"), /* port 0 */
        ITEM("\x02\x05\xc0\x00\x02\x01\x01"),     /* no address is so long */
        ITEM("\x03\x03\x01\xbb "),                /* a space in a name */
        ITEM("\x03\x02\x01\xbb"),                 /* no name */
        ITEM("\x03\x09\x01\xbb"
             "1.2.3.4"),  /* an address as a name */
        ITEM("\x04\x00"), /* empty */
        ITEM("\x04\x03"
             "a\x1b"
             "b"), /* control character */
        ITEM("\x05\x03\x05"
             "ab"), /* a part longer than the whole */
        ITEM("\x05\x02\x01"
             "a"), /* a part missing */
        ITEM("\x06\x0f"
             "0123456789abcde"), /* a byte missing */
        ITEM("\x07\x00"),
        ITEM("\x07\x02\x00\x01"), /* a needless zero */
        ITEM("\x07\x09"
             "123456789"),
        ITEM("\x08\x02\xc0\x80"),     /* overlong UTF-8 */
        ITEM("\x08\x03\xe2\x80\xae"), /* right-to-left override */
        ITEM("\x08\x02\xc2\x85"),     /* C1 */
        ITEM("\x08\x01\xc3"),         /* cut UTF-8 */
        ITEM("\x63\x80\x01x"),        /* a short length in long form */
        ITEM("\x63\x02x"),            /* cut */
        ITEM("\x63"),
        ITEM("\x63\x81"),
    };
    uint8_t bytes[128] = {1, 32};
    struct ticket ticket;

    assert_int_equal(ticket_parse_payload(bytes, 34, &ticket), TICKET_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(bytes + 34, bad[i].bytes, bad[i].len);
        assert_int_equal(ticket_parse_payload(bytes, 34 + bad[i].len, &ticket), TICKET_MALFORMED);
    }
}

static void limits(void **state)
{
    (void)state;
    char text[TICKET_TEXT_MAX + 1], longer[TICKET_TEXT_MAX + 1];
    struct ticket ticket = full_ticket(), again;
    uint8_t bytes[34 + 20 * 8] = {1, 32};

    for (size_t i = 0; i < 20; i++)
        memcpy(bytes + 34 + 8 * i, (uint8_t[]){2, 6, 192, 0, 2, (uint8_t)i, 1, 1}, 8);
    assert_int_equal(ticket_parse_payload(bytes, sizeof bytes, &again), TICKET_OK);
    assert_int_equal(again.reach_count, TICKET_REACH_MAX);
    assert_int_equal(again.reach[15].addr.ip.bytes[3], 15);

    assert_int_equal(ticket_format(&ticket, text, 100), -ENOSPC);
    assert_int_equal(ticket_format(&ticket, text, sizeof full - 1), -ENOSPC);
    assert_int_equal(ticket_format(&ticket, text, sizeof full), sizeof full - 1);

    /* Too much for a ticket in all, though each item is possible. */
    for (ticket.broker_count = 0; ticket.broker_count < TICKET_BROKERS_MAX; ticket.broker_count++)
        memset(ticket.brokers[ticket.broker_count], 'b', TICKET_URL_MAX);
    assert_true(ticket_format(&ticket, text, sizeof text) > 3500);
    assert_int_equal(parse(text, &again), TICKET_OK);
    assert_int_equal(again.broker_count, TICKET_BROKERS_MAX);
    assert_int_equal(ticket_format(&again, longer, sizeof longer), strlen(text));
    assert_string_equal(longer, text);
    for (; ticket.turn_count < TICKET_TURN_MAX; ticket.turn_count++)
        memset(ticket.turn[ticket.turn_count].url, 't', TICKET_URL_MAX);
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -ENOSPC);

    ticket = full_ticket();
    ticket.reach[1].port = 0;
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -EINVAL);
    ticket = full_ticket();
    ticket.reach_count = 4;
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -EINVAL);
    ticket = full_ticket();
    strcpy(ticket.name, "a\nb");
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -EINVAL);
    ticket = full_ticket();
    strcpy(ticket.brokers[0], "a b");
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -EINVAL);
    ticket = full_ticket();
    ticket.turn[0].url[0] = '\0';
    assert_int_equal(ticket_format(&ticket, text, sizeof text), -EINVAL);
}

static void expiry(void **state)
{
    (void)state;
    struct ticket ticket = full_ticket();

    assert_false(ticket_is_expired(&ticket, 1759999999));
    assert_true(ticket_is_expired(&ticket, 1760000000));
    ticket.expiry_s = 0;
    assert_false(ticket_is_expired(&ticket, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(later_items_are_skipped),
        cmocka_unit_test(as_people_paste_it),
        cmocka_unit_test(every_mistake_is_noticed),
        cmocka_unit_test(other_wrongs),
        cmocka_unit_test(wrong_items),
        cmocka_unit_test(limits),
        cmocka_unit_test(expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
