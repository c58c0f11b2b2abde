#!/bin/sh
# Looks at /app/press, then runs the tools as several users in a copy of it.
export LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
out=/logs/verifier
mkdir -p "$out"
passed=0
total=0
tests=""
check() { # name, command: passes when the command succeeds and prints nothing
    total=$((total + 1))
    said=$("$2" 2>&1) && [ -z "$said" ] && s=passed && passed=$((passed + 1)) || s=failed
    echo "$s $1"
    [ $s = passed ] || printf '%s\n' "$said" | head -12 | sed 's/^/    /'
    tests="$tests${tests:+,}{\"name\":\"$1\",\"status\":\"$s\",\"duration\":0}"
}
P=/app/press
as() { # umask, user id, command
    mask=$1
    id=$2
    shift 2
    if [ "$id" = 4103 ]; then groups=--clear-groups; else groups=--groups=4100; fi
    (cd / && umask "$mask" && exec timeout 10 setpriv --reuid="$id" --regid="$id" "$groups" "$@")
}
modes() { # stdin: names, one a line; mode and group expected
    while IFS= read -r f; do
        got=$(stat -c '%a %g' "$f") || return 1
        [ "$got" = "$1 4100" ] || echo "$f: $got, expected $1 4100"
    done
}
bad() { # expected mode, find arguments: lists what has another mode or group
    want=$1
    shift
    find "$@" \( ! -perm "$want" -o ! -group 4100 \) -printf '%p: %m %g\n'
}

