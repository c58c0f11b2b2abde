#!/bin/sh
# The state in which the folder was found.
set -e
chown -R root:root /app
chmod -R u=rwX,go=rX /app
cd /app/press
mkdir -p articles/2023 images/people drafts/spring public/hello keys
printf 'Title: Hello\nAuthor: ann\n\nHello <world>.\n' > articles/hello.txt
printf 'Title: Council\nAuthor: ben\n\nNews.\n' > articles/2023/council.txt
printf 'notes\n' > 'articles/2023/interview notes.txt'
printf 'dash\n' > articles/-n
printf 'spring\n' > "drafts/spring/a draft
in two lines.txt"
printf '<pre>\n' > public/hello/index.html
printf 'hello\n' > public/index.txt
printf 'JPEG\n' > images/people/mayor.jpg
printf 'secret\n' > keys/deploy.key
ln -s ../../assets/logo.svg images/logo.svg
ln -s ../../assets images/assets
ln -s /app/assets/imprint.html public/imprint.html
chown ann:ann articles/hello.txt public/hello public/hello/index.html drafts/spring
chown ben:ben articles/2023 articles/2023/* images/people/mayor.jpg
chown ann:press drafts drafts/spring/*
chown -R root:root keys
chmod 700 articles/2023 drafts keys
chmod 600 articles/hello.txt articles/2023/council.txt keys/deploy.key
chmod 777 images/people/mayor.jpg
chmod 755 articles/-n public/index.txt
chmod 750 public/hello
chmod 640 public/hello/index.html
chmod 2755 images
chmod 744 bin/publish
chmod 644 bin/new-article
chown ann:ann bin/publish
chmod 600 /app/assets/logo.svg
