# Read by all the tools.
umask 077

root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

check_name() {
    case $1 in
    '' | *[!a-z0-9-]*) fail "not a name: $1" ;;
    esac
}
