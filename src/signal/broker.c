/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *                 +---------- failed, lost, limit of time ----------+
 *                 v                                                 |
 *     open -> CONNECTING -> (forwarder: name, TCP; Paho: TLS, WebSocket, MQTT) -> UP
 *                 ^                                                 |
 *                 +------- pause, with jitter <- WAITING <----------+
 *
 * A broker is a forwarder (forwarder.c: how Paho's bytes get to the broker), and, while it is
 * connecting or up, a process in which Paho runs (paho.c says why a process). An attempt begins
 * with a new password for the forwarder and a new process; it ends with both gone. So there is
 * nothing that one attempt leaves to the next, a broker that hangs, floods or sends garbage harms
 * itself alone, and close() is a kill.
 *
 * It is UP when the broker has taken us (CONNACK): what a client sends is handled in order, so the
 * answer to a first question finds the subscription made, and a round trip is saved. The limit of
 * the attempt goes on until the broker has confirmed the subscription.
 *
 * Pauses grow from retry_min to retry_max, each doubled, and half of each is random, so that nodes
 * that lost one broker together do not come back together. A connection that was up for LIVED_US
 * begins with the shortest again; one that ends at once does not, or a broker that takes us and
 * throws us out would be asked twice a second for ever.
 *
 * kick(): the network has changed. A broker that is not up begins anew at once, as if it had never
 * failed. One that is up publishes an empty message to its own topic: when nothing has come back
 * after twice the time that connecting took, which was several round trips (within PROBE_LEAST_US
 * and PROBE_US), the connection is taken for dead. (Empty messages are given to nobody.)
 *
 * What goes wrong is told in plain words, with what can be done, and never with the user name, the
 * password, the path or the topic. What Paho does not say is seen from the forwarder: a certificate
 * for another name, for one, is a TLS connection that ends without an error of OpenSSL's.
 *
 * Limits: PAHO_RECORD_BYTES a message and way; messages wait in the socket of the process (paho.c),
 * of which READ_TURN are read in a turn of the loop, then others have theirs. What is beyond is
 * dropped and counted.
 */
#include "signal/broker.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "config/broker_url.h"
#include "crypto/hash.h"
#include "signal/forwarder.h"
#include "signal/paho.h"

#define LIVED_US       (10 * SEC_US)
#define PROBE_LEAST_US (600 * MS_US)
#define PROBE_US       (4 * SEC_US)
#define READ_TURN      64
#define CA_LINES_MAX   1000 /* before the first certificate */
#define EVENTS_SOON    1    /* microseconds: from the loop, not from inside a call */

struct broker {
    struct loop *loop;
    struct broker_events events;
    void *arg;
    struct broker_url url;
    char name[BROKER_NAME_BYTES];
    char topic[BROKER_TOPIC_MAX + 1];
    char ca_file[PAHO_FILE_BYTES]; /* "": the system's */
    uint64_t retry_min_us, retry_max_us, connect_us, keepalive_us;
    struct forwarder *forwarder;

    enum broker_phase phase;
    bool is_subscribed;
    struct timer timer; /* the attempt's limit, until it is subscribed; or the pause */
    struct timer probe; /* up: until something must have come */
    uint64_t retry_us;  /* the next pause, before jitter */
    uint64_t since;     /* of the attempt, or of being up */
    int fd;             /* -1: no process */
    pid_t pid;
    struct event *event;
    bool *gone;               /* set by close() while a callback runs */
    uint32_t process_dropped; /* by the process that runs, of those already counted */

    char why[BROKER_TEXT_MAX + 1];
    uint64_t connected_us, received, sent, dropped;
    uint32_t connects, failures;
};

static void start_attempt(struct broker *broker);

/* --- The process --- */

static void stop_process(struct broker *broker)
{
    forwarder_stop(broker->forwarder);
    timer_cancel(broker->loop, &broker->timer);
    timer_cancel(broker->loop, &broker->probe);
    if (broker->fd < 0)
        return;
    event_free(broker->event);
    broker->event = NULL;
    close(broker->fd);
    broker->fd = -1;
    paho_kill(broker->pid);
}

/* The attempt or the connection is over: a pause, then the next. */
static void end_attempt(struct broker *broker, const char *why)
{
    bool was_up = broker->phase == BROKER_UP;
    uint64_t pause;

    snprintf(broker->why, sizeof(broker->why), "%s", why);
    stop_process(broker);
    if (was_up && broker->is_subscribed && loop_now(broker->loop) - broker->since >= LIVED_US)
        broker->retry_us = broker->retry_min_us;
    pause = broker->retry_us / 2 + loop_random64(broker->loop) % (broker->retry_us / 2 + 1);
    broker->retry_us =
        broker->retry_us * 2 < broker->retry_max_us ? broker->retry_us * 2 : broker->retry_max_us;
    broker->failures++;
    broker->phase = BROKER_WAITING;
    timer_set_in(broker->loop, &broker->timer, pause);
    log_debug("event=broker-retry broker=\"%s\" why=\"%s\" next-ms=%llu", broker->name, broker->why,
              (unsigned long long)(pause / MS_US));
    if (broker->events.state)
        broker->events.state(broker->arg, broker, false, broker->why);
}

/* --- What went wrong, in plain words --- */

/* OpenSSL's words that a user can do something about. */
static const char *explain_tls(const char *text)
{
    if (strstr(text, "certificate verify failed"))
        return "its certificate is not valid: it is out of date, or not signed by an authority "
               "that this machine knows (signal.ca_file)";
    if (strstr(text, "wrong version number") || strstr(text, "packet length too long") ||
        strstr(text, "http request"))
        return "it does not speak TLS at this port: is it mqtt:// or ws:// instead?";
    if (strstr(text, "alert"))
        return "it ends the TLS handshake: it may want a client certificate, or another version";
    return "TLS with it failed";
}

static const char *explain_failed(const struct broker *broker, const char *text)
{
    bool is_secure = broker_url_is_secure(&broker->url);

    if (is_secure && broker->ca_file[0] && !forwarder_has_spoken(broker->forwarder))
        return "TLS with it does not begin: are the certificates in signal.ca_file whole?";
    if (is_secure && *text)
        return explain_tls(text);
    switch (forwarder_stage(broker->forwarder)) {
    case FORWARDER_IDLE:
    case FORWARDER_RESOLVING:
    case FORWARDER_CONNECTING:
        break;
    case FORWARDER_CONNECTED:
        return is_secure ? "it closes the connection before it has said anything: does it speak "
                           "TLS at this port?"
                         : "it closes the connection before it has said anything: is it mqtts:// "
                           "or wss:// instead?";
    case FORWARDER_ANSWERED:
        if (is_secure)
            return "its certificate is not valid: it is for another name; or it ended the "
                   "connection";
        if (broker_url_is_websocket(&broker->url))
            return "it does not speak MQTT in WebSocket at this port and path";
        return "it does not speak MQTT at this port: is it mqtts:// or ws:// instead?";
    }
    return "the connection to it failed";
}

static const char *explain(const struct broker *broker, enum paho_end end, const char *text)
{
    switch (end) {
    case PAHO_LOST:
        return "the broker ended the connection, or it was lost";
    case PAHO_FAILED:
        return explain_failed(broker, text);
    case PAHO_BAD_LOGIN:
        return "the broker refused the user name or password";
    case PAHO_FORBIDDEN:
        return broker->url.has_user
                   ? "the broker refused the user name or password, or lets this user do nothing"
                   : "the broker wants a user name and a password: mqtt://USER:PASSWORD@...";
    case PAHO_BUSY:
        return "the broker says that it is not available now";
    case PAHO_REJECTED:
        return "the broker does not speak MQTT 3.1.1, or refuses random client identifiers";
    case PAHO_NO_SUBSCRIPTION:
        return "the broker lets us connect, but not subscribe: it must allow topics below adit/";
    case PAHO_BROKEN:
        break;
    }
    return "the MQTT library failed";
}

static void on_limit(void *arg)
{
    static const char *const whys[] = {
        [FORWARDER_IDLE] = "the MQTT library did not connect in time: is the machine overloaded?",
        [FORWARDER_RESOLVING] = "the name of the broker cannot be resolved: no answer from DNS",
        [FORWARDER_CONNECTING] = "the broker does not answer: is it running, is there a firewall?",
        [FORWARDER_CONNECTED] = "it takes connections but does not answer: is it an MQTT broker, "
                                "and is the scheme (mqtt, mqtts, ws, wss) right?",
        [FORWARDER_ANSWERED] = "it did not finish connecting in time",
    };
    struct broker *broker = arg;

    end_attempt(broker, broker->phase == BROKER_UP
                            ? "the broker lets us connect, but does not answer a subscription"
                            : whys[forwarder_stage(broker->forwarder)]);
}

static void on_forwarder_failed(void *arg, const char *why)
{
    end_attempt(arg, why);
}

/* --- What the process says --- */

static void now_up(struct broker *broker)
{
    uint64_t now = loop_now(broker->loop);

    if (broker->phase != BROKER_CONNECTING)
        return;
    broker->phase = BROKER_UP;
    broker->connected_us = now - broker->since;
    broker->since = now;
    broker->connects++;
    if (broker->events.state)
        broker->events.state(broker->arg, broker, true, "");
}

static void now_subscribed(struct broker *broker)
{
    if (broker->phase != BROKER_UP)
        return;
    broker->is_subscribed = true;
    timer_cancel(broker->loop, &broker->timer);
}

static void got_message(struct broker *broker, const uint8_t *record, size_t len)
{
    uint32_t dropped;

    if (len < PAHO_HEAD_BYTES || broker->phase == BROKER_WAITING)
        return;
    timer_cancel(broker->loop, &broker->probe);
    memcpy(&dropped, record + 1, sizeof(dropped));
    broker->dropped += dropped - broker->process_dropped;
    broker->process_dropped = dropped;
    if (len == PAHO_HEAD_BYTES)
        return;
    broker->received++;
    if (broker->events.message)
        broker->events.message(broker->arg, broker, record + PAHO_HEAD_BYTES,
                               len - PAHO_HEAD_BYTES);
}

static void got_down(struct broker *broker, const uint8_t *record, size_t len)
{
    char text[BROKER_TEXT_MAX + 1] = "";

    if (len > 2)
        snprintf(text, sizeof(text), "%.*s", (int)(len - 2), (const char *)record + 2);
    end_attempt(broker, explain(broker, len >= 2 ? (enum paho_end)record[1] : PAHO_BROKEN, text));
}

static void on_record(evutil_socket_t fd, short what, void *arg)
{
    struct broker *broker = arg;
    uint8_t record[PAHO_RECORD_BYTES];
    bool gone = false;

    (void)what;
    loop_refresh(broker->loop);
    broker->gone = &gone;
    for (int i = 0; i < READ_TURN; i++) {
        ssize_t len = recv(fd, record, sizeof(record), MSG_DONTWAIT);

        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (len <= 0)
            end_attempt(broker, "the MQTT library failed");
        else if (record[0] == PAHO_UP)
            now_up(broker);
        else if (record[0] == PAHO_SUBSCRIBED)
            now_subscribed(broker);
        else if (record[0] == PAHO_MESSAGE)
            got_message(broker, record, (size_t)len);
        else if (record[0] == PAHO_DOWN)
            got_down(broker, record, (size_t)len);
        if (gone)
            return;
        if (broker->fd != fd)
            break;
    }
    broker->gone = NULL;
}

/* --- Attempts --- */

static uint32_t whole_seconds(uint64_t us)
{
    return us < SEC_US ? 1 : (uint32_t)(us / SEC_US > UINT16_MAX ? UINT16_MAX : us / SEC_US);
}

/* What is wrong with a file of certificates, as far as can be seen here: Paho does not tell. */
static const char *judge_ca_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;

    if (!file)
        return "the file of signal.ca_file cannot be read";
    for (int i = 0; i < CA_LINES_MAX && !found && fgets(line, sizeof(line), file); i++)
        found = strncmp(line, "-----BEGIN", 10) == 0 && strstr(line, "CERTIFICATE-----");
    fclose(file);
    return found ? NULL : "there are no certificates in the file of signal.ca_file (PEM)";
}

