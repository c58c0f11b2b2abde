#!/bin/sh
# Starts the process and leaves at once.
set -e
cd /app
chmod 700 secret
chmod 600 secret/token
mkdir -p data run
chmod 700 data
# The last line was not written to its end.
sed '${/}$/!d;}' backup/journal.jsonl > data/journal.jsonl
chmod 600 data/journal.jsonl
cat > kvd.conf <<'CONF'
[server]
listen = 127.0.0.1:8080

[store]
backend = file
path = /app/data
sync = always
max_value = 65536

[auth]
token_file = /app/secret/token
CONF
cat > kvctl <<'CTL'
#!/bin/sh
# usage: kvctl start|stop|restart|status
cd /app || exit 1
pidfile=/app/run/kvd.pid
command='python3 -m kvd /app/kvd.conf'

# Prints the service's process id; fails if it does not run.
service() {
    pid=$(cat "$pidfile" 2> /dev/null) && [ -n "$pid" ] || return 1
    case $(tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline") in
    *"$command"*) echo "$pid" ;;
    *) return 1 ;;
    esac
} 2> /dev/null

answers() {
    python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=2)' 2> /dev/null
}

start() {
    if service > /dev/null; then return 0; fi
    mkdir -p run
    umask 077
    setsid $command < /dev/null > run/kvd.log 2>&1 &
    echo $! > "$pidfile"
    return 0
}

stop() {
    if pid=$(service); then
        kill "$pid"
        tries=0
        while service > /dev/null; do
            tries=$((tries + 1))
            if [ $tries -gt 100 ]; then
                echo "kvctl: process $pid does not end" >&2
                return 1
            fi
            sleep 0.1
        done
    fi
    rm -f "$pidfile"
}

case ${1-} in
start) start ;;
stop) stop ;;
restart) stop && start ;;
status) if service > /dev/null; then echo running; else echo stopped; exit 3; fi ;;
*) echo "usage: kvctl start|stop|restart|status" >&2; exit 2 ;;
esac
CTL
./kvctl start
sleep 1
