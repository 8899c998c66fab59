/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The table of verbs and their options, and main(), which finds the verb and hands the rest of the
 * command line to it. `adit VERB --help` and `adit --help`, --version are understood wherever a
 * user would try them.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* clang-format off */
#define TICKET_OPTIONS \
    {0, "uses", "N", "how many gateways may enrol with the ticket (default 1)"}, \
    {0, "expires", "DURATION", "how long it is good for (default 1h; 0: for ever)"}, \
    {0, "admit-for", "DURATION", "how long those it admits stay admitted (default: for ever)"}, \
    {0, "address", "HOST:PORT", "where this machine is reached (repeatable; default: found out)"}
/* clang-format on */

static const struct cli_option exit_options[] = {
    TICKET_OPTIONS,
    {0, "ticket-file", "FILE", "write a ticket to this file (mode 0600)"},
    {0, "print-ticket", NULL, "print a ticket, though standard output is no terminal"},
    {0},
};

static const struct cli_option ticket_options[] = {
    TICKET_OPTIONS,
    {0, "ticket-file", "FILE", "write it to this file (mode 0600) instead of printing it"},
    {0, "refresh", NULL, "withdraw all tickets given out before"},
    {0},
};

static const struct cli_option key_options[] = {
    {0, "export", "FILE", "copy the private key to this new file (mode 0600)"},
    {0, "import", "FILE", "take the private key of this file for this node"},
    {0, "force", NULL, "import: put a key that is there already aside"},
    {0},
};

static const struct cli_option peers_options[] = {
    {'j', "json", NULL, "as JSON"},
    {0, "for", "DURATION", "allow: the admission ends by itself after that time"},
    {0},
};

static const struct cli_option status_options[] = {
    {'j', "json", NULL, "as JSON"},
    {'w', "watch", NULL, "again every second, until interrupted"},
    {0},
};

static const struct cli_option ping_options[] = {
    {'n', "count", "N", "rounds (default 3; 0: until interrupted)"},
    {'i', "interval", "DURATION", "time between rounds (default 1s)"},
    {'W', "timeout", "DURATION", "how long to wait for an answer (default 5s)"},
    {0, "until-direct", NULL, "go on until a path that is no relay answers"},
    {'j', "json", NULL, "one JSON object a line"},
    {0},
};

static const struct cli_option forward_options[] = {
    {'R', "reverse", NULL, "the peer listens, and this machine connects to HOST:PORT"},
    {0},
};

static const struct cli_option turn_options[] = {
    {0, "hex", "TEXT", "decode: this, in any form of hex"},
    {0, "live", "IFACE", "decode: the packets of an interface, or of `any' (needs root)"},
    {0, "all", NULL, "decode: other traffic too"},
    {0, "brief", NULL, "decode: one line for each packet"},
    {'j', "json", NULL, "one JSON object a line"},
    {0, "server", "URI", "a server, as in turn:HOST?transport=tcp (repeatable)"},
    {0, "profile", "NAME", "those of the configuration's [turn NAME], not of [turn]"},
    {0, "user", "NAME", "the user at the servers"},
    {0, "password-file", "FILE", "and the password (decode: to verify integrities)"},
    {0, "secret-file", "FILE", "or the secret that time-limited credentials are made of"},
    {0, "ca-file", "FILE", "certificates of the authorities to believe (default: the system's)"},
    {0, "family", "4|6|both", "family of the relayed address"},
    {0, "time", "DURATION", "probe: how long throughput is measured (default 2s; 0: not)"},
    {0, "accept", "IP", "listen: who may send to us (repeatable; default: the same server)"},
    {0, "output", "DIR", "listen: where files are kept (default: here)"},
    {0, "max-size", "SIZE", "listen: of a file that is taken (default 4G; 0: no files)"},
    {0, "once", NULL, "listen: end after one message or file"},
    {0, "raw", NULL, "listen: messages as they are, on standard output; the rest on standard error"},
    {0, "to", "ADDRESS", "send: the address that the listener printed"},
    {0, "text", NULL, "send: messages, though there be files of that name"},
    {0, "plain", NULL, "listen, send: single datagrams, with any other TURN client"},
    {0},
};

static const struct cli_option check_options[] = {
    {0, "keys", NULL, "list all keys of the configuration instead"},
    {0},
};

const struct cli_option cli_common_options[] = {
    {'c', "config", "FILE", "configuration file (default: see adit.conf(5))"},
    {'o', "option", "SECTION.KEY=VALUE", "set a key of the configuration (repeatable)"},
    {0, "state", "DIR", "state directory: key and known peers"},
    {'v', "verbose", NULL, "log more; twice: much more"},
    {'q', "quiet", NULL, "log warnings only; twice: errors only"},
    {'h', "help", NULL, "show the help of the verb"},
    {0},
};

