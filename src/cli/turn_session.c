/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Servers come from the command line or from a profile of the configuration; who we are, from the
 * options and the environment, else from the profile, but only for servers that stand in it: what
 * belongs to one server is not shown to another. Passwords and secrets are read from files
 * (--password-file, --secret-file), the environment (ADIT_TURN_PASSWORD, ADIT_TURN_SECRET), or, for
 * a user without either and at a terminal, asked for; never from the command line, which everybody
 * on the machine can read.
 */
#include "cli/turn_session.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn_password.h"
#include "crypto/tls_client.h"
#include "egress/resolve.h"

#define LINGER_MS  200 /* for a server that does not close its side of a connection */
#define CLOSING_US (2 * LINGER_MS * MS_US)

/* --- Who we are --- */

struct turn_secrets {
    char *user, *password, *secret;                         /* of the command line */
    char *profile_user, *profile_password, *profile_secret; /* of the profile */
    struct tls_authority *authority;
};

static char *copy_of(const char *text)
{
    return text != NULL && text[0] != '\0' ? strdup(text) : NULL;
}

/* 0 or CLI_FAILURE, told. */
static int secrets_of_options(const struct cli *cli, struct turn_secrets *s)
{
    const char *password_file = cli_value(cli, "password-file");
    const char *secret_file = cli_value(cli, "secret-file");

    s->user = copy_of(cli_value(cli, "user"));
    if (password_file != NULL) {
        s->password = turn_read_secret("--password-file", password_file);
        if (s->password == NULL)
            return CLI_FAILURE;
    } else if (secret_file != NULL) {
        s->secret = turn_read_secret("--secret-file", secret_file);
        if (s->secret == NULL)
            return CLI_FAILURE;
    } else {
        s->password = copy_of(getenv("ADIT_TURN_PASSWORD"));
        if (s->password == NULL)
            s->secret = copy_of(getenv("ADIT_TURN_SECRET"));
    }
    return 0;
}

static int secrets_of_profile(const struct config_turn *profile, struct turn_secrets *s)
{
    s->profile_user = copy_of(profile->user);
    if (profile->password_file[0] != '\0')
        s->profile_password = turn_read_secret("turn.password_file", profile->password_file);
    if (profile->secret_file[0] != '\0')
        s->profile_secret = turn_read_secret("turn.secret_file", profile->secret_file);
    return (profile->password_file[0] != '\0' && s->profile_password == NULL) ||
                   (profile->secret_file[0] != '\0' && s->profile_secret == NULL)
               ? CLI_FAILURE
               : 0;
}

static void secrets_free(struct turn_secrets *s)
{
    if (s == NULL)
        return;
    turn_free_secret(s->password);
    turn_free_secret(s->secret);
    turn_free_secret(s->profile_password);
    turn_free_secret(s->profile_secret);
    free(s->user);
    free(s->profile_user);
    tls_authority_free(s->authority);
    free(s);
}

/* The password of a user that has none: of the command line, or, if its servers are used, of the
 * profile. 0 or CLI_USAGE, told. */
static int ask_password(struct turn_secrets *s, bool is_profile_used)
{
    const char *user = s->user == NULL && is_profile_used ? s->profile_user : s->user;
    char **password = user == s->user ? &s->password : &s->profile_password;

    if (user == NULL || s->password != NULL || s->secret != NULL || s->profile_password != NULL ||
        s->profile_secret != NULL)
        return 0;
    *password = password_ask(user);
    if (*password != NULL)
        return 0;
    cli_complain("there is no password for %.60s: give a file with it (--password-file), or set "
                 "ADIT_TURN_PASSWORD",
                 user);
    return CLI_USAGE;
}

/* Options are stronger than the profile, which is only for its own servers. */
static struct turn_login login_of(const struct turn_secrets *s, bool in_profile)
{
    struct turn_login login = {.user = s->user, .password = s->password, .secret = s->secret};

    if (login.user == NULL && in_profile)
        login.user = s->profile_user;
    if (login.password == NULL && login.secret == NULL && in_profile) {
        login.password = s->profile_password;
        login.secret = s->profile_secret;
    }
    if (login.secret != NULL) {
        login.id = login.user;
        login.user = NULL;
    }
    if (login.password == NULL)
        login.user = NULL;
    return login;
}

/* --- Names --- */

struct turn_names {
    struct loop *loop;
    struct resolver *resolver;
};

struct name_lookup {
    struct lookup lookup;
    stun_resolved_cb *done;
    void *arg;
    struct addr addrs[2 * RESOLVE_ADDRS_MAX];
    size_t count;
    int told;
    enum answer why;
};

static void on_resolved(void *arg, int family, const struct addr *addrs, size_t count,
                        enum answer why)
{
    struct name_lookup *lookup = arg;
    size_t at = lookup->count;

