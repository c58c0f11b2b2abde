#!/bin/sh
# Walks the folder in bash itself and finds snapshots by find.
set -e
patch -s -p1 <<'PATCH'
--- a/bin/backup
+++ b/bin/backup
@@ -1,24 +1,48 @@
 #!/bin/bash
 # backup SOURCE STORE
-. $(dirname $0)/../lib/common.sh
+self=$(readlink -f -- "${BASH_SOURCE[0]}"; echo .) && self=${self%$'\n.'}
+. "${self%/*}/../lib/common.sh"
 [ $# = 2 ] || usage "SOURCE STORE"
-[ -d $1 ] || die "no such folder: $1"
-mkdir -p $2
-store=$(cd $2 && pwd)
-name=$(basename $1)
-base=$store/$name.$(stamp)
-[ -e $base.tar.gz ] && die "exists already: $base.tar.gz"
+stamp=${BACKUP_STAMP:-$(date -u +%Y%m%dT%H%M%SZ)}
+is_stamp "$stamp" || usage "SOURCE STORE (with a BACKUP_STAMP like 20240131T235959Z)"
+path source "$1"
+path store "$2"
+[ -d "$source" ] || die "no such folder: $1"
+while [[ $source == *?/ ]]; do source=${source%/}; done
+name=${source##*/}
+mkdir -p "$store" || die "cannot make $2"
+store=$(cd "$store" && pwd && echo .) || die "cannot enter $2"
+store=${store%$'\n.'}
+base=$store/$name.$stamp
+[ ! -e "$base.tar.gz" ] && [ ! -e "$base.list" ] || die "exists already: $base"
 
-cd $1
-ignore=
+cd "$source" || die "cannot enter $1"
+patterns=()
 if [ -f .backupignore ]; then
-    while read pattern; do
-        ignore="$ignore ! -name $pattern"
-    done < .backupignore
+    mapfile -t patterns <.backupignore
 fi
-files=$(find . -mindepth 1 $ignore)
-tar -czf $base.tar.gz --no-recursion $files
-for file in $files; do
-    [ -f $file ] && echo ${file#./}
-done | sort | tr '\n' '\0' > $base.list
-echo $base.tar.gz
+shopt -s nullglob dotglob
+
+# collect FOLDER/: puts everything below it that is not left out into the arrays `all` and `regular`.
+all=() regular=()
+collect() {
+    local entry pattern
+    for entry in "$1"*; do
+        for pattern in "${patterns[@]}"; do
+            # The pattern is meant to be one, so it is not quoted.
+            [[ -z $pattern || ${entry##*/} != $pattern ]] || continue 2
+        done
+        all+=("./$entry")
+        if [ -L "$entry" ]; then continue; fi
+        if [ -f "$entry" ]; then regular+=("$entry"); fi
+        if [ -d "$entry" ]; then collect "$entry/"; fi
+    done
+}
+collect ""
+lines() { [ $# = 0 ] || printf '%s\0' "$@"; }
+if ! lines "${all[@]}" | tar -cf - --no-recursion --null --no-unquote -T - | gzip >"$base.tar.gz" ||
+    ! lines "${regular[@]}" | sort -z >"$base.list"; then
+    rm -f -- "$base.tar.gz" "$base.list"
+    die "the archive could not be made"
+fi
+printf '%s\n' "$base.tar.gz"
--- a/bin/restore
+++ b/bin/restore
@@ -1,14 +1,19 @@
 #!/bin/bash
 # restore STORE NAME STAMP TARGET [FILE...]
-. $(dirname $0)/../lib/common.sh
+self=$(readlink -f -- "${BASH_SOURCE[0]}"; echo .) && self=${self%$'\n.'}
+. "${self%/*}/../lib/common.sh"
 [ $# -ge 4 ] || usage "STORE NAME STAMP TARGET [FILE...]"
-store=$1 name=$2 stamp=$3 target=$4
+path store "$1"
+path target "$4"
+name=$2 stamp=$3
 shift 4
-[ $stamp = latest ] && stamp=$(snapshots $store $name | tail -n 1)
-[ -f $store/$name.$stamp.tar.gz ] || die "no such snapshot: $name $stamp"
-mkdir -p $target
-files=
-for file in $*; do
-    files="$files ./$file"
-done
-tar -xzf $store/$name.$stamp.tar.gz -C $target $files
+find_snapshots "$store" "$name"
+[ "$stamp" != latest ] || stamp=${stamps[*]: -1}
+is_stamp "$stamp" && [ -f "$store/$name.$stamp.tar.gz" ] || die "no such snapshot: $name $stamp"
+mkdir -p "$target" || die "cannot make $target"
+# Names on the command line would have to be protected from several options of tar; from a file they are taken as they are.
+if [ $# -gt 0 ]; then
+    printf './%s\0' "$@" | tar -xzf "$store/$name.$stamp.tar.gz" --force-local -C "$target" --null --no-unquote -T -
+else
+    tar -xzf "$store/$name.$stamp.tar.gz" --force-local -C "$target"
+fi || die "unpacking failed"
--- a/bin/rotate
+++ b/bin/rotate
@@ -1,10 +1,12 @@
 #!/bin/bash
 # rotate STORE NAME KEEP
-. $(dirname $0)/../lib/common.sh
-[ $# = 3 ] || usage "STORE NAME KEEP"
-[ $3 -ge 1 ] || usage "STORE NAME KEEP"
-cd $1 || die "no such folder: $1"
-for stamp in $(snapshots . $2 | head -n -$3); do
-    rm -f $2.$stamp.tar.gz $2.$stamp.list
-    echo $stamp
+self=$(readlink -f -- "${BASH_SOURCE[0]}"; echo .) && self=${self%$'\n.'}
+. "${self%/*}/../lib/common.sh"
+[ $# = 3 ] && [[ $3 =~ ^0*[1-9][0-9]*$ ]] || usage "STORE NAME KEEP"
+path store "$1"
+[ -d "$store" ] || die "no such folder: $1"
+find_snapshots "$store" "$2"
+for ((i = 0; i < ${#stamps[@]} - 10#$3; i++)); do
+    rm -f "$store/$2.${stamps[i]}.tar.gz" "$store/$2.${stamps[i]}.list" || die "cannot remove ${stamps[i]}"
+    printf '%s\n' "${stamps[i]}"
 done
--- a/lib/common.sh
+++ b/lib/common.sh
@@ -1,22 +1,37 @@
-# Shared by the commands.
+# Shared by the commands. No function hands a name over by $(…), which would cut newlines off its end.
+set -u -o pipefail
+unset CDPATH
+export LC_ALL=C
 
 die() {
-    echo "$(basename $0): $*" >&2
+    printf '%s: %s\n' "${0##*/}" "$*" >&2
     exit 1
 }
 
 usage() {
-    echo "usage: $(basename $0) $*" >&2
+    printf 'usage: %s %s\n' "${0##*/}" "$*" >&2
     exit 2
 }
 
-# The stamp of a new snapshot.
-stamp() {
-    echo ${BACKUP_STAMP:-$(date -u +%Y%m%dT%H%M%SZ)}
+is_stamp() {
+    [[ $1 =~ ^[0-9]{8}T[0-9]{6}Z$ ]]
 }
 
-# snapshots STORE NAME: the stamps of its snapshots, oldest first.
-snapshots() {
-    cd $1
-    ls | grep "^$2.*.tar.gz$" | sed "s/^$2\.//; s/.tar.gz$//" | sort
+# path VARIABLE NAME: sets the variable to a spelling of the name that no command takes for an option.
+path() {
+    case $2 in
+    /*) printf -v "$1" %s "$2" ;;
+    *) printf -v "$1" %s "./$2" ;;
+    esac
+}
+
+# find_snapshots STORE NAME: sets `stamps` to the stamps of its snapshots, oldest first.
+find_snapshots() {
+    local file
+    stamps=()
+    while IFS= read -r -d '' file; do
+        if [[ $file =~ ^(.*)\.([0-9]{8}T[0-9]{6}Z)\.tar\.gz$ && ${BASH_REMATCH[1]} == "$2" ]]; then
+            stamps+=("${BASH_REMATCH[2]}")
+        fi
+    done < <(find "$1" -mindepth 1 -maxdepth 1 -type f -printf '%f\0' | sort -z)
 }
PATCH
