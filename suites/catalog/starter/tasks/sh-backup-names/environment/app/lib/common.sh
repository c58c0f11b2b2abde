# Shared by the commands.

die() {
    echo "$(basename $0): $*" >&2
    exit 1
}

usage() {
    echo "usage: $(basename $0) $*" >&2
    exit 2
}

# The stamp of a new snapshot.
stamp() {
    echo ${BACKUP_STAMP:-$(date -u +%Y%m%dT%H%M%SZ)}
}

# snapshots STORE NAME: the stamps of its snapshots, oldest first.
snapshots() {
    cd $1
    ls | grep "^$2.*.tar.gz$" | sed "s/^$2\.//; s/.tar.gz$//" | sort
}
