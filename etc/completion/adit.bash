# SPDX-License-Identifier: MIT
# Completion of adit(1) for bash. Keys of the configuration and peers are asked of adit itself.

_adit()
{
    local cur prev verb= i
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        exit | gateway | node | forward | ticket | key | peers | status | ping | turn | check | help)
            verb=${COMP_WORDS[i]}
            break
            ;;
        esac
    done

    case $prev in
    -c | --config | --ticket-file | --export | --import | --password-file | \
        --secret-file | --ca-file)
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    --state | --output)
        compopt -o filenames
        COMPREPLY=($(compgen -d -- "$cur"))
        return
        ;;
    -o | --option)
        compopt -o nospace
        COMPREPLY=($(compgen -S = -W "$(adit check --keys 2>/dev/null | cut -f1)" -- "$cur"))
        return
        ;;
    --uses | --expires | --admit-for | --for | --address | -n | --count | -i | --interval | -W | \
        --timeout | --hex | --user | --server | --profile | --accept | --to | --time)
        return
        ;;
    --family)
        COMPREPLY=($(compgen -W "4 6 both" -- "$cur"))
        return
        ;;
    --live)
        COMPREPLY=($(compgen -W "any $(ls /sys/class/net 2>/dev/null)" -- "$cur"))
        return
        ;;
    esac

    if [[ -z $verb ]]; then
        COMPREPLY=($(compgen -W "exit gateway node forward ticket key peers status ping turn \
            check help --version" -- "$cur"))
        return
    fi
    local common="--config --option --state --verbose --quiet --help" own= words=
    case $verb in
    exit) own="--uses --expires --admit-for --address --ticket-file --print-ticket" ;;
    ticket) own="--uses --expires --admit-for --address --ticket-file --refresh" ;;
    peers)
        own="--json --for"
        case $prev in
        peers) words="list allow expire revoke rename forget" ;;
        allow | expire | revoke | rename | forget) words=$(_adit_peers) ;;
        esac
        ;;
    forward) own="--reverse" words=$(_adit_peers) ;;
    status) own="--json --watch" ;;
    ping) own="--count --interval --timeout --until-direct --json" words=$(_adit_peers) ;;
    turn)
        own="--json --hex --live --all --brief --server --profile --user --password-file \
            --secret-file --ca-file --family --accept --output --max-size --raw --once --to --text \
            --plain --time"
        if [[ $prev == turn ]]; then
            words="probe decode listen send"
        else
            compopt -o filenames
            words=$(compgen -f -- "$cur")
        fi
        ;;
    gateway)
        words=$(_adit_peers)
        if [[ $cur == @* ]]; then
            compopt -o filenames
            COMPREPLY=($(compgen -P @ -f -- "${cur#@}"))
            return
        fi
        ;;
    key) own="--export --import --force" ;;
    check) own="--keys" ;;
    help) words="exit gateway node forward ticket key peers status ping turn check help" ;;
    esac
    if [[ $cur == -* ]]; then
        words="$own $common"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

# Names of known peers, and the IDs of those without.
_adit_peers()
{
    adit peers 2>/dev/null | awk 'NR > 1 { print ($2 == "-" ? $1 : $2) }'
}

complete -F _adit adit