const struct cli_verb cli_verbs[] = {
    {"exit", "", "offer this machine as an exit; prints its ticket", exit_run, exit_options, 0, 0,
     "Runs until it is told to stop. The ticket is printed when standard output is a terminal;\n"
     "otherwise only the node's ID is. On the other machine, run: adit gateway TICKET\n"},
    {"gateway", "[TICKET|PEER]", "SOCKS and HTTP proxy whose traffic leaves at a peer", gateway_run,
     NULL, 0, 1,
     "Runs until it is told to stop. TICKET is the exit's, needed once; @FILE reads it from a\n"
     "file, - from standard input. Afterwards PEER, a name or ID, is enough, or nothing if only\n"
     "one exit is known. Prints `ready: socks5://ADDRESS:PORT' when applications may connect.\n"},
    {"node", "", "run all roles that the configuration has", node_run, NULL, 0, 0,
     "The configuration's sections [exit], [gateway] and [forward] say which.\n"},
    {"forward", "LISTEN PEER HOST:PORT", "forward a port through a peer, or from it", forward_run,
     forward_options, 3, 3,
     "Connections to LISTEN on this machine go through PEER, which connects to HOST:PORT. With\n"
     "--reverse, PEER listens at LISTEN, and this machine connects. LISTEN is [IP:]PORT (port 0:\n"
     "any; IP is 127.0.0.1 if left out) or unix:PATH; PEER a name, ID or ticket (@FILE, -). Runs\n"
     "until it is told to stop; prints `ready: IP:PORT' when somebody listens. A node that runs\n"
     "already does the work; else this is one. The peer's owner says where it may listen, with\n"
     "exit.reverse; [forward] in the configuration has forwards that stay.\n"},
    {"ticket", "", "print a new ticket of this node", ticket_run, ticket_options, 0, 0,
     "The running process makes it; where none runs, it is made for the next one. Give it to one\n"
     "person: whoever has it first may use this exit.\n"},
    {"key", "", "print this node's ID", key_run, key_options, 0, 0,
     "The key itself is in the file `key' of the state directory; keep it to yourself. With a\n"
     "copy of it another machine can take this one's place; two at once get in each other's\n"
     "way.\n"},
    {"peers",
     "[list | allow PEER [NAME] | expire PEER DURATION | revoke PEER | rename PEER NAME |\n"
     "        forget PEER]",
     "known peers, and who may use this exit", peers_run, peers_options, 0, 3,
     "PEER is a name, an ID, or the beginning of one (4 characters at least); allow takes the\n"
     "whole ID of one that is not known yet. The list says who is connected now, and how.\n"
     "`expire' sets when an admission ends by itself: after a DURATION from now, or never. The\n"
     "live streams of a peer that is revoked, or whose admission ends, end at once.\n"},
    {"status", "", "sessions, paths, streams and rates", status_run, status_options, 0, 0,
     "Of the running process: each peer with its paths, what was tried, what is wrong, and when\n"
     "the next try comes. adit(1) lists the members of the JSON.\n"},
    {"ping", "PEER", "round trips to a peer, over every path", ping_run, ping_options, 1, 1,
     "The running process probes; where there is no path, it looks for one first. Exit status: 0\n"
     "if anything was answered (--until-direct: by a path that is no relay), else 1.\n"},
    {"turn", "probe [SERVER...] | decode [FILE] | listen | send [FILE|MESSAGE...]",
     "a TURN toolbox: server check, message decoder, message and file transfer", turn_run, turn_options, 1,
     CLI_VALUES_MAX,
     "probe asks servers what they offer and refuse, over UDP, TCP and TLS, by IPv4 and IPv6, measures\n"
     "what they relay, and says what is wrong and what to do. SERVER is HOST[:PORT] or a URI. Exit\n"
     "status: 0 if a relay can work, else 1.\n\n"
     "decode tells every STUN and TURN message in words: those of a capture (pcap, pcapng), of hex\n"
     "in any form, or live; which answers which, and after how long. FILE may be -, standard input.\n"
     "Exit status: 0, or 1 if something in them is unknown, malformed or has a wrong integrity.\n\n"
     "listen asks a server for a relayed address, prints it, and takes the messages and files that\n"
     "send brings there, by a relayed address of its own: in order, and checked by their SHA-256.\n"
     "Who sends is not authenticated: the server lets in whoever comes from an address that --accept\n"
     "names, by default from itself. Texts are printed with control characters escaped.\n"
     "Without arguments, send takes the lines of standard input for messages; - is its content as\n"
     "a file. Passwords are also taken from ADIT_TURN_PASSWORD, or asked for.\n"},
    {"check", "", "validate the configuration", check_run, check_options, 0, 0,
     "Tells all errors with file and line, and notes about what is set and has no effect. Exit\n"
     "status: 0, or 78 if there are errors.\n"},
    {"help", "[VERB]", "this list, or the help of a verb", help_run, NULL, 0, 2, NULL},
};

const size_t cli_verb_count = sizeof cli_verbs / sizeof *cli_verbs;

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < cli_verb_count; i++)
        if (strcmp(cli_verbs[i].name, name) == 0)
            return &cli_verbs[i];
    return NULL;
}

int main(int argc, char **argv)
{
    struct cli cli = {0};

    if (argc < 2) {
        help_print(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("adit %s\n", PACKAGE_VERSION);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_print(stdout);
        return CLI_OK;
    }
    cli.verb = cli_verb_find(argv[1]);
    if (cli.verb == NULL) {
        cli_complain("there is no verb '%.60s'; `adit help' lists them", argv[1]);
        return CLI_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    int code = cli_parse(&cli, argc - 1, argv + 1);
    if (code < 0)
        code = cli.verb->run(&cli);
    cli_free(&cli);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK) {
        cli_complain("standard output: not all could be written");
        code = CLI_FAILURE;
    }
    return code;
}
