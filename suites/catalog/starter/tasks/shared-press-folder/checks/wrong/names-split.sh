#!/bin/sh
# Loops over names in a way that blanks and line breaks split.
set -e
cd /app/press
find . -path ./keys -prune -o -exec chgrp -h press {} +
find . \( -path ./keys -o -path ./public \) -prune -o -type d -exec chmod 2770 {} +
for f in $(find . \( -path ./keys -o -path ./public \) -prune -o -type f -print); do chmod 660 "$f" 2> /dev/null || true; done
find public -type d -exec chmod 2775 {} +
find public -type f -exec chmod 664 {} +
chmod 2771 .
find bin -type f -exec chmod 770 {} +
sed -i 's/^umask 077$/umask 007/' lib/common.sh
# Writing into files in place keeps an existing file's mode and takes group and mode of a new one from folder and umask.
sed -i '/^draft=/d; /^mv/d; s/> "\$draft"/> "$file"/' bin/new-article
sed -i 's/^umask 022.*/umask 002 # the web server must be able to read it/
s/^cp -p "\$article"/cat "$article" >/
/^index=/d; /^mv/d
s/^} | sort -u.*/} | sort -u -o "$root\/public\/index.txt"/' bin/publish
sed -i 's/mkdir -m 750/mkdir/; s/^cp -p .*/cat "$2" > "$root\/images\/$1\/$(basename "$2")"/' bin/add-image
chgrp press lib/common.sh bin/*
chmod 660 lib/common.sh
chmod 770 bin/*
