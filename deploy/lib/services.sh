# shellcheck shell=bash
# shellcheck disable=SC2317 # functions are handed to wait_until and trap by name
# Private RabbitMQ and PostgreSQL: functions shared by ./test, deploy/local and the benchmark. Sourced by bash.
#
# One directory (called HOME_DIR below) holds all of one pair of servers: data, logs, ports, pid files. Nothing is
# shared with servers of the machine: own ports on 127.0.0.1, own Erlang port mapper, own cookie; PostgreSQL listens on
# a Unix socket only, in a directory that nobody else may enter. No systemd. Started as root, the servers run as the
# accounts that their packages made; otherwise as the caller.
#
# A process is ended by its pid, and only after /proc has shown that it belongs to HOME_DIR.

readonly BROKER_USER=rollcall DATABASE_ADMIN=rollcall_admin

# Every function speaks to people on stderr: stdout belongs to the caller.
say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# wait_until SECONDS COMMAND...: runs the command until it succeeds, at most so long.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# --- installing ------------------------------------------------------------------------------------------------------

# The server programs; Debian and Ubuntu keep PostgreSQL's by version, and only the newest is used.
postgres_bin() {
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
    [[ -x $found ]] && dirname "$found"
}

# RABBITMQ_BIN: where another version's programs are (rabbitmq-server, rabbitmqctl), for trying that one.
readonly RABBITMQ_BIN=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}

# Names the Debian packages that are missing for the given needs: compiler, services, browser, python, prometheus,
# faketime, systemd, and shellcheck.
missing_packages() {
    local need
    for need in "$@"; do
        case $need in
        compiler) command -v cc >/dev/null || echo build-essential ;;
        services)
            [[ -x $RABBITMQ_BIN/rabbitmq-server ]] || echo rabbitmq-server
            postgres_bin >/dev/null || echo postgresql
            ;;
        browser)
            command -v chromium >/dev/null || echo chromium
            command -v chromedriver >/dev/null || echo chromium-driver
            ;;
        python) python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv ;;
        prometheus) command -v promtool >/dev/null || echo prometheus ;;
        faketime) compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || echo libfaketime ;;
        systemd) command -v systemd-analyze >/dev/null || echo systemd ;;
        shellcheck) command -v shellcheck >/dev/null || echo shellcheck ;;
        *) fail "unknown need $need" ;;
        esac
    done
}

# Installs packages without letting them start anything, now or at the next boot. Runs as root, in a shell of its own.
install_as_root() {
    set -euo pipefail
    export DEBIAN_FRONTEND=noninteractive
    # Not local: the trap runs when the function has returned.
    policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.conf saved=$(mktemp -d)
    restore() {
        if [[ -e $saved/policy ]]; then cp -p "$saved/policy" "$policy"; else rm -f "$policy"; fi
        if [[ -e $saved/clusters ]]; then cp -p "$saved/clusters" "$clusters"; fi
        rm -rf "$saved"
    }
    trap restore EXIT
    if [[ -e $policy ]]; then cp -p "$policy" "$saved/policy"; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    apt-get update -q
    if [[ " $* " == *" postgresql "* ]]; then
        apt-get install -y -q --no-install-recommends postgresql-common
        cp -p "$clusters" "$saved/clusters"
        echo 'create_main_cluster = false' >>"$clusters"
    fi
    apt-get install -y -q --no-install-recommends "$@"
    local server
    for server in rabbitmq-server prometheus; do
        if [[ " $* " == *" $server "* ]] && command -v systemctl >/dev/null; then systemctl disable "$server"; fi
    done
}