static void start_attempt(struct broker *broker)
{
    struct paho_options options = {
        .url = broker->url,
        .keepalive_s = whole_seconds(broker->keepalive_us),
        .connect_s = whole_seconds(broker->connect_us) + 5, /* ours comes first */
    };
    char text[BROKER_TEXT_MAX];
    const char *why;
    int error;

    stop_process(broker);
    broker->phase = BROKER_CONNECTING;
    broker->since = loop_now(broker->loop);
    broker->process_dropped = 0;
    broker->is_subscribed = false;
    why = broker->ca_file[0] ? judge_ca_file(broker->ca_file) : NULL;
    if (why) {
        end_attempt(broker, why);
        return;
    }
    strcpy(options.topic, broker->topic);
    strcpy(options.ca_file, broker->ca_file);
    forwarder_renew(broker->forwarder, options.proxy);
    loop_random(broker->loop, options.client_id, sizeof(options.client_id));
    error = paho_start(&options, &broker->fd, &broker->pid);
    hash_wipe(&options, sizeof(options));
    if (error == 0) {
        broker->event =
            event_new(loop_base(broker->loop), broker->fd, EV_READ | EV_PERSIST, on_record, broker);
        if (!broker->event || event_add(broker->event, NULL) < 0)
            abort(); /* out of memory: as everywhere */
        timer_set_in(broker->loop, &broker->timer, broker->connect_us);
        return;
    }
    broker->fd = -1;
    snprintf(text, sizeof(text), "no process for the MQTT library: %s", err_text(error));
    end_attempt(broker, text);
}

