#!/usr/bin/env escript
%% SPDX-License-Identifier: MIT
%%
%% usage: p1_server.escript IPv4 IPv6 [CERTIFICATE]
%%
%% A TURN server of ProcessOne's library p1_stun, the engine of eturnal and ejabberd, for tests: UDP
%% and TCP on port 3478, TLS on 5349 if there is a certificate (a file with its key). The user is
%% alice, the password secret. It relays to nobody at 10.9.0.77. Says "ready"; what is logged goes to
%% standard error.

-mode(compile).

main([Ip4, Ip6 | Certificate]) ->
    logger:remove_handler(default),
    ok = logger:add_handler(stderr, logger_std_h, #{config => #{type => standard_error}}),
    ok = logger:set_primary_config(level, notice),
    {ok, _} = application:ensure_all_started(fast_tls),
    {ok, _} = application:ensure_all_started(stun),
    {ok, V4} = inet:parse_address(Ip4),
    {ok, V6} = inet:parse_address(Ip6),
    Options = [use_turn, {turn_ipv4_address, V4}, {turn_ipv6_address, V6},
               {turn_blacklist, [{{10,9,0,77}, 32}]}, {turn_min_port, 50000}, {turn_max_port, 59999},
               {auth_type, user}, {auth_realm, <<"p1.test">>}, {server_name, <<"p1_stun">>},
               {auth_fun, fun password/2}],
    [listen(Ip, 3478, Transport, Options) || Ip <- [V4, V6], Transport <- [udp, tcp]],
    [listen(Ip, 5349, tcp, [tls, {certfile, list_to_binary(File)} | Options])
     || File <- Certificate, Ip <- [V4, V6]],
    io:format("ready~n"),
    timer:sleep(infinity).

password(<<"alice">>, <<"p1.test">>) -> <<"secret">>;
password(_, _) -> <<>>.

listen(Ip, Port, Transport, Options) ->
    ok = stun_listener:add_listener(Ip, Port, Transport, Options).