    /* IPv4 first: where IPv6 leads nowhere, UDP would notice late. */
    if (family == AF_INET) {
        memmove(lookup->addrs + count, lookup->addrs, lookup->count * sizeof(*addrs));
        at = 0;
    }
    if (count > 0)
        memcpy(lookup->addrs + at, addrs, count * sizeof(*addrs));
    else if (lookup->told == 0 || why != ANSWER_NAME_NOT_FOUND)
        lookup->why = why;
    lookup->count += count;
    if (++lookup->told < 2)
        return;
    resolve_cancel(&lookup->lookup); /* so that it may be freed here */
    lookup->done(lookup->arg, lookup->addrs, lookup->count,
                 lookup->count > 0                      ? NULL
                 : lookup->why == ANSWER_NAME_NOT_FOUND ? "there is no such name"
                                                        : "the name could not be looked up: is "
                                                          "the network up, and its DNS server?");
    free(lookup);
}

static void *names_start(void *owner, const char *name, stun_resolved_cb *done, void *arg)
{
    struct turn_names *names = owner;
    struct name_lookup *lookup = calloc(1, sizeof(*lookup));

    if (lookup == NULL)
        return NULL;
    lookup->done = done;
    lookup->arg = arg;
    lookup_init(&lookup->lookup);
    if (resolve(names->resolver, &lookup->lookup, name, 0, on_resolved, lookup) == 0)
        return lookup;
    free(lookup);
    return NULL;
}

static void names_cancel(void *owner, void *arg)
{
    struct name_lookup *lookup = arg;

    (void)owner;
    resolve_cancel(&lookup->lookup);
    free(lookup);
}

/* --- Servers --- */

static bool is_in(const struct config_strings *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

static int add_server(struct turn_session *s, const char *text, bool in_profile)
{
    const char *why = "not understood";
    struct turn_server *server = &s->servers[s->count];

    if (s->count == TURN_SERVERS_MAX) {
        cli_complain("more than %d servers", TURN_SERVERS_MAX);
        return CLI_USAGE;
    }
    *server = (struct turn_server){.leg = LEG_OPTIONS_DEFAULT};
    if (server_parse(text, &server->server, &why) != 0) {
        cli_complain("server %.80s: %s", text, why);
        return CLI_USAGE;
    }
    server->server.is_turn = true;
    server->leg.pipe.linger_ms = LINGER_MS;
    server->login = login_of(s->secrets, in_profile);
    server->leg.pipe.no_offload = !s->cli->config->nat.udp_offload;
    server->leg.resolver = (struct stun_resolver){names_start, names_cancel, s->names};
    server->leg.authority = s->secrets->authority;
    s->texts[s->count++] = text;
    return 0;
}

/* 0 or an exit code, told. */
static int choose_servers(struct turn_session *s, const struct config_turn *profile,
                          char *const *servers, size_t count)
{
    bool chosen = count > 0;
    int code = 0;

    for (size_t i = 0; i < count && code == 0; i++)
        code = add_server(s, servers[i], is_in(&profile->server, servers[i]));
    for (size_t i = 0; i < s->cli->value_count && code == 0; i++) {
        if (strcmp(s->cli->values[i].name, "server") != 0)
            continue;
        chosen = true;
        code = add_server(s, s->cli->values[i].value,
                          is_in(&profile->server, s->cli->values[i].value));
    }
    for (size_t i = 0; !chosen && i < profile->server.count && code == 0; i++)
        code = add_server(s, profile->server.items[i], true);
    if (code == 0 && s->count == 0) {
        cli_complain("no TURN server is known; name one, as in turn:HOST?transport=tcp, or set "
                     "turn.server in the configuration");
        code = CLI_USAGE;
    }
    return code;
}

static const struct config_turn *choose_profile(const struct cli *cli)
{
    const char *name = cli_value(cli, "profile");
    const struct config_turn *profile =
        name != NULL ? config_turn_find(cli->config, name) : &cli->config->turn;

    if (profile == NULL)
        cli_complain("the configuration has no section [turn %.60s]", name);
    return profile;
}

/* The file that names them; NULL: those of the system. */
static const char *authorities_of(const struct cli *cli, const struct config_turn *profile)
{
    if (cli_has(cli, "ca-file"))
        return cli_value(cli, "ca-file");
    return profile->ca_file[0] != '\0' ? profile->ca_file : NULL;
}

/* --- The session --- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct turn_session *s = arg;

    (void)number, (void)what;
    if (s->stopped || s->on_signal == NULL) {
        loop_stop(s->loop);
        return;
    }
    s->stopped = true;
    s->on_signal(s->arg);
}

static int loop_begin(struct turn_session *s)
{
    static const int numbers[] = {SIGINT, SIGTERM};

    s->loop = loop_new();
    s->names = calloc(1, sizeof(*s->names));
    if (s->loop == NULL || s->names == NULL)
        goto fail;
    s->idle_events = event_base_get_num_events(loop_base(s->loop), EVENT_BASE_COUNT_ADDED);
    s->names->loop = s->loop;
    s->names->resolver = resolver_new(s->loop, NULL);
    if (s->names->resolver == NULL)
        goto fail;
    for (int i = 0; i < 2; i++) {
        s->signals[i] = evsignal_new(loop_base(s->loop), numbers[i], on_signal, s);
        if (s->signals[i] == NULL || evsignal_add(s->signals[i], NULL) != 0)
            goto fail;
    }
    return 0;
fail:
    cli_complain("no event loop: out of memory or descriptors");
    return CLI_FAILURE;
}

int turn_session_open(struct turn_session *s, struct cli *cli, char *const *servers, size_t count)
{
    const struct config_turn *profile;
    char why[TLS_CLIENT_TEXT_MAX];
    int code;

    s->cli = cli;
    code = cli_load(cli, &cli->config);
    if (code != 0)
        return code;
    log_init(cli_has(cli, "verbose") || cli_has(cli, "option")
                 ? (enum log_level)cli->config->node.log
                 : LOG_WARN);
    profile = choose_profile(cli);
    s->secrets = calloc(1, sizeof(*s->secrets));
    if (profile == NULL || s->secrets == NULL)
        return profile == NULL ? CLI_USAGE : CLI_FAILURE;
    code = secrets_of_options(cli, s->secrets);
    if (code == 0)
        code = secrets_of_profile(profile, s->secrets);
    if (code != 0)
        return code;
    s->secrets->authority = tls_authority_new(authorities_of(cli, profile), why);
    if (s->secrets->authority == NULL) {
        cli_complain("%s", why);
        return CLI_FAILURE;
    }
    code = ask_password(s->secrets, count == 0 && !cli_has(cli, "server"));
    if (code == 0)
        code = loop_begin(s);
    return code == 0 ? choose_servers(s, profile, servers, count) : code;
}

int turn_session_run(struct turn_session *s)
{
    if (loop_run(s->loop) != 0 && s->code == 0)
        s->code = CLI_FAILURE;
    return s->code;
}

/* A turn whose first calls stop the loop would still wait for what comes next. */
static void on_wake(void *arg)
{
    (void)arg;
}

void turn_session_stop(struct turn_session *s, int code)
{
    s->code = code;
    if (s->wake.fn == NULL)
        timer_init(&s->wake, on_wake, s);
    timer_set_in(s->loop, &s->wake, 0);
    loop_stop(s->loop);
}

/* What was closed last ends in the turns that follow, connections when the server has closed its
 * side, or after LINGER_MS. */
static void close_rest(const struct turn_session *s)
{
    struct event_base *base = loop_base(s->loop);
    uint64_t end = loop_refresh(s->loop) + CLOSING_US;

    do
        loop_turn(s->loop, MS_US);
    while (event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) > s->idle_events &&
           loop_now(s->loop) < end);
    for (int i = 0; i < 4; i++)
        loop_turn(s->loop, 0);
}

