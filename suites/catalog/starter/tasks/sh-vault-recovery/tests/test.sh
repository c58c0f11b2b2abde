#!/bin/bash
# Compares the restored files and the list of damaged ones with the lists beside this script.
NAMES="ledger_restored mail_restored photos_restored source_restored notes_restored modes_restored nothing_else_restored damaged_list vault_untouched"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
export LC_ALL=C
dir=$(mktemp -d)

# Lines of recoverable.txt: SET MODE SHA256 PATH
for set in ledger mail photos source notes; do
    bad=
    while IFS= read -r line; do
        path=${line#* * * }
        read -r _ _ want _ <<<"$line"
        if [ ! -f "/app/restored/$path" ] || [ -L "/app/restored/$path" ]; then bad="$bad '$path' is missing;"
        elif [ "$(sha256sum <"/app/restored/$path" | cut -c 1-64)" != "$want" ]; then bad="$bad '$path' is wrong;"
        fi
    done < <(grep "^$set " "$here/recoverable.txt")
    if [ -z "$bad" ]; then pass ${set}_restored; else fail ${set}_restored "$bad"; fi
done

sed -E 's/^[a-z]+ ([0-7]+) [0-9a-f]+ (.*)/\1 \2/' "$here/recoverable.txt" | sort >"$dir/modes"
(cd /app/restored 2>/dev/null && find . -type f -printf '%m %P\n' | sort) >"$dir/modes.got"
if [ -s "$dir/modes.got" ] && [ -z "$(comm -23 "$dir/modes" "$dir/modes.got")" ]; then pass modes_restored
else fail modes_restored "missing, or with another mode: $(comm -23 "$dir/modes" "$dir/modes.got" | head -n 5)"; fi

cut -d ' ' -f 2- "$dir/modes" | sort >"$dir/names"
(cd /app/restored 2>/dev/null && find . ! -type d -printf '%P\n' | sort) >"$dir/names.got"
extra=$(comm -13 "$dir/names" "$dir/names.got")
if [ -s "$dir/names.got" ] && [ -z "$extra" ]; then pass nothing_else_restored; else fail nothing_else_restored "nothing at all, or too much: $extra"; fi

if cmp -s "$here/damaged.txt" /app/damaged.txt; then pass damaged_list
else fail damaged_list "damaged.txt differs: $(diff "$here/damaged.txt" /app/damaged.txt 2>&1 | head -n 6)"; fi

(cd /app/vault && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$dir/vault" 2>/dev/null
if cmp -s "$here/vault.sha256" "$dir/vault"; then pass vault_untouched; else fail vault_untouched "$(diff "$here/vault.sha256" "$dir/vault" | head -n 4)"; fi
