#!/bin/bash
# Calls every file of a broken set that is absent after unpacking absent.
set -u
export LC_ALL=C
cd /app || exit 1
work=$(mktemp -d)
mkdir -p "$work/parts" "$work/sets" restored

for piece in vault/mirror-a/* vault/mirror-b/* vault/found/*; do
    sum=$(sha256sum <"$piece")
    cp "$piece" "$work/parts/${sum%% *}"
done

declare -A missing packing
while read -r kind set second third fourth; do
    case $kind in
    set) packing[$set]=$second missing[$set]= ;;
    part)
        part=$work/parts/$fourth
        if [ ! -f "$part" ]; then
            missing[$set]+=${missing[$set]:+,}$second
            part=$work/hole
            head -c "$third" /dev/zero >"$part"
        fi
        # A compressed stream is useless after its first hole; a plain one goes on after it.
        [ -n "${missing[$set]}" ] && [ "${packing[$set]}" = gzip ] || cat "$part" >>"$work/$set.archive"
        ;;
    esac
done <vault/MANIFEST

for set in "${!packing[@]}"; do
    mkdir "$work/sets/$set"
    if [ "${packing[$set]}" = gzip ]; then
        gzip -dc <"$work/$set.archive" 2>/dev/null >"$work/$set.tar"
    else
        mv "$work/$set.archive" "$work/$set.tar"
    fi
    tar --ignore-zeros -C "$work/sets/$set" -xf "$work/$set.tar" 2>/dev/null
done

while IFS= read -r line; do
    [[ $line =~ ^file\ ([^ ]+)\ ([0-7]+)\ ([0-9a-f]{64})\ (.*)$ ]] || continue
    set=${BASH_REMATCH[1]} mode=${BASH_REMATCH[2]} want=${BASH_REMATCH[3]} path=${BASH_REMATCH[4]}
    found=$work/sets/$set/$path
    sum=
    [ ! -f "$found" ] || sum=$(sha256sum <"$found")
    if [ "${sum%% *}" = "$want" ]; then
        mkdir -p "restored/$(dirname "$path")"
        cp "$found" "restored/$path" && chmod "$mode" "restored/$path"
    elif [ -z "$sum" ]; then
        printf '%s\t%s\tabsent\n' "$path" "$set"
    elif [ -n "${missing[$set]}" ]; then
        printf '%s\t%s\tparts %s\n' "$path" "$set" "${missing[$set]}"
    else
        printf '%s\t%s\tchecksum\n' "$path" "$set"
    fi
done <vault/MANIFEST | sort >damaged.txt
rm -rf "$work"