top_folder() { bad 2771 $P -maxdepth 0; }
inner_folders() { bad 2770 $P -mindepth 1 \( -path $P/keys -o -path $P/public \) -prune -o -type d; }
inner_files() { bad 660 $P \( -path $P/keys -o -path $P/public -o -path $P/bin \) -prune -o -type f; }
tools_are_executable() { bad 770 $P/bin -type f; [ "$(ls $P/bin | wc -l)" -ge 3 ]; }
public_folders() { bad 2775 $P/public -type d; }
public_files() { bad 664 $P/public -type f; }
keys_untouched() {
    [ "$(stat -c '%a %u %g' $P/keys $P/keys/deploy.key | tr '\n' ,)" = '700 0 0,600 0 0,' ] || stat -c '%n %a %u %g' $P/keys $P/keys/*
    [ "$(cat $P/keys/deploy.key)" = secret ] || echo "the key has changed"
}
link_targets_untouched() {
    [ "$(stat -c '%a %u %g' /app/assets /app/assets/logo.svg /app/assets/imprint.html | tr '\n' ,)" = '755 0 0,600 0 0,644 0 0,' ] || stat -c '%n %a %u %g' /app/assets /app/assets/*
    [ "$(readlink $P/images/logo.svg) $(readlink $P/images/assets) $(readlink $P/public/imprint.html)" = '../../assets/logo.svg ../../assets /app/assets/imprint.html' ] || echo "links have changed"
}
owners_and_contents_kept() {
    now=$(cd $P && for f in articles/hello.txt articles/2023/council.txt 'articles/2023/interview notes.txt' articles/-n drafts/spring/a* public/hello/index.html public/index.txt images/people/mayor.jpg articles/2023 drafts/spring; do
        echo "$(stat -c %u -- "$f") $([ -d "$f" ] || cksum < "$f") $f"; done)
    [ "$now" = "$(cat /tests/owners.txt)" ] || echo "$now"
}

# A fresh copy with the same owners and modes, in a folder that everybody may pass.
fresh() {
    rm -rf "$work"/?*
    cp -a $P "$work/press"
    W=$work/press
}
work=$(mktemp -d)
chmod 755 "$work"

new_article() {
    for mask in 077 000 022; do
        fresh
        as $mask 4101 "$W/bin/new-article" first 'A title' || echo "failed for ann, umask $mask"
        echo "$W/articles/first.txt" | modes 660
        as 077 4102 sh -c "echo text >> $W/articles/first.txt" || echo "ben cannot write to it"
        [ "$(head -1 "$W/articles/first.txt")" = 'Title: A title' ] || echo "contents are wrong"
        [ "$(stat -c %u "$W/articles/first.txt")" = 4101 ] || echo "the owner is wrong"
    done
}
publish_new() {
    for mask in 077 000 022; do
        fresh
        as $mask 4102 "$W/bin/new-article" news 'The <news>' || echo "new-article failed for ben, umask $mask"
        as $mask 4101 "$W/bin/publish" news || echo "publish failed for ann, umask $mask"
        echo "$W/public/news" | modes 2775
        printf '%s\n' "$W/public/news/index.html" "$W/public/news/source.txt" "$W/public/index.txt" | modes 664
        grep -q 'The &lt;news&gt;' "$W/public/news/index.html" || echo "contents are wrong"
        cmp -s "$W/public/news/source.txt" "$W/articles/news.txt" || echo "source.txt is wrong"
        [ "$(cat "$W/public/index.txt" | tr '\n' ,)" = hello,news, ] || echo "index.txt is wrong"
    done
}
publish_again_by_other_member() {
    fresh
    as 077 4101 "$W/bin/new-article" news One || echo "new-article failed"
    as 077 4101 "$W/bin/publish" news || echo "publish failed for ann"
    as 077 4102 sh -c "echo changed >> $W/articles/news.txt" || echo "ben cannot write to the article"
    as 077 4102 "$W/bin/publish" news || echo "publish failed for ben"
    as 000 4102 "$W/bin/publish" hello || echo "publish of hello failed for ben"
    as 000 4101 "$W/bin/publish" news || echo "publish failed for ann the second time"
    printf '%s\n' "$W"/public/news "$W"/public/hello | modes 2775
    printf '%s\n' "$W"/public/*/*.* "$W/public/index.txt" | modes 664
    grep -q changed "$W/public/news/index.html" "$W/public/news/source.txt" || echo "the change is not published"
    [ "$(cat "$W/public/index.txt" | tr '\n' ,)" = hello,news, ] || echo "index.txt is wrong"
}
add_image() {
    for mask in 077 000 022; do
        fresh
        echo pixels > "$work/photo.jpg"
        chown 4101:4101 "$work/photo.jpg"
        chmod 755 "$work/photo.jpg"
        as $mask 4101 "$W/bin/add-image" town "$work/photo.jpg" || echo "failed for ann, umask $mask"
        echo "$W/images/town" | modes 2770
        echo "$W/images/town/photo.jpg" | modes 660
        echo other > "$work/photo.jpg"
        as $mask 4102 "$W/bin/add-image" town "$work/photo.jpg" || echo "failed for ben, umask $mask"
        echo "$W/images/town/photo.jpg" | modes 660
        [ "$(cat "$W/images/town/photo.jpg")" = other ] || echo "the image was not replaced"
    done
}
add_image_from_private_file() {
    fresh
    echo pixels > "$work/p.jpg"
    chown 4102:4102 "$work/p.jpg"
    chmod 400 "$work/p.jpg"
    as 077 4102 "$W/bin/add-image" people "$work/p.jpg" || echo "failed for ben"
    echo "$W/images/people/p.jpg" | modes 660
}
outsiders_see_public_only() {
    as 022 4103 cat $P/public/hello/index.html > /dev/null || echo "a published page cannot be read"
    as 022 4103 cat $P/articles/hello.txt > /dev/null 2>&1 && echo "an article can be read"
    as 022 4103 ls $P > /dev/null 2>&1 && echo "the folder can be listed"
    as 022 4103 $P/bin/publish hello > /dev/null 2>&1 && echo "a tool can be run"
    as 022 4103 sh -c "echo x >> $P/public/index.txt" 2> /dev/null && echo "public can be written"
    [ "$(find $P -perm -o+w ! -type l)" = "" ] || echo "something can be written by everybody"
}
members_see_everything_else() {
    for id in 4101 4102; do
        as 077 $id cat $P/articles/hello.txt $P/articles/2023/council.txt $P/drafts/spring/a* $P/images/people/mayor.jpg > /dev/null || echo "user $id cannot read"
        as 077 $id test -w $P/articles/2023 || echo "user $id cannot write"
        as 077 $id cat $P/keys/deploy.key > /dev/null 2>&1 && echo "user $id can read the key"
    done
    true
}
tools_refuse_as_before() {
    fresh
    "$W/bin/new-article" hello x > /dev/null 2>&1 && echo "an article was replaced"
    sh "$W/bin/new-article" hello x > /dev/null 2>&1 && echo "an article was replaced"
    sh "$W/bin/publish" none > /dev/null 2>&1 && echo "published nothing"
    sh "$W/bin/add-image" ../articles "$W/articles/hello.txt" > /dev/null 2>&1 && echo "left the folder of images"
    sh "$W/bin/publish" ../x > /dev/null 2>&1 && echo "left the folder of articles"
    true
}

for name in top_folder inner_folders inner_files tools_are_executable public_folders public_files keys_untouched link_targets_untouched \
    owners_and_contents_kept new_article publish_new publish_again_by_other_member add_image add_image_from_private_file outsiders_see_public_only \
    members_see_everything_else tools_refuse_as_before; do
    check "$name" "$name"
done
failed=$((total - passed))
cat > "$out/ctrf.json" <<JSON
{"results":{"tool":{"name":"starter"},"summary":{"tests":$total,"passed":$passed,"failed":$failed,"pending":0,"skipped":0,"other":0,"start":0,"stop":0},"tests":[$tests]}}
JSON
if [ "$failed" = 0 ]; then echo 1; else echo 0; fi > "$out/reward.txt"
rm -rf "$work"
