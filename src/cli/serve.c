/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The frame of the long-running verbs: state directory (locked), identity, loop, node, control
 * socket, and the signals.
 *
 *     SIGTERM, SIGINT   the node stops cleanly, which takes a second or so; a second one is
 *                       the end at once
 *     SIGHUP            the configuration is read anew, with the same options; if it has
 *                       errors, they are told and everything stays as it is
 *     SIGPIPE           ignored, as everywhere in adit
 *
 * Order of the end: what waits at the control socket is answered, the node is freed, then what it
 * has used.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "control/verbs.h"

struct serve {
    struct cli *cli;
    struct loop *loop;
    struct state *state;
    struct identity *identity;
    struct node *node;
    struct verbs *verbs;
    struct control_server *control;
    struct event *signals[3];
    bool stopping;
};

static void on_stopped(void *arg)
{
    struct serve *serve = arg;

    loop_stop(serve->loop);
}

static void on_stop_signal(evutil_socket_t number, short what, void *arg)
{
    struct serve *serve = arg;

    (void)what;
    if (serve->stopping) {
        log_info("event=stop-at-once signal=%d", (int)number);
        loop_stop(serve->loop);
        return;
    }
    log_info("event=stop signal=%d", (int)number);
    serve->stopping = true;
    notify_send("STOPPING=1");
    verbs_stop(serve->verbs);
    node_stop(serve->node, on_stopped, serve);
}

static int config_reload(void *arg, char **restart, char *errbuf, size_t errlen)
{
    struct serve *serve = arg;
    struct config *fresh = NULL;
    int rc = ADIT_EFORMAT;

    *restart = NULL;
    notify_reloading();
    if (cli_load(serve->cli, &fresh) != 0)
        snprintf(errbuf, errlen, "the configuration has errors, and nothing was changed: %s",
                 fresh != NULL && config_error_count(fresh) > 0 ? config_error(fresh, 0) : "");
    else
        rc = node_reload(serve->node, fresh, restart, errbuf, errlen);
    if (rc == 0) {
        struct config *old = serve->cli->config;
        serve->cli->config = fresh;
        fresh = old;
        log_set_level((enum log_level)serve->cli->config->node.log);
    }
    config_free(fresh);
    notify_send("READY=1");
    return rc;
}

static void on_reload_signal(evutil_socket_t number, short what, void *arg)
{
    char errbuf[CLI_ERROR_MAX] = "", *restart = NULL;

    (void)number, (void)what;
    if (config_reload(arg, &restart, errbuf, sizeof errbuf) != 0)
        log_error("event=reload-failed error=\"%s\"", errbuf);
    else if (restart != NULL && restart[0] != '\0')
        log_warn("event=reloaded restart_needed_for=\"%s\"", restart);
    else
        log_info("event=reloaded");
    free(restart);
}

static int signals_watch(struct serve *serve)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    for (int i = 0; i < 3; i++) {
        serve->signals[i] =
            evsignal_new(loop_base(serve->loop), numbers[i],
                         numbers[i] == SIGHUP ? on_reload_signal : on_stop_signal, serve);
        if (serve->signals[i] == NULL || evsignal_add(serve->signals[i], NULL) != 0)
            return CLI_FAILURE;
    }
    return 0;
}

/* Two descriptors a stream at most: what the system allows beyond its default is welcome. */
static void descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Where nobody asked for a certain place and the usual one cannot be had, the state directory will
 * do; cli_connect() looks there too. */
static int control_begin(struct serve *serve)
{
    struct cli *cli = serve->cli;
    char path[PATH_MAX], errbuf[CLI_ERROR_MAX] = "the path is too long";
    struct verbs_context context = {
        serve->loop, serve->node, serve->state, identity_id(serve->identity), config_reload, serve};

    serve->verbs = verbs_new(&context);
    if (serve->verbs == NULL)
        return CLI_FAILURE;
    if (control_path(cli->config, cli->state_dir, cli->state_chosen, path) == 0)
        serve->control =
            control_server_new(serve->loop, path, &verbs_ops, serve->verbs, errbuf, sizeof errbuf);
    if (serve->control == NULL && cli->config->node.control[0] == '\0') {
        snprintf(path, sizeof path, "%.4000s/control.sock", cli->state_dir);
        serve->control =
            control_server_new(serve->loop, path, &verbs_ops, serve->verbs, errbuf, sizeof errbuf);
    }
    if (serve->control == NULL) {
        cli_complain("%s", errbuf);
        return CLI_FAILURE;
    }
    return 0;
}

static int serve_begin(struct serve *serve, unsigned roles)
{
    struct cli *cli = serve->cli;
    char errbuf[CLI_ERROR_MAX] = "out of memory";
    int code = cli_open_state(cli, &serve->state, &serve->identity);

    if (code != 0)
        return code;
    serve->loop = loop_new();
    if (serve->loop == NULL || signals_watch(serve) != 0) {
        cli_complain("no event loop: out of memory or descriptors");
        return CLI_FAILURE;
    }
    serve->node = node_new(serve->loop, cli->config, serve->state, serve->identity, roles, errbuf,
                           sizeof errbuf);
    if (serve->node == NULL) {
        cli_complain("%s", errbuf);
        return CLI_FAILURE;
    }
    return control_begin(serve);
}

static void serve_end(struct serve *serve)
{
    if (serve->verbs != NULL)
        verbs_stop(serve->verbs);
    node_free(serve->node);
    verbs_free(serve->verbs);
    control_server_free(serve->control);
    for (int i = 0; i < 3; i++)
        if (serve->signals[i] != NULL)
            event_free(serve->signals[i]);
    identity_free(serve->identity);
    state_close(serve->state);
    loop_free(serve->loop);
}

int cli_serve(struct cli *cli, unsigned roles, const struct serve_hooks *hooks)
{
    struct serve serve = {.cli = cli};
    const char *name;
    int code;

    umask(077);
    descriptors_raise();
    for (size_t i = 0; config_note(cli->config, i) != NULL; i++)
        log_warn("event=config-note text=\"%s\"", config_note(cli->config, i));
    for (size_t i = 0; (name = cli_missing_interface(cli->config, &i)) != NULL;)
        log_warn("event=no-such-interface name=%s effect=\"it is used once it is there\"", name);
    code = serve_begin(&serve, roles);
    if (code == 0)
        code = hooks->ready(cli, serve.node, identity_id(serve.identity));
    if (code == 0) {
        fflush(stdout);
        notify_send("READY=1");
        cli->loop = serve.loop;
        code = loop_run(serve.loop) != 0 ? CLI_FAILURE : cli->serve_code;
        cli->loop = NULL;
    }
    serve_end(&serve);
    return code;
}

void cli_serve_end(struct cli *cli, int code)
{
    cli->serve_code = code;
    if (cli->loop != NULL)
        loop_stop(cli->loop);
}

void cli_print_ready(const struct node *node)
{
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < node_listener_count(node); i++) {
        struct node_listener listener = node_listener_at(node, i);
        if (listener.for_paths)
            continue;
        if (listener.path != NULL)
            printf("ready: unix:%s\n", listener.path);
        else
            printf("ready: socks5://%s\n", addr_format(&listener.addr, text));
    }
    fflush(stdout);
}
