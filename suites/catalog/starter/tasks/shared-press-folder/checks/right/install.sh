#!/bin/sh
# install and rename in place of writing into files; numeric groups and symbolic modes.
set -eu
cd /app/press
find . -name keys -prune -o ! -type l -print0 | xargs -0 chgrp press
find . -name keys -prune -o -type d -print0 | xargs -0 chmod u=rwx,g=rwxs,o=
find . -name keys -prune -o -type f -print0 | xargs -0 chmod ug=rw,o=
find public -type d -print0 | xargs -0 chmod o=rx
find public -type f -print0 | xargs -0 chmod o=r
chmod o=x .
cat > lib/common.sh <<'SH'
# Read by all the tools.
umask 007

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

# put MODE FILE: standard input becomes FILE, whoever owned it before
put() {
    rm -f "$2.new"
    cat > "$2.new"
    chmod "$1" "$2.new"
    mv -f "$2.new" "$2"
}
SH
cat > bin/new-article <<'SH'
#!/bin/sh
# usage: new-article NAME TITLE
set -eu
. "$(dirname "$0")/../lib/common.sh"
check_name "$1"
file=$root/articles/$1.txt
[ ! -e "$file" ] || fail "there is an article $1"
printf 'Title: %s\nAuthor: %s\n\n' "$2" "$(id -un)" | put 660 "$file"
SH
cat > bin/publish <<'SH'
#!/bin/sh
# usage: publish NAME
set -eu
. "$(dirname "$0")/../lib/common.sh"
check_name "$1"
article=$root/articles/$1.txt
[ -f "$article" ] || fail "no article $1"
page=$root/public/$1
[ -d "$page" ] || { mkdir "$page" && chmod 2775 "$page"; }
{ echo '<pre>'; sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' "$article"; echo '</pre>'; } | put 664 "$page/index.html"
put 664 "$page/source.txt" < "$article"
{ cat "$root/public/index.txt"; echo "$1"; } | sort -u | put 664 "$root/public/index.txt"
SH
cat > bin/add-image <<'SH'
#!/bin/sh
# usage: add-image FOLDER FILE
set -eu
. "$(dirname "$0")/../lib/common.sh"
check_name "$1"
mkdir -p "$root/images/$1"
install -m 660 "$2" "$root/images/$1/${2##*/}"
SH
chmod 770 bin/*
