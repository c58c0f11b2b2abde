#!/bin/sh
# make-repo.sh FOLDER: builds the repository, always with the same hashes.
set -e
export HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 LC_ALL=C
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
umask 022
mkdir -p "$1" && cd "$1"
git -c init.defaultBranch=main init -q .
git config user.name "Dev Eloper" && git config user.email dev@example.com
git config core.autocrlf false && git config gc.auto 0
token=tok-4be1c7d09a52f3e86d
clock=1650000000
# as AUTHOR ZONE COMMITTER ZONE: who writes and who commits the next one, some time later.
as() {
    clock=$((clock + 5000))
    export GIT_AUTHOR_NAME="$1" GIT_AUTHOR_EMAIL="dev$(printf '%s' "$1" | wc -c | tr -d ' ')@example.com" GIT_AUTHOR_DATE="$clock $2"
    export GIT_COMMITTER_NAME="$3" GIT_COMMITTER_EMAIL="integration@example.com" GIT_COMMITTER_DATE="$((clock + 777)) $4"
}
save() { git add -A && git commit -q --allow-empty -m "$@"; }
dump() { awk 'BEGIN { print "-- CUSTOMER DUMP"; n = 7; for (i = 1; i <= 9000; i++) { n = (n * 1103 + 12345) % 65537; printf "INSERT INTO customers VALUES (%d, \"customer-%05d\", %d);\n", i, n, n * 3 } }'; }

mkdir src config
printf '#!/bin/sh\necho "hello"\n' >src/app.sh && chmod 755 src/app.sh
printf '[app]\nname = shop\n[remote]\nurl = https://api.example.com\n' >config/app.ini
echo "# shop" >README.md
as Ann +0100 Ann +0100; save "Start"
printf 'echo "bye"\n' >>src/app.sh
as Bob -0730 Ann +0100; save "app: say goodbye"
git tag v0.1
mkdir data && dump >data/customers.sql
printf '#!/bin/sh\n# Reads a file that begins with a line "-- CUSTOMER DUMP".\nhead -n 1 "$1" | grep -q "^-- CUSTOMER DUMP" || exit 1\n' >src/import.sh && chmod 755 src/import.sh
sed -i "s/^url.*/&\napi_key = $token\nretries = 3/" config/app.ini
as Ann +0200 Bob -0730; save "Import of customers"
# A first try that was amended at once: only the reflog knows it still.
printf 'exit 0\n' >>src/import.sh; dump | sed '2,20d' >data/short.sql
as "Čeněk Dvořák" +0530 Ann +0000; save "import: draft"
rm data/short.sql; printf 'wc -l <"$1"\n' >>src/import.sh
as "Čeněk Dvořák" +0530 Ann +0000; git add -A; git commit -q --amend --reset-author -m "import: count the lines" -m "The number is off by one,
which is fine.

  indented = $token? No: that was the old one."
git branch release
mkdir backup && git mv data/customers.sql backup/old.sql && echo "backups live here" >backup/README
as Bob -0730 Bob -0730; save "Move the dump out of the way"
as Bob -0730 Ann +0100; git tag -a v0.2 -m "Release 0.2

With an import."
cp backup/old.sql "backup/copy of old.sql"
as Ann +0100 Ann +0100; save "Keep a second copy"
sed -i 's/retries = 3/retries = 5/' config/app.ini; ln -s ../config/app.ini src/settings
as Dee +1345 Ann +0100; save "config: more retries"

git checkout -q release
printf 'exit 0\n' >>src/app.sh
as Bob -0730 Bob -0730; save "app: end well"
echo "-- exported again" >>data/customers.sql; echo "notes on the release" >RELEASE
as Dee +1345 Bob -0730; save "Export again, and notes"
printf 'key = %s ; also %s\n' $token $token >"config/old keys.ini"
as Dee +1345 Bob -0730; save "config: keep the old keys"
as Ann +0100 Bob -0730; git tag -a v0.1.1 -m "Release 0.1.1"
git rm -q -r data; rm -rf data
as Bob -0730 Bob -0730; save "No data in releases"

git checkout -q main
git rm -q "backup/old.sql" "backup/copy of old.sql"; sed -i '/^api_key/d' config/app.ini
as Ann +0100 Ann +0100; save "Remove the dump and the key $token" -m "They should never have been here."
as Ann +0100 Dee +1345; git merge -q --no-ff -m "Merge branch 'release'" release
git rm -q "config/old keys.ini"; echo "See RELEASE." >>README.md
as Ann +0100 Ann +0100; save "readme: point to the notes"
git checkout -q release; git rm -q "config/old keys.ini"; as Bob -0730 Bob -0730; save "config: no old keys"; git checkout -q main
git tag v0.3
