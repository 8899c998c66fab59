/* SPDX-License-Identifier: MIT */
/*
 * The state directory: peers and enrolment secrets, their files, the lock, damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "config/state.h"
#include "config/state_int.h"

static char dir[64], errbuf[512];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s/adit-state-XXXXXX", P_tmpdir);
    log_init(LOG_ERROR);
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static struct node_id id_of(uint8_t first, uint8_t last)
{
    struct node_id id = {{first, 0}};
    id.key[NODE_ID_BYTES - 1] = last;
    return id;
}

static struct state *open_good(const char *path)
{
    struct state *state = state_open(path, errbuf, sizeof errbuf, NULL);
    if (state == NULL)
        fail_msg("%s", errbuf);
    return state;
}

static char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void file_write(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_peers(void **unused)
{
    (void)unused;
    struct state *state = open_good(path_of("deep/er"));
    struct node_id a = id_of(1, 1), b = id_of(1, 2), c = id_of(0, 1);
    const struct state_peer *peer;
    size_t count;

    assert_int_equal(state_peer_allow(state, &b, "bert", "command", 100), 0);
    assert_int_equal(state_peer_allow(state, &a, NULL, "command", 101), 0);
    assert_int_equal(state_peer_remember(state, &c, "my host!", "enrolled", 102), 0);
    assert_int_equal(state_peer_allow(state, &a, "bert", "command", 101), -EEXIST);
    assert_int_equal(state_peer_allow(state, &a, "a b", "command", 101), -EINVAL);
    assert_true(state_is_admitted(state, &a, 1));
    assert_false(state_is_admitted(state, &c, 1));
    peer = state_peers(state, &count);
    assert_int_equal(count, 3);
    assert_string_equal(peer[0].name, "my-host-");
    assert_string_equal(peer[2].name, "bert");

    assert_int_equal(state_find_peer(state, "bert", &peer), STATE_FOUND);
    assert_true(node_id_equal(&peer->id, &b));
    char text[NODE_ID_TEXT_LEN + 1];
    node_id_format(&c, text);
    assert_int_equal(state_find_peer(state, text, &peer), STATE_FOUND);
    text[4] = '\0';
    assert_int_equal(state_find_peer(state, text, &peer), STATE_FOUND);
    assert_true(node_id_equal(&peer->id, &c));
    node_id_format(&a, text);
    text[20] = '\0';
    assert_int_equal(state_find_peer(state, text, &peer), STATE_AMBIGUOUS);
    assert_null(peer);
    text[3] = '\0';
    assert_int_equal(state_find_peer(state, text, &peer), STATE_UNKNOWN);
    assert_int_equal(state_find_peer(state, "", &peer), STATE_UNKNOWN);

    assert_int_equal(state_peer_rename(state, &a, "bert"), -EEXIST);
    assert_int_equal(state_peer_rename(state, &a, "../x"), -EINVAL);
    assert_int_equal(state_peer_rename(state, &a, "anna"), 0);
    assert_int_equal(state_peer_revoke(state, &b), 0);
    const char *urls[] = {"mqtt://u:pa%20ss@broker.example", "no url", "wss://b.example/mqtt?k=v",
                          "mqtt://u:pa%20ss@broker.example"};
    assert_int_equal(state_peer_set_brokers(state, &c, urls, 4), 0);
    assert_int_equal(state_peer_set_brokers(state, &c, urls, 4), 0);
    const char *addrs[] = {"[2001:db8::1]:4", "nonsense", "host.example:443"};
    assert_int_equal(state_peer_set_addrs(state, &a, addrs, 3), 0);
    state_peer_touch(state, &a, 500);
    state_peer_touch(state, &a, 510); /* too soon to be written: state_close() does it */
    assert_int_equal(state_set_port(state, 4711), 0);
    state_close(state);

    state = open_good(path_of("deep/er"));
    assert_int_equal(state_find_peer(state, "anna", &peer), STATE_FOUND);
    assert_int_equal(peer->seen, 510);
    assert_int_equal(peer->added, 101);
    assert_string_equal(peer->how, "command");
    assert_string_equal(peer->addrs[0], "[2001:db8::1]:4");
    assert_string_equal(peer->addrs[1], "host.example:443");
    assert_string_equal(peer->addrs[2], "");
    assert_true(peer->admitted);
    assert_false(state_is_admitted(state, &b, 1));
    assert_true(state_peer(state, &b)->revoked);
    assert_false(peer->revoked);
    assert_int_equal(state_port(state), 4711);
    assert_int_equal(urls_count(state_peer(state, &a)->brokers), 0);
    assert_int_equal(urls_count(state_peer(state, &c)->brokers), 2);
    assert_string_equal(urls_at(state_peer(state, &c)->brokers, 0), urls[0]);
    assert_string_equal(urls_at(state_peer(state, &c)->brokers, 1), urls[2]);
    json_t *shown = state_peer_to_json(state_peer(state, &c));
    char *json = json_dumps(shown, 0);
    assert_null(strstr(json, "pa%20ss"));
    assert_null(strstr(json, "k=v"));
    assert_non_null(strstr(json, "mqtt://u:***@broker.example"));
    free(json);
    json_decref(shown);
    assert_int_equal(state_peer_set_brokers(state, &c, NULL, 0), 0);
    assert_null(state_peer(state, &c)->brokers);
    assert_int_equal(state_peer_set_brokers(state, &b, urls, 1), 0); /* forgotten by the end */
    struct node_id nobody = id_of(77, 7);
    assert_int_equal(state_peer_set_brokers(state, &nobody, urls, 1), -ENOENT);
    assert_int_equal(state_peer_forget(state, &a), 0);
    assert_int_equal(state_peer_forget(state, &a), -ENOENT);
    assert_int_equal(state_peer_revoke(state, &a), -ENOENT);
    state_peers(state, &count);
    assert_int_equal(count, 2);
    struct stat st;
    assert_int_equal(stat(path_of("deep/er/peers.json"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(path_of("deep/er"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    state_close(state);
}

static void test_expiry(void **unused)
{
    (void)unused;
    struct state *state = open_good(dir);
    struct node_id a = id_of(1, 1), b = id_of(2, 2), c = id_of(3, 3);
    uint8_t secret[STATE_SECRET_BYTES];

    assert_int_equal(state_next_expiry(state, 0), 0);
    assert_int_equal(state_peer_allow_until(state, &a, "anna", "command", 200, 100), 0);
    assert_int_equal(state_peer_allow(state, &b, NULL, "command", 100), 0);
    assert_int_equal(state_peer_allow_until(state, &b, NULL, "command", -1, 100), -ERANGE);
    assert_int_equal(state_peer_set_expiry(state, &b, 150), 0);
    assert_int_equal(state_next_expiry(state, 100), 150);
    assert_int_equal(state_next_expiry(state, 150), 200);
    assert_int_equal(state_next_expiry(state, 200), 0);
    assert_true(state_is_admitted(state, &a, 199));
    assert_false(state_is_admitted(state, &a, 200));
    assert_int_equal(state_enrol_new(state, 3, 0, 50, 100, secret), 0);
    state_close(state);

    state = open_good(dir);
    assert_int_equal(state_peer(state, &a)->expires, 200);
    assert_int_equal(state_enrol_use(state, secret, &c, "carl", 300), ENROL_OK);
    assert_int_equal(state_peer(state, &c)->expires, 350);
    /* Once it is over, a ticket admits anew, and costs a use. */
    assert_int_equal(state_enrol_use(state, secret, &c, "carl", 349), ENROL_OK);
    assert_int_equal(state_peer(state, &c)->expires, 350);
    assert_int_equal(state_enrol_use(state, secret, &c, "carl", 400), ENROL_OK);
    assert_int_equal(state_peer(state, &c)->expires, 450);
    assert_int_equal(state_enrol_use(state, secret, &a, NULL, 400), ENROL_OK);
    assert_int_equal(state_enrol_check(state, secret, 400), ENROL_USED_UP);
    /* What the owner says afterwards counts. */
    assert_int_equal(state_peer_allow(state, &c, NULL, "command", 401), 0);
    assert_int_equal(state_peer(state, &c)->expires, 0);
    assert_int_equal(state_peer_set_expiry(state, &c, 500), 0);
    assert_int_equal(state_peer_set_expiry(state, &c, 0), 0);
    assert_true(state_is_admitted(state, &c, INT64_MAX));
    assert_int_equal(state_peer_revoke(state, &c), 0);
    assert_int_equal(state_peer_set_expiry(state, &c, 500), -EPERM);
    state_close(state);
}

static void test_masks(void **unused)
{
    (void)unused;
    static const char *const cases[][2] = {
        {"mqtt://b.example:1883", "mqtt://b.example:1883"},
        {"mqtt://user@b.example", "mqtt://user@b.example"},
        {"mqtts://user:secret@b.example:8883", "mqtts://user:***@b.example:8883"},
        {"mqtt://user:@b.example", "mqtt://user:***@b.example"},
        {"mqtt://user:se/cr?et@b@b.example/x", "mqtt://user:***@b.example/x"},
        {"wss://b.example/mqtt?token=secret", "wss://b.example/mqtt?***"},
        {"wss://b.example:1/p@th", "wss://b.example:***@th"}, /* rather too much */
    };
    char longest[URLS_URL_MAX + 2], buf[URLS_URL_MAX + 8];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(url_mask(cases[i][0], buf), cases[i][1]);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "mqtt://", 7);
    longest[URLS_URL_MAX] = '\0';
    assert_true(url_is_good(longest));
    assert_string_equal(url_mask(longest, buf), longest);
    longest[URLS_URL_MAX - 1] = '@';
    longest[URLS_URL_MAX - 2] = ':';
    assert_int_equal(strlen(url_mask(longest, buf)), URLS_URL_MAX + 3);
    longest[URLS_URL_MAX - 1] = '?';
    assert_int_equal(strlen(url_mask(longest, buf)), URLS_URL_MAX + 3);
    longest[URLS_URL_MAX] = 'a';
    longest[URLS_URL_MAX + 1] = '\0';
    assert_false(url_is_good(longest));
    assert_false(url_is_good("mqtt://"));
    assert_false(url_is_good("://x"));
    assert_false(url_is_good("mqtt://a b"));
    assert_false(url_is_good("mqtt://\xc3\xa4"));
}

/* The longest table fits its file, and a peer without brokers costs nothing for them. */
static void test_largest(void **unused)
{
    (void)unused;
    struct peer_table table = {.count = STATE_PEERS_MAX}, again = {.count = 0};
    char urls[URLS_MAX][URLS_URL_MAX + 1], why[STATE_WHY_MAX];
    const char *list[URLS_MAX];

    for (size_t i = 0; i < URLS_MAX; i++) {
        memset(urls[i], '"', URLS_URL_MAX); /* two bytes each, in JSON */
        memcpy(urls[i], "mqtt://", 7);
        urls[i][7] = (char)('a' + i);
        urls[i][URLS_URL_MAX] = '\0';
        list[i] = urls[i];
    }
    table.items = calloc(table.count, sizeof *table.items);
    for (size_t i = 0; i < table.count; i++) {
        struct state_peer *peer = &table.items[i];
        *peer = (struct state_peer){
            .admitted = true, .added = INT64_MAX, .seen = INT64_MAX, .expires = INT64_MAX};
        peer->id.key[0] = (uint8_t)(i >> 8);
        peer->id.key[1] = (uint8_t)i;
        snprintf(peer->name, sizeof peer->name, "%032zu", i);
        memset(peer->how, 'x', STATE_HOW_MAX);
        for (size_t j = 0; j < STATE_ADDRS_MAX; j++) {
            memset(peer->addrs[j], 'a', STATE_ADDR_TEXT_MAX);
            for (size_t k = 63; k < 250; k += 64)
                peer->addrs[j][k] = '.';
            strcpy(peer->addrs[j] + 253, ":65535");
        }
        assert_int_equal(urls_new(list, URLS_MAX, &peer->brokers), 0);
    }
    char *text = peer_table_to_text(&table);
    assert_non_null(text);
    size_t len = strlen(text);
    if (len > STATE_FILE_MAX_BYTES)
        fail_msg("%zu bytes", len);
    assert_int_equal(peer_table_from_text(text, len, &again, why), 0);
    assert_int_equal(urls_count(again.items[STATE_PEERS_MAX - 1].brokers), URLS_MAX);
    free(text);
    peer_table_free(&again);
    peer_table_free(&table);
}

static void test_names(void **unused)
{
    (void)unused;
    struct state *state = state_new();
    const struct state_peer *peer;
    struct node_id id = id_of(9, 0);
    size_t count;

    for (uint8_t i = 0; i < 105; i++) {
        id = id_of(i, 0);
        assert_int_equal(state_peer_remember(state, &id, "laptop", "ticket", 1), 0);
    }
    peer = state_peers(state, &count);
    assert_int_equal(count, 105);
    assert_string_equal(peer[0].name, "laptop");
    assert_string_equal(peer[98].name, "laptop-99");
    assert_string_equal(peer[104].name, "");
    id = id_of(200, 0);
    assert_int_equal(
        state_peer_remember(state, &id, "--..a very long name of more than thirty-two", "x", 1), 0);
    assert_string_equal(state_peer(state, &id)->name, "a-very-long-name-of-more-than");
    state_close(state);
}

static void test_full(void **unused)
{
    (void)unused;
    struct state *state = state_new();
    uint8_t secret[STATE_SECRET_BYTES], first[STATE_SECRET_BYTES];

    assert_int_equal(state_enrol_new(state, 1, 10, 0, 0, first), 0);
    for (int i = 1; i < STATE_SECRETS_MAX; i++)
        assert_int_equal(state_enrol_new(state, 1, 100, 0, 0, secret), 0);
    assert_int_equal(state_enrol_new(state, 1, 100, 0, 0, secret), ADIT_EFULL);
    assert_int_equal(state_enrol_count(state, 5), STATE_SECRETS_MAX);
    assert_int_equal(state_enrol_count(state, 10), STATE_SECRETS_MAX - 1);
    assert_int_equal(state_enrol_new(state, 1, 100, 0, 10, secret), 0); /* swept the expired one */
    assert_int_equal(state_enrol_check(state, first, 10), ENROL_UNKNOWN);
    assert_int_equal(state_enrol_clear(state), 0);
    assert_int_equal(state_enrol_count(state, 0), 0);
    state_close(state);
}

static void test_enrol(void **unused)
{
    (void)unused;
    struct state *state = open_good(dir);
    struct node_id a = id_of(1, 1), b = id_of(2, 2), c = id_of(3, 3);
    uint8_t two[STATE_SECRET_BYTES], brief[STATE_SECRET_BYTES], wrong[STATE_SECRET_BYTES] = {0};

    assert_int_equal(state_enrol_new(state, 0, 0, 0, 0, two), -EINVAL);
    assert_int_equal(state_enrol_new(state, 2, 0, 0, 1000, two), 0);
    assert_int_equal(state_enrol_new(state, 1, 60, 0, 1000, brief), 0);
    assert_int_equal(state_enrol_use(state, wrong, &a, NULL, 1001), ENROL_UNKNOWN);
    assert_int_equal(state_enrol_use(state, brief, &a, NULL, 1060), ENROL_EXPIRED);
    assert_false(state_is_admitted(state, &a, 1));
    assert_int_equal(state_enrol_use(state, two, &a, "phone", 99999), ENROL_OK);
    assert_true(state_is_admitted(state, &a, 1));
    /* Shown again by one who is in: nothing is used. */
    assert_int_equal(state_enrol_use(state, two, &a, "phone", 99999), ENROL_OK);
    state_close(state);

    state = open_good(dir);
    assert_true(state_is_admitted(state, &a, 1));
    assert_string_equal(state_peer(state, &a)->name, "phone");
    assert_string_equal(state_peer(state, &a)->how, "ticket");
    assert_int_equal(state_enrol_use(state, two, &b, "phone", 99999), ENROL_OK);
    assert_string_equal(state_peer(state, &b)->name, "phone-2");
    assert_int_equal(state_enrol_use(state, two, &c, NULL, 99999), ENROL_USED_UP);
    assert_int_equal(state_enrol_check(state, brief, 1001), ENROL_OK);
    state_close(state);

    char text[4096] = "";
    FILE *file = fopen(path_of("enrol.json"), "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    assert_null(memmem(text, sizeof text, two, sizeof two));
}

static void test_lock(void **unused)
{
    (void)unused;
    struct state *state = open_good(dir);
    int rc = 0;
    char pid[40];

    assert_null(state_open(dir, errbuf, sizeof errbuf, &rc));
    assert_int_equal(rc, ADIT_EBUSY);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(errbuf, pid));
    state_close(state);

    /* A process that was killed leaves no lock. */
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (state_open(dir, errbuf, sizeof errbuf, NULL) == NULL || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_null(state_open(dir, errbuf, sizeof errbuf, NULL));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    state_close(open_good(dir));
}

static void expect_damage(const char *name, const char *text, const char *message)
{
    struct state *state;
    int rc = 0;
    char back[1024] = "";

    file_write(name, text);
    state = state_open(dir, errbuf, sizeof errbuf, &rc);
    if (state != NULL || rc != ADIT_EFORMAT || strstr(errbuf, message) == NULL)
        fail_msg("%s: wanted '%s', got %d '%s'", text, message, rc, state ? "success" : errbuf);
    FILE *file = fopen(path_of(name), "r");
    assert_non_null(file);
    back[fread(back, 1, sizeof back - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(back, text);
    unlink(path_of(name));
}

#define ID  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID2 "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_damage(void **unused)
{
    (void)unused;
    expect_damage("peers.json", "", "/peers.json: line");
    expect_damage("peers.json", "{\"version\":1,", "/peers.json: line 1");
    expect_damage("peers.json", "[]", "no version");
    expect_damage("peers.json", "{\"version\":2,\"peers\":[]}", "newer version");
    expect_damage("peers.json", "{\"version\":1,\"peers\":{}}", "no list");
    expect_damage("peers.json", "{\"version\":1,\"peers\":[{}]}", "no good id");
    expect_damage("peers.json", "{\"version\":1,\"peers\":[{\"id\":\"" ID "\"}]}", "admitted");
    expect_damage("peers.json",
                  "{\"version\":1,\"peers\":[{\"id\":\"" ID "\",\"admitted\":true},"
                  "{\"id\":\"" ID "\",\"admitted\":false}]}",
                  "twice");
    expect_damage("peers.json",
                  "{\"version\":1,\"peers\":[{\"id\":\"" ID "\",\"admitted\":true,\"name\":\"x\"},"
                  "{\"id\":\"" ID2 "\",\"admitted\":false,\"name\":\"x\"}]}",
                  "two peers have the name x");
    expect_damage("peers.json",
                  "{\"version\":1,\"peers\":[{\"id\":\"" ID
                  "\",\"admitted\":true,\"name\":\"a b\"}]}",
                  "the name of peer aaaaaaaa is not one");
    expect_damage("peers.json",
                  "{\"version\":1,\"peers\":[{\"id\":\"" ID
                  "\",\"admitted\":true,\"expires\":\"soon\"}]}",
                  "expires");
    expect_damage("peers.json",
                  "{\"version\":1,\"peers\":[{\"id\":\"" ID
                  "\",\"admitted\":true,\"brokers\":[\"mqtt://a\",\"x\"]}]}",
                  "a broker is no URL");
    expect_damage("enrol.json", "{\"version\":1}", "no list");
    expect_damage("enrol.json",
                  "{\"version\":1,\"secrets\":[{\"sha256\":\"" ID
                  "\",\"uses\":1,\"expires\":0,\"admit_for\":-1}]}",
                  "how long");
    expect_damage("enrol.json", "{\"version\":1,\"secrets\":[{\"sha256\":\"x\"}]}", "hash");
    expect_damage("enrol.json",
                  "{\"version\":1,\"secrets\":[{\"sha256\":\"" ID "\",\"uses\":-1,\"expires\":0}]}",
                  "number");
    expect_damage("node.json", "{\"version\":1,\"port\":70000}", "no port");

    assert_int_equal(chmod(dir, 0777), 0);
    assert_null(state_open(dir, errbuf, sizeof errbuf, NULL));
    assert_non_null(strstr(errbuf, "others may write"));
}

/* When a file cannot be written, memory does not change either. */
static void test_write_fails(void **unused)
{
    (void)unused;
    struct state *state = open_good(dir);
    struct node_id a = id_of(1, 1), b = id_of(2, 2);
    struct rlimit old, none;
    size_t count;
    uint8_t secret[STATE_SECRET_BYTES];

    assert_int_equal(state_peer_allow(state, &a, NULL, "command", 1), 0);
    assert_int_equal(state_enrol_new(state, 1, 0, 0, 1, secret), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    none = old;
    none.rlim_cur = 10;
    setrlimit(RLIMIT_FSIZE, &none);
    int rc_allow = state_peer_allow(state, &b, NULL, "command", 1);
    int rc_revoke = state_peer_revoke(state, &a);
    enum enrol_result result = state_enrol_use(state, secret, &b, NULL, 2);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc_allow, -EFBIG);
    assert_int_equal(rc_revoke, -EFBIG);
    assert_int_equal(result, ENROL_FAILED);
    state_peers(state, &count);
    assert_int_equal(count, 1);
    assert_true(state_is_admitted(state, &a, 1));
    assert_int_equal(state_enrol_check(state, secret, 2), ENROL_OK);
    state_close(state);
    assert_int_not_equal(access(path_of("peers.json.tmp"), F_OK), 0);
    state = open_good(dir);
    assert_true(state_is_admitted(state, &a, 1));
    state_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry, setup, teardown),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_full),
        cmocka_unit_test_setup_teardown(test_enrol, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