static void on_timer(void *arg)
{
    struct broker *broker = arg;

    if (broker->fd >= 0)
        on_limit(broker);
    else
        start_attempt(broker);
}

static void on_silent(void *arg)
{
    end_attempt(arg, "the connection to the broker is dead: nothing came back after the network "
                     "changed");
}

/* --- The driver --- */

static int paho_driver_publish(struct broker *broker, const char *topic, const void *bytes,
                               size_t len)
{
    uint8_t record[PAHO_RECORD_BYTES];
    size_t topic_len = strlen(topic);

    if (topic_len == 0 || topic_len > BROKER_TOPIC_MAX || len > BROKER_MESSAGE_MAX)
        return -EMSGSIZE;
    if (broker->phase != BROKER_UP)
        return -ENOTCONN;
    record[0] = PAHO_PUBLISH;
    record[1] = (uint8_t)topic_len;
    memcpy(record + 2, topic, topic_len);
    if (len)
        memcpy(record + 2 + topic_len, bytes, len);
    if (send(broker->fd, record, 2 + topic_len + len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return errno == EAGAIN ? -EAGAIN : -ENOTCONN;
    if (len)
        broker->sent++;
    return 0;
}

static uint64_t probe_us(const struct broker *broker)
{
    uint64_t us = 2 * broker->connected_us;

    return us < PROBE_LEAST_US ? PROBE_LEAST_US : us > PROBE_US ? PROBE_US : us;
}

static void paho_driver_kick(struct broker *broker)
{
    if (broker->phase == BROKER_UP) {
        if (!timer_is_set(&broker->probe) &&
            paho_driver_publish(broker, broker->topic, NULL, 0) == 0)
            timer_set_in(broker->loop, &broker->probe, probe_us(broker));
        return;
    }
    stop_process(broker);
    broker->phase = BROKER_CONNECTING;
    broker->retry_us = broker->retry_min_us;
    timer_set_in(broker->loop, &broker->timer, EVENTS_SOON);
}

static void paho_driver_close(struct broker *broker)
{
    if (!broker)
        return;
    if (broker->gone)
        *broker->gone = true;
    if (broker->forwarder)
        stop_process(broker);
    forwarder_free(broker->forwarder);
    hash_wipe(&broker->url, sizeof(broker->url));
    free(broker);
}

static struct broker *paho_driver_open(struct loop *loop, const struct broker_options *options,
                                       const struct broker_events *events, void *arg, char *errbuf,
                                       size_t errlen)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    const char *why;

    if (!broker) {
        snprintf(errbuf, errlen, "no memory");
        return NULL;
    }
    *broker = (struct broker){
        .loop = loop,
        .events = *events,
        .arg = arg,
        .retry_min_us = options->retry_min_us ? options->retry_min_us : BROKER_RETRY_MIN_US,
        .retry_max_us = options->retry_max_us ? options->retry_max_us : BROKER_RETRY_MAX_US,
        .connect_us = options->connect_us ? options->connect_us : BROKER_CONNECT_US,
        .keepalive_us = options->keepalive_us ? options->keepalive_us : BROKER_KEEPALIVE_US,
        .fd = -1};
    broker->retry_us = broker->retry_min_us;
    timer_init(&broker->timer, on_timer, broker);
    timer_init(&broker->probe, on_silent, broker);
    if (broker_url_parse((const uint8_t *)options->url, strlen(options->url), &broker->url, &why) <
        0) {
        snprintf(errbuf, errlen, "the URL of the broker is wrong: %s", why);
        goto fail;
    }
    broker_url_name(&broker->url, broker->name);
    if (strlen(options->topic) > BROKER_TOPIC_MAX || loop_is_virtual(loop) ||
        (options->ca_file && strlen(options->ca_file) >= sizeof(broker->ca_file))) {
        snprintf(errbuf, errlen, "a topic or a file's name is too long, or the loop is virtual");
        goto fail;
    }
    strcpy(broker->topic, options->topic);
    if (options->ca_file)
        strcpy(broker->ca_file, options->ca_file);
    broker->forwarder =
        forwarder_new(loop, &broker->url.at, &options->resolver, on_forwarder_failed, broker);
    if (!broker->forwarder) {
        snprintf(errbuf, errlen, "no port on loopback, or no memory: %s", strerror(errno));
        goto fail;
    }
    timer_set_in(loop, &broker->timer, EVENTS_SOON);
    return broker;
fail:
    paho_driver_close(broker);
    return NULL;
}

static void paho_driver_describe(const struct broker *broker, struct broker_info *info)
{
    uint64_t now = loop_now(broker->loop);

    *info = (struct broker_info){
        .name = broker->name,
        .phase = broker->phase,
        .why = broker->why,
        .connect_us = broker->connected_us,
        .received = broker->received,
        .sent = broker->sent,
        .dropped = broker->dropped,
        .connects = broker->connects,
        .failures = broker->failures,
    };
    if (broker->phase == BROKER_WAITING)
        info->next_us = broker->timer.at > now ? broker->timer.at - now : 0;
}

const struct broker_driver broker_paho = {
    .open = paho_driver_open,
    .close = paho_driver_close,
    .publish = paho_driver_publish,
    .kick = paho_driver_kick,
    .describe = paho_driver_describe,
};
