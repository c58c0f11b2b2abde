#!/bin/sh
# A quick look at modes, and at one tool, in a copy of the folder.
status=0
expect() {
    got=$(stat -c '%a %G' "$2")
    [ "$got" = "$1" ] || { echo "$2 is $got, should be $1"; status=1; }
}
cd /app || exit 1
expect '2771 press' press
expect '2770 press' press/articles/2023
expect '660 press' press/articles/hello.txt
expect '2775 press' press/public/hello
expect '664 press' press/public/hello/index.html
expect '770 press' press/bin/publish
copy=$(mktemp -d)
chmod 755 "$copy"
cp -a press "$copy/press"
cd "$copy" || exit 1
if (umask 022 && setpriv --reuid=4101 --regid=4101 --init-groups press/bin/new-article check Check); then
    expect '660 press' press/articles/check.txt
else
    echo "ann cannot run new-article"
    status=1
fi
rm -rf "$copy"
exit $status
