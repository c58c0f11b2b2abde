#!/bin/bash
# Uses the commands on folders with all kinds of names.
NAMES="file_names folder_names lists ignore_patterns rotation_of_others rotation_of_odd_names restore_files failures_leave_nothing
bad_use place_of_the_commands plain_names plain_rotation"
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ctrf.sh"
unset BACKUP_STAMP CDPATH
top=$(mktemp -d)
bin=$top/app/bin
cp -RL /app "$top/app" && chmod 755 "$bin"/* || exit 1

run() { timeout 20 bash "$bin/$1" "${@:2}" </dev/null 2>"$top/err"; }
at() { BACKUP_STAMP=2024010${1}T000000Z run "${@:2}"; }
why() { echo "$*; stderr: $(head -c 300 "$top/err")"; return 1; }
same() { diff -r --no-dereference "$1" "$2" >"$top/diff" 2>&1 || why "differs: $(head -n 5 "$top/diff")"; }
# Everything in a store, as a sorted list.
content() { (cd "$1" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort); }
list() { tr '\0' '\n' <"$1" | tr '\n' '|'; }

odd=('a b' ' lead' 'trail ' '-C' '--help' '-rf x' $'new\nline' $'end\n' '*' '?' '[a]' 'back\slash' 'a\tb' 'a\\n' "quote'd" 'dou"ble' '$HOME' '`id`' ';ls' '.hidden' '..x' '#x' '~' '&' 'ä' $'\377' '{a,b}' '!x' 'x=y')
fill() {
    local name
    mkdir -p -- "$1"
    for name in "${odd[@]}"; do
        printf 'text of %s' "$name" >"$1/$name"
        mkdir "$1/in $name" && printf 'deep %s' "$name" >"$1/in $name/$name"
    done
}

plain_names() {
    mkdir -p web/css web/empty && echo 1 >web/a && echo 2 >web/css/b && chmod 640 web/a
    [ "$(at 1 backup web st)" = "$PWD/st/web.20240101T000000Z.tar.gz" ] || why "backup prints another name" || return
    [ "$(list st/web.20240101T000000Z.list)" = "a|css/b|" ] || why "list: $(list st/web.20240101T000000Z.list)" || return
    run restore st web latest out && same web out && [ "$(stat -c %a out/a)" = 640 ] || why "restored wrong" || return
    run restore st web 20240101T000000Z some css/b && [ "$(cd some && find . -type f)" = ./css/b ]
}

plain_rotation() {
    mkdir db && echo 1 >db/x
    for day in 1 2 3 4 5; do at $day backup db st >/dev/null || return; done
    [ "$(run rotate st db 2)" = $'20240101T000000Z\n20240102T000000Z\n20240103T000000Z' ] || why "prints other stamps" || return
    [ "$(content st)" = $'db.20240104T000000Z.list\ndb.20240104T000000Z.tar.gz\ndb.20240105T000000Z.list\ndb.20240105T000000Z.tar.gz' ] || why "store: $(content st)" || return
    [ -z "$(run rotate st db 2)" ] && [ "$(content st | wc -l)" = 4 ]
}

file_names() {
    fill src && mkdir -p 'src/empty dir' && ln -s 'no where' 'src/a link'
    at 1 backup src st >/dev/null || why "backup fails" || return
    run restore st src latest out || why "restore fails" || return
    same src out
}

folder_names() {
    local name store
    for name in 'my site' '-site' '--' '*' 'a?b' $'two\nlines' 'back\slash' 'dot.tar.gz' ' x ' 'ä' "it's" '[ab]' '$x'; do
        mkdir -- "./$name" && echo "$name" >"./$name/file"
        store="store of $name"
        at 1 backup "$name" "$store" >/dev/null || why "backup of '$name' fails" || return
        [ -s "$store/$name.20240101T000000Z.list" ] && [ -s "$store/$name.20240101T000000Z.tar.gz" ] && [ "$(find "./$store" -mindepth 1 -printf x)" = xx ] || why "store of '$name': $(content "$store")" || return
        run restore "$store" "$name" latest "out $name" && same "./$name" "./out $name" || why "restore of '$name'" || return
    done
    at 2 backup ./-site/// -store >/dev/null && at 3 backup -site/ -store >/dev/null && [ "$(content ./-store | wc -l)" = 4 ] || why "store -store" || return
    run restore -store -site 20240102T000000Z -target file && same ./-site ./-target || why "target -target" || return
    (cd -- -site && at 4 backup "$top/w-folder_names/my site/" $'../st\n') >/dev/null && [ -f $'st\n/my site.20240104T000000Z.tar.gz' ] || why "store that ends in a newline" || return
    mkdir $'nl\n' && echo 1 >$'nl\n/file' && at 5 backup $'nl\n' st >/dev/null && [ -f $'st/nl\n.20240105T000000Z.tar.gz' ] || why "folder that ends in a newline" || return
    run restore st $'nl\n' latest $'out nl\n' && same $'nl\n' $'out nl\n'
}

lists() {
    fill src && ln -s x src/symlink
    at 1 backup src st >/dev/null || return
    (cd src && find . -type f -printf '%P\0' | LC_ALL=C sort -z) >want
    cmp want st/src.20240101T000000Z.list || why "list of odd names is wrong" || return
    mkdir ord && for name in b B a A _ 'a b' a-b 'a/c' ä; do mkdir -p "ord/$(dirname "x$name")" && echo >"ord/x$name"; done
    LC_ALL=C.UTF-8 at 1 backup ord st >/dev/null
    (cd ord && find . -type f -printf '%P\0' | LC_ALL=C sort -z) >want
    cmp want st/ord.20240101T000000Z.list || why "order of the list" || return
    mkdir none && at 1 backup none st >/dev/null && [ -f st/none.20240101T000000Z.list ] && [ ! -s st/none.20240101T000000Z.list ] || why "list of an empty folder" || return
    run restore st none latest o && [ -d o ] && [ -z "$(ls -A o)" ]
}

ignore_patterns() {
    mkdir -p src/sub src/cache/keep 'src/old files' && cd src || return
    touch -- a.tmp sub/b.tmp 'c d.tmp' 'x y' 'x' 'y' ' z' 'z' '-n' '*' '*.txt' 'q.txt' 'back\' cache/in cache/keep/in 'old files/f' sub/cache 'tail ' tail '#1' a.tmpx
    printf '%s\n' '*.tmp' '' 'x y' ' z' 'cache' 'old files' '-n' '\*' 'back\\' 'tail ' '[#]?' >.backupignore
    printf 'gone' >>.backupignore
    touch gone
    cd ..
    at 1 backup src st >/dev/null || why "backup fails" || return
    [ "$(list st/src.20240101T000000Z.list)" = "*.txt|.backupignore|a.tmpx|q.txt|tail|x|y|z|" ] || why "list: $(list st/src.20240101T000000Z.list)" || return
    run restore st src latest out && [ "$(cd out && find . -mindepth 1 | LC_ALL=C sort | tr '\n' '|')" = "./*.txt|./.backupignore|./a.tmpx|./q.txt|./sub|./tail|./x|./y|./z|" ] || why "restored: $(find out)" || return
    printf '.backup*\n*\n' >src/.backupignore
    at 2 backup src st >/dev/null && [ ! -s st/src.20240102T000000Z.list ] || why "a pattern that matches everything" || return
    : >src/.backupignore
    at 3 backup src st >/dev/null && [ "$(tr -cd '\0' <st/src.20240103T000000Z.list | wc -c)" = "$(find src -type f | wc -l)" ] || why "empty .backupignore"
}

rotation_of_others() {
    local name day
    for name in db db2 db.old dbx 'd*' 'd?' 'd.' mydb 'db db' db.tar.gz 'db.20240101T000000Z'; do
        mkdir -- "$name" && echo 1 >"$name/f"
        for day in 1 2 3; do at $day backup "$name" st >/dev/null || return; done
    done
    touch st/db.20240101.tar.gz st/db.notes.tar.gz st/db.20240101T000000Z st/db.20240101T000000Z.tar.gz.bak st/dbx20240101T000000Z.tar.gz st/db.x20240101T000000Z.tar.gz
    content st >before
    [ "$(run rotate st db 1)" = $'20240101T000000Z\n20240102T000000Z' ] || why "stamps of db" || return
    content st | diff before - | grep '^[<>]' >got
    printf '< db.2024010%s\n' 1T000000Z.list 1T000000Z.tar.gz 2T000000Z.list 2T000000Z.tar.gz | diff - got >"$top/diff" || why "rotating db: $(cat "$top/diff")" || return
    [ "$(run rotate st 'd*' 2)" = 20240101T000000Z ] && [ "$(content st | wc -l)" = $(($(wc -l <before) - 6)) ] || why "rotating d*" || return
    [ "$(run rotate st 'd.' 2)" = 20240101T000000Z ] && [ "$(content st | wc -l)" = $(($(wc -l <before) - 8)) ] || why "rotating d." || return
    [ -z "$(run rotate st nothing 1)" ] && [ "$(content st | wc -l)" = $(($(wc -l <before) - 8)) ] || why "rotating a name without snapshots" || return
    run restore st db latest o && ! run restore st db 20240102T000000Z o2
}

rotation_of_odd_names() {
    local name day
    for name in 'my site' -rf '--' $'two\nlines' $'end\n' '[a-z]*' 'back\slash' 'a|b' ' ' '/bin' "it's"; do
        name=${name#/}
        mkdir -p -- "./$name" && echo 1 >"./$name/f"
        for day in 1 2 3; do at $day backup "$name" 'my store' >/dev/null || why "backup of '$name'" || return; done
        [ "$(run rotate 'my store' "$name" 2)" = 20240101T000000Z ] || why "rotating '$name'" || return
        [ ! -e "my store/$name.20240101T000000Z.tar.gz" ] && [ ! -e "my store/$name.20240101T000000Z.list" ] && [ -e "my store/$name.20240102T000000Z.list" ] ||
            why "files of '$name'" || return
    done
    mkdir ./-st && cp 'my store'/* ./-st && [ "$(run rotate -st "it's" 1)" = 20240102T000000Z ] || why "store -st" || return
    [ "$(find 'my store' -name '*.tar.gz' -printf x)" = xxxxxxxxxxxxxxxxxxxxxx ] || why "snapshots left: $(content 'my store')"
}

restore_files() {
    local name
    fill src
    at 1 backup src st >/dev/null || return
    for name in "${odd[@]}"; do
        rm -rf out
        run restore st src latest out "$name" || why "restore of '$name'" || return
        [ "$(find out -type f -printf x)" = x ] && cmp -s -- "src/$name" "out/$name" || why "restored for '$name': $(find out)" || return
    done
    rm -rf out && run restore st src latest out "${odd[@]}" "in a b/a b" && [ "$(find out -type f -printf x | wc -c)" = $((${#odd[@]} + 1)) ] || why "many files" || return
    ! run restore st src latest out2 missing && [ -s "$top/err" ] || why "a missing file must be an error" || return
    ! run restore st src latest out3 'a b' 'a' || why "one missing file of two must be an error" || return
    ! run restore st src 20240109T000000Z out4 && [ -s "$top/err" ] && ! run restore st nothing latest out5 && [ -s "$top/err" ] || why "a missing snapshot must be an error" || return
    ! run restore nowhere src latest out6 || why "a missing store must be an error" || return
    ! run restore st src '*' out7 || why "a pattern is no stamp"
}

failures_leave_nothing() {
    mkdir src st && echo 1 >src/f && echo keep >st/other
    [ ! -e missing ] && ! at 1 backup missing st && [ -s "$top/err" ] || why "a missing source must be an error" || return
    ! at 1 backup src/f st && [ -s "$top/err" ] && [ "$(content st)" = other ] || why "a file as source must be an error" || return
    at 1 backup src st >/dev/null || return
    cp -a st before && echo 2 >src/f
    ! at 1 backup src st && [ -s "$top/err" ] && same before st || why "an existing snapshot must stay" || return
    # A tar that writes something and fails.
    mkdir tools && printf '#!/bin/sh\n"%s" "$@"\nexit 2\n' "$(command -v tar)" >tools/tar && chmod 755 tools/tar
    (PATH=$PWD/tools:$PATH; ! at 2 backup src st) && [ "$(content st)" = "$(content before)" ] || why "after a failing tar: $(content st)" || return
    echo no >blocked && ! at 1 backup src blocked && [ -s "$top/err" ] || why "a file as store must be an error" || return
    (PATH=$PWD/tools:$PATH; ! run restore st src latest out) || why "a failing tar must make restore fail"
}

bad_use() {
    local keep
    mkdir db && echo 1 >db/x && at 1 backup db st >/dev/null && at 2 backup db st >/dev/null || return
    for keep in 0 -1 x '' '1 2' 1.5 '1+0' 'a[0]'; do
        run rotate st db "$keep" >/dev/null
        [ $? = 2 ] || why "KEEP '$keep' must end with 2" || return
    done
    run rotate st db >/dev/null; [ $? = 2 ] || why "rotate without KEEP" || return
    run backup db >/dev/null; [ $? = 2 ] || why "backup without STORE" || return
    run backup db st more >/dev/null; [ $? = 2 ] || why "backup with three arguments" || return
    run restore st db latest >/dev/null; [ $? = 2 ] || why "restore without TARGET" || return
    for stamp in now '../x' 20240101 '20240101T000000Z x' 'A0240101T000000Z'; do
        BACKUP_STAMP=$stamp run backup db st >/dev/null
        [ $? = 2 ] || why "BACKUP_STAMP '$stamp' must end with 2" || return
    done
    [ "$(content st | wc -l)" = 4 ] || why "store: $(content st)" || return
    run backup db st | grep -qE '/db\.[0-9]{8}T[0-9]{6}Z\.tar\.gz$' || why "without BACKUP_STAMP" || return
    [ "$(run rotate st db 09 | wc -l)" = 0 ] && [ "$(run rotate st db 2)" = 20240101T000000Z ] || why "KEEP 09, then 2"
}

place_of_the_commands() {
    mkdir db deep && echo 1 >db/x && cp -RL "$top/app" 'the app' && cd deep || return
    ln -s '../the app' link
    BACKUP_STAMP=20240101T000000Z bash 'link/bin/backup' ../db '../a store' >/dev/null || why "through a linked folder" || return
    (cd '../the app/bin' && BACKUP_STAMP=20240102T000000Z bash backup ../../db '../../a store') >/dev/null || why "from its own folder" || return
    (export CDPATH=$top:/; BACKUP_STAMP=20240103T000000Z bash '../the app/bin/backup' ../db '../a store') >/dev/null || why "with CDPATH" || return
    [ "$(bash '../the app/bin/rotate' '../a store' db 1 | wc -l)" = 2 ] && bash link/bin/restore '../a store' db latest 'o o' && same ../db 'o o'
}

for name in $NAMES; do
    mkdir "$top/w-$name"
    : >"$top/err"
    if out=$(cd "$top/w-$name" && $name 2>&1); then pass "$name"; else fail "$name" "$out"; fi
done