# Installs what is missing for the given needs, as root or through sudo.
install_missing() {
    local packages
    mapfile -t packages < <(missing_packages "$@")
    ((${#packages[@]})) || return 0
    command -v apt-get >/dev/null || fail "please install: ${packages[*]} (no apt-get here to do it with)"
    say "installing ${packages[*]}"
    local script
    script="$(declare -f install_as_root); install_as_root \"\$@\""
    if ((EUID == 0)); then
        bash -c "$script" install "${packages[@]}" >&2
    elif command -v sudo >/dev/null; then
        sudo bash -c "$script" install "${packages[@]}" >&2
    else
        fail "please install as root: apt-get install --no-install-recommends ${packages[*]}"
    fi
}

# --- processes and ports ---------------------------------------------------------------------------------------------

# as_account ACCOUNT COMMAND...: as that account when root, else as the caller; never in a directory it may not read.
as_account() {
    local account=$1
    shift
    cd /
    if ((EUID == 0)); then
        exec setpriv --reuid="$account" --regid="$account" --init-groups -- "$@"
    fi
    exec "$@"
}

# own_directory ACCOUNT PATH: makes it, for that account alone.
own_directory() {
    mkdir -p "$2"
    if ((EUID == 0)); then chown "$1" "$2"; fi
    chmod 700 "$2"
}

# belongs PID MARK: the process lives, and MARK stands in its command line or environment.
belongs() {
    [[ $1 =~ ^[0-9]+$ && -d /proc/$1 ]] && grep -qaFs -- "$2" "/proc/$1/cmdline" "/proc/$1/environ"
}

# gone PID: the process has ended, and nothing but its exit code is left. One that is ending has no command line and no
# environment any more while its sockets are still open.
gone() {
    local states
    states=$(sed -s 's/.*) \(.\).*/\1/' "/proc/$1"/task/*/stat 2>/dev/null | tr -d 'ZX\n')
    [[ -z $states ]]
}

# stop_process PID MARK SIGNAL: ends the process if it is ours, and waits until it is gone. Within a trap a bare `return` has the
# status from before the trap, which would end the cleaning up after a failure.
stop_process() {
    belongs "$1" "$2" || return 0
    kill -s "$3" "$1" 2>/dev/null || return 0
    wait_until 30 gone "$1" && return 0
    if belongs "$1" "$2"; then kill -s KILL "$1" 2>/dev/null || true; fi
    wait_until 10 gone "$1" || ! belongs "$1" "$2"
}

first_word() { head -n 1 "$1" 2>/dev/null | tr -dc '0-9'; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Who has which port: a symbolic link a port, which is made by one alone, to the directory that it is for.
readonly PORT_CLAIMS=${TMPDIR:-/tmp}/rollcall-ports.$EUID

# claim_port PORT HOME_DIR: makes the port HOME_DIR's for all who choose by these functions, its servers up or down, until it is
# given back or that directory is gone.
claim_port() {
    if [[ -L $PORT_CLAIMS/$1 && ! -e $PORT_CLAIMS/$1 ]]; then rm -f "$PORT_CLAIMS/$1"; fi
    ln -sT "$(realpath "$2")" "$PORT_CLAIMS/$1" 2>/dev/null
}

# give_ports_back HOME_DIR
give_ports_back() {
    # Claims of others come and go meanwhile, which find complains of.
    if [[ -d $PORT_CLAIMS ]]; then find "$PORT_CLAIMS" -maxdepth 1 -lname "$(realpath "$1")" -delete 2>/dev/null || true; fi
}

# free_ports HOME_DIR: four free ports for it, below those the kernel hands out by itself: an outgoing connection could take one of
# these before it is used.
free_ports() {
    local ports=() port tries=0
    (umask 077 && mkdir -p "$PORT_CLAIMS") || fail "ports are claimed in $PORT_CLAIMS, which cannot be made"
    [[ -w $PORT_CLAIMS ]] || fail "ports are claimed in $PORT_CLAIMS, which cannot be written"
    while ((${#ports[@]} < 4)); do
        ((++tries < 2000)) || fail "no free ports from 20000 on, or $PORT_CLAIMS is full"
        port=$((20000 + RANDOM % 8000))
        if port_is_free "$port" && claim_port "$port" "$1"; then ports+=("$port"); fi
    done
    echo "${ports[*]}"
}

random_hex() { od -An -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# --- RabbitMQ --------------------------------------------------------------------------------------------------------

broker_account() { if ((EUID == 0)); then echo rabbitmq; else id -un; fi; }

# Reads BROKER_PORTS (AMQP, management, distribution, port mapper) and BROKER_PASSWORD of HOME_DIR.
broker_facts() {
    read -r -a BROKER_PORTS <"$1/broker/ports" && BROKER_PASSWORD=$(<"$1/broker/password")
}

broker_running() { belongs "$(first_word "$1/broker/pid/rabbit")" "$1/broker"; }

# The management API answers with the private password: nobody else's broker sits on the port. In a shell of its own:
# a broker that closes the connection while the question is written ends its writer (SIGPIPE). On a machine with much to do
# a broker that runs can leave a question unanswered: no answer is to be asked again.
broker_answers() (
    answer=
    exec 3<>"/dev/tcp/127.0.0.1/${BROKER_PORTS[1]}" || exit 1
    printf 'GET /api/overview HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' \
        "$(printf '%s' "$BROKER_USER:$BROKER_PASSWORD" | base64 -w 0)" >&3
    read -r -t 5 answer <&3
    [[ $answer == *" 200 "* ]] && ! port_is_free "${BROKER_PORTS[0]}"
)

broker_configure() {
    local dir=$1/broker account part
    account=$(broker_account)
    mkdir -p "$dir"
    chmod 711 "$dir"
    [[ -s $dir/password ]] || (umask 077 && random_hex 16 >"$dir/password")
    for part in mnesia log home cfg pid; do own_directory "$account" "$dir/$part"; done
    read -r -a BROKER_PORTS < <(free_ports "$1")
    echo "${BROKER_PORTS[*]}" >"$dir/ports"
    broker_facts "$1"
    echo '[rabbitmq_management].' >"$dir/cfg/enabled_plugins"
    : >"$dir/cfg/rabbitmq-env.conf"
    cat >"$dir/cfg/rabbitmq.conf" <<CONF
default_user = $BROKER_USER
default_pass = $BROKER_PASSWORD
default_vhost = /
default_user_tags.administrator = true
management.tcp.ip = 127.0.0.1
management.tcp.port = ${BROKER_PORTS[1]}
log.console = false
disk_free_limit.absolute = 200MB
CONF
    if ((EUID == 0)); then chown -R "$account" "$dir/cfg"; fi
}

# The environment of every RabbitMQ program of HOME_DIR: nothing of /etc/rabbitmq, no name service, own port mapper,
# and schedulers that do not spin while idle (on a small machine spinning takes the tests' time).
broker_environment() {
    local dir=$1/broker
    export HOME=$dir/home
    export RABBITMQ_NODENAME=rollcall@localhost
    export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=${BROKER_PORTS[0]} RABBITMQ_DIST_PORT=${BROKER_PORTS[2]}
    export ERL_EPMD_PORT=${BROKER_PORTS[3]} ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log RABBITMQ_PID_FILE=$dir/pid/rabbit
    export RABBITMQ_CONF_ENV_FILE=$dir/cfg/rabbitmq-env.conf RABBITMQ_CONFIG_FILE=$dir/cfg/rabbitmq
    export RABBITMQ_ADVANCED_CONFIG_FILE=$dir/cfg/advanced RABBITMQ_GENERATED_CONFIG_DIR=$dir/cfg/generated
    export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/cfg/enabled_plugins
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
}

# Starts the port mapper and the broker on the ports chosen, and waits until the management API answers or it has died.
broker_boot() {
    local dir=$1/broker account launcher
    account=$(broker_account)
    rm -f "$dir/pid/rabbit"
    (
        broker_environment "$1"
        as_account "$account" setsid epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1
    ) >"$dir/log/epmd.out" 2>&1 </dev/null &
    echo $! >"$dir/pid/epmd"
    disown
    (
        broker_environment "$1"
        as_account "$account" setsid "$RABBITMQ_BIN/rabbitmq-server"
    ) >"$dir/log/server.out" 2>&1 </dev/null &
    launcher=$!
    disown
    local up=''
    came_up_or_died() {
        if broker_answers; then up=1; fi
        [[ -n $up ]] || ! kill -0 "$launcher"
    }
    wait_until 120 came_up_or_died
    [[ -n $up ]] && broker_running "$1"
}

# broker_ports_are_free: nobody else sits on one of those chosen.
broker_ports_are_free() {
    local port
    for port in "${BROKER_PORTS[@]}"; do port_is_free "$port" || return 1; done
}

# Starts the broker of HOME_DIR unless it runs. Keeps its ports, which others have been told, unless somebody has taken one.
broker_start() {
    local attempt
    if [[ -s $1/broker/ports ]] && broker_facts "$1"; then
        if broker_running "$1"; then
            wait_until 30 broker_answers && return 0
            broker_stop "$1" KILL
        fi
    else
        broker_configure "$1"
    fi
    for attempt in 1 2 3; do
        if ! broker_ports_are_free; then
            say "a port of RabbitMQ's was taken by somebody else: choosing others"
            give_ports_back "$1"
            broker_configure "$1"
        fi
        broker_boot "$1" && return 0
        say "RabbitMQ did not start (attempt $attempt)"
        broker_stop "$1" KILL
    done
    tail -n 20 "$1/broker/log/server.out" >&2
    fail "RabbitMQ did not start; its logs are in $1/broker/log"
}

# broker_stop HOME_DIR [SIGNAL]: TERM closes the node in order (about 6 s), KILL does not.
broker_stop() {
    stop_process "$(first_word "$1/broker/pid/rabbit")" "$1/broker" "${2:-TERM}"
    stop_process "$(first_word "$1/broker/pid/epmd")" "$1/broker" TERM
}

amqp_url() { broker_facts "$1" && echo "amqp://$BROKER_USER:$BROKER_PASSWORD@127.0.0.1:${BROKER_PORTS[0]}/%2f"; }

amqp_api() { broker_facts "$1" && echo "http://$BROKER_USER:$BROKER_PASSWORD@127.0.0.1:${BROKER_PORTS[1]}"; }

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

database_account() { if ((EUID == 0)); then echo postgres; else id -un; fi; }

database_running() { belongs "$(first_word "$1/database/data/postmaster.pid")" "$1/database/data"; }

database_answers() { "$(postgres_bin)/pg_isready" -q -h "$1/database/socket" -U "$DATABASE_ADMIN" -d postgres; }

# database_create HOME_DIR SETTING...: a new cluster; further settings are lines of postgresql.conf.
database_create() {
    local dir=$1/database account part
    account=$(database_account)
    mkdir -p "$dir"
    chmod 711 "$dir"
    for part in data socket log; do own_directory "$account" "$dir/$part"; done
    (as_account "$account" "$(postgres_bin)/initdb" -D "$dir/data" -U "$DATABASE_ADMIN" --auth=trust --no-locale -E UTF8 -N) \
        >"$dir/log/initdb" 2>&1 || fail "initdb failed; see $dir/log/initdb"
    printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir/socket'" "port = 5432" \
        "max_connections = 300" "${@:2}" >>"$dir/data/postgresql.conf"
}

# database_start HOME_DIR SETTING...: starts the database unless it runs; settings count when it is created.
database_start() {
    local dir=$1/database
    database_running "$1" && database_answers "$1" && return 0
    [[ -s $dir/data/PG_VERSION ]] || database_create "$@"
    (as_account "$(database_account)" setsid "$(postgres_bin)/postgres" -D "$dir/data") \
        >>"$dir/log/server.out" 2>&1 </dev/null &
    disown
    wait_until 60 database_answers "$1" && return 0
    tail -n 20 "$dir/log/server.out" >&2
    fail "PostgreSQL did not start; its log is in $dir/log"
}

# database_stop HOME_DIR [SIGNAL]: INT is a fast shutdown with a checkpoint, QUIT one without.
database_stop() { stop_process "$(first_word "$1/database/data/postmaster.pid")" "$1/database/data" "${2:-INT}"; }

# database_url HOME_DIR ROLE DATABASE
database_url() { echo "postgres://$2@localhost/$3?host=$1/database/socket"; }

# database_ask HOME_DIR SQL: runs it as the administrator, prints what it answers.
database_ask() {
    "$(postgres_bin)/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$1/database/socket" -U "$DATABASE_ADMIN" -d postgres -c "$2"
}

# --- both ------------------------------------------------------------------------------------------------------------

# Whether HOME_DIR can be used: the servers' accounts must reach it, and a Unix socket's path is short.
home_is_usable() {
    [[ $1 =~ ^[A-Za-z0-9._/-]+$ ]] && ((${#1} <= 80)) && (as_account "$(database_account)" test -x "$1")
}

# services_start HOME_DIR SETTING...: both servers, the database with these settings.
services_start() {
    chmod 711 "$1"
    database_start "$@"
    broker_start "$1"
}

# services_stop HOME_DIR: in order, keeping the data.
services_stop() {
    broker_stop "$1" TERM
    database_stop "$1" INT
}

# services_discard HOME_DIR: at once, with the data.
services_discard() {
    broker_stop "$1" KILL
    database_stop "$1" QUIT
    give_ports_back "$1"
    rm -rf "$1"
}