void turn_session_close(struct turn_session *s)
{
    for (int i = 0; i < 2; i++)
        if (s->signals[i] != NULL)
            event_free(s->signals[i]);
    if (s->loop != NULL)
        close_rest(s);
    if (s->names != NULL)
        resolver_free(s->names->resolver);
    free(s->names);
    loop_free(s->loop);
    secrets_free(s->secrets);
}

void turn_session_complain(struct turn_session *s, const char *text)
{
    if (!s->told)
        cli_complain("%s", text);
    s->told = true;
}

static void on_below_end(struct pipe *pipe, int why, void *arg)
{
    const struct turn_report *report = turn_pipe_report(pipe);

    if (why != 0 && why != -ECANCELED)
        turn_session_complain(arg, report->trouble != TURN_FINE ? report->text : err_text(why));
}

void turn_session_watch(struct turn_session *s, struct pipe *below)
{
    static const struct pipe_events events = {.end = on_below_end};

    pipe_add_listener(below, &events, s);
}

/* --- Small things --- */

void turn_session_remedy(const struct turn_report *report)
{
    switch ((int)report->trouble) {
    case TURN_NO_LOGIN:
        cli_complain("give them by --user with --password-file (or ADIT_TURN_PASSWORD), or by "
                     "--secret-file");
        break;
    case TURN_UNREACHABLE:
    case TURN_SILENT:
        /* The words are those of the TLS library. */
        cli_complain("%s",
                     strstr(report->text, "certificate") != NULL
                         ? "the authority of an own certificate, or a self-signed one itself, "
                           "is named by --ca-file; `adit turn probe' tells more"
                         : "`adit turn probe' with this server tells more");
        break;
    default:
        break;
    }
}

int turn_session_family(const struct cli *cli, struct turn_request *request)
{
    const char *text = cli_value(cli, "family");
    const struct config_turn *profile = choose_profile(cli);

    request->renew_s = profile != NULL ? (uint32_t)(profile->renew_us / SEC_US) : 0;
    if (text == NULL)
        return 0;
    if (strcmp(text, "4") == 0) {
        request->family = AF_INET;
    } else if (strcmp(text, "6") == 0) {
        request->family = AF_INET6;
    } else if (strcmp(text, "both") == 0) {
        request->both = true;
    } else {
        cli_complain("--family %.20s: 4, 6 or both", text);
        return CLI_USAGE;
    }
    return 0;
}
