#!/bin/bash
# Streams every set into tar, with a filler in the holes that cannot be taken for an end of the archive.
set -u
export LC_ALL=C
cd /app || exit 1
tmp=$(mktemp -d)
sha256sum vault/mirror-?/* vault/found/* >"$tmp/pieces"
lookup() { grep -m 1 "^$1 " "$tmp/pieces" | cut -c 67-; }
parts() { awk -v set="$1" '$1 == "part" && $2 == set { print $3, $4, $5 }' vault/MANIFEST; }

stream() {
    parts "$1" | while read -r number size sum; do
        piece=$(lookup "$sum")
        if [ -n "$piece" ]; then
            cat "$piece"
        elif [ "$2" = gzip ]; then
            break
        else
            head -c "$size" /dev/zero | tr '\0' X
        fi
    done
}

awk '$1 == "set" { print $2, $3 }' vault/MANIFEST | while read -r set packing; do
    mkdir "$tmp/$set"
    gone=$(parts "$set" | while read -r number size sum; do [ -n "$(lookup "$sum")" ] || echo "$number"; done | paste -sd ,)
    if [ "$packing" = gzip ]; then
        stream "$set" gzip | gzip -dcq 2>/dev/null | tar -xf - -C "$tmp/$set" 2>/dev/null
    else
        stream "$set" plain | tar -xf - -C "$tmp/$set" 2>/dev/null
    fi
    grep "^file $set " vault/MANIFEST | while IFS= read -r line; do
        path=$(printf '%s' "$line" | cut -d ' ' -f 5-)
        want=$(printf '%s' "$line" | cut -d ' ' -f 4)
        if printf '%s  %s\n' "$want" "$tmp/$set/$path" | sha256sum -c --status 2>/dev/null; then
            install -D -m "$(printf '%s' "$line" | cut -d ' ' -f 3)" "$tmp/$set/$path" "restored/$path"
        else
            reason=checksum
            [ -e "$tmp/$set/$path" ] || reason=absent
            printf '%s\t%s\t%s\n' "$path" "$set" "${gone:+parts }${gone:-$reason}"
        fi
    done
done | sort >damaged.txt
rm -rf "$tmp"
