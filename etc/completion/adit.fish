# SPDX-License-Identifier: MIT
# Completion of adit(1) for fish. Keys of the configuration and peers are asked of adit itself.

function __adit_peers
    adit peers 2>/dev/null | awk 'NR > 1 { print ($2 == "-" ? $1 : $2) }'
end

set -l verbs exit gateway node forward ticket key peers status ping turn check help
set -l none "not __fish_seen_subcommand_from $verbs"

complete -c adit -f
complete -c adit -n $none -a exit -d 'offer this machine as an exit; prints its ticket'
complete -c adit -n $none -a gateway -d 'SOCKS and HTTP proxy whose traffic leaves at a peer'
complete -c adit -n $none -a node -d 'run all roles that the configuration has'
complete -c adit -n $none -a forward -d 'forward a port through a peer, or from it'
complete -c adit -n $none -a ticket -d 'print a new ticket of this node'
complete -c adit -n $none -a key -d "print this node's ID"
complete -c adit -n $none -a peers -d 'known peers, and who may use this exit'
complete -c adit -n $none -a status -d 'sessions, paths, streams and rates'
complete -c adit -n $none -a ping -d 'round trips to a peer, over every path'
complete -c adit -n $none -a turn -d 'a TURN toolbox'
complete -c adit -n $none -a check -d 'validate the configuration'
complete -c adit -n $none -a help -d 'this list, or the help of a verb'
complete -c adit -n $none -l version -d 'print the version'

set -l any "__fish_seen_subcommand_from $verbs"
complete -c adit -n $any -s c -l config -r -F -d 'configuration file'
complete -c adit -n $any -s o -l option -x -a '(adit check --keys 2>/dev/null | cut -f1)=' -d 'set a key'
complete -c adit -n $any -l state -x -a '(__fish_complete_directories)' -d 'state directory'
complete -c adit -n $any -s v -l verbose -d 'log more'
complete -c adit -n $any -s q -l quiet -d 'log less'
complete -c adit -n $any -s h -l help -d 'show the help of the verb'

set -l tickets '__fish_seen_subcommand_from exit ticket'
complete -c adit -n $tickets -l uses -x -d 'how many gateways may enrol'
complete -c adit -n $tickets -l expires -x -d 'how long it is good for'
complete -c adit -n $tickets -l admit-for -x -d 'how long those it admits stay admitted'
complete -c adit -n $tickets -l address -x -d 'where this machine is reached'
complete -c adit -n $tickets -l ticket-file -r -F -d 'write the ticket to a file'
complete -c adit -n '__fish_seen_subcommand_from exit' -l print-ticket -d 'print a ticket in any case'
complete -c adit -n '__fish_seen_subcommand_from ticket' -l refresh -d 'withdraw all earlier tickets'
complete -c adit -n '__fish_seen_subcommand_from forward' -s R -l reverse -d 'the peer listens'
complete -c adit -n '__fish_seen_subcommand_from forward' -F -a '(__adit_peers)'
complete -c adit -n '__fish_seen_subcommand_from gateway' -F -a '(__adit_peers)'
complete -c adit -n '__fish_seen_subcommand_from peers' -a 'list allow expire revoke rename forget (__adit_peers)'
complete -c adit -n '__fish_seen_subcommand_from peers' -l for -x -d 'allow: end the admission after that time'
complete -c adit -n '__fish_seen_subcommand_from peers status ping turn' -s j -l json -d 'as JSON'
complete -c adit -n '__fish_seen_subcommand_from status' -s w -l watch -d 'again every second'
complete -c adit -n '__fish_seen_subcommand_from ping' -a '(__adit_peers)'
complete -c adit -n '__fish_seen_subcommand_from ping' -s n -l count -x -d 'rounds'
complete -c adit -n '__fish_seen_subcommand_from ping' -s i -l interval -x -d 'time between rounds'
complete -c adit -n '__fish_seen_subcommand_from ping' -s W -l timeout -x -d 'how long to wait for an answer'
complete -c adit -n '__fish_seen_subcommand_from ping' -l until-direct -d 'go on until a direct path answers'
set -l turn '__fish_seen_subcommand_from turn'
complete -c adit -n $turn -F -a 'probe decode listen send'
complete -c adit -n $turn -l hex -x -d 'decode: this'
complete -c adit -n $turn -l live -x -d 'decode: the packets of an interface'
complete -c adit -n $turn -l all -d 'decode: other traffic too'
complete -c adit -n $turn -l brief -d 'decode: one line for each packet'
complete -c adit -n $turn -l server -x -d 'a TURN server'
complete -c adit -n $turn -l profile -x -d 'servers of the configuration'
complete -c adit -n $turn -l ca-file -r -F -d 'certificates of authorities'
complete -c adit -n $turn -l family -x -a '4 6 both' -d 'family of the relayed address'
complete -c adit -n $turn -l accept -x -d 'listen: who may send to us'
complete -c adit -n $turn -l output -x -a '(__fish_complete_directories)' -d 'listen: where files are kept'
complete -c adit -n $turn -l time -x -d 'probe: how long throughput is measured'
complete -c adit -n $turn -l once -d 'listen: end after one message or file'
complete -c adit -n $turn -l to -x -d 'send: the address that the listener printed'
complete -c adit -n $turn -l text -d 'send: messages only'
complete -c adit -n $turn -l plain -d 'listen, send: single datagrams'
complete -c adit -n $turn -l user -x -d 'the user at the servers'
complete -c adit -n $turn -l password-file -r -F -d 'the password'
complete -c adit -n $turn -l secret-file -r -F -d 'the secret of time-limited credentials'
complete -c adit -n '__fish_seen_subcommand_from key' -l export -r -F -d 'copy the private key to a new file'
complete -c adit -n '__fish_seen_subcommand_from key' -l import -r -F -d 'take the private key of a file'
complete -c adit -n '__fish_seen_subcommand_from key' -l force -d 'put a key that is there aside'
complete -c adit -n '__fish_seen_subcommand_from check' -l keys -d 'list all keys'
complete -c adit -n '__fish_seen_subcommand_from help' -a "$verbs"
