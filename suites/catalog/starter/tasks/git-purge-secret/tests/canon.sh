# Sourced. canon REPO FOLDER: describes the history independent of hashes, in the files `commits`, `shape`, `people`, `heads` and `tags`
# of the folder. A commit is named by a checksum of all that it is: people, dates, message, files, and the names of its parents.
canon() {
    repo=$1
    out=$2
    mkdir -p "$out/full" "$out/bare"
    : >"$out/commits"; : >"$out/people"; : >"$out/heads"; : >"$out/tags"; : >"$out/shape"
    sum() { sha256sum | cut -c 1-20; }
    for commit in $(git --git-dir="$repo" rev-list --topo-order --reverse --branches --tags); do
        body=$(git --git-dir="$repo" cat-file commit "$commit")
        people=$(printf '%s\n' "$body" | sed '/^$/q' | grep -E '^(author|committer|encoding) ')
        parents=
        shapes=
        for parent in $(git --git-dir="$repo" log -n 1 --format=%P "$commit"); do
            parents="$parents $(cat "$out/full/$parent")"
            shapes="$shapes $(cat "$out/bare/$parent")"
        done
        { printf '%s\n%s\n' "$people" "$parents"; printf '%s\n' "$body" | sed '1,/^$/d'; git --git-dir="$repo" ls-tree -r "$commit"; } | sum >"$out/full/$commit"
        printf '%s\n%s\n' "$(printf '%s\n' "$people" | head -n 1)" "$shapes" | sum >"$out/bare/$commit"
        printf '%s %s\n' "$(cat "$out/full/$commit")" "$(git --git-dir="$repo" log -n 1 --format=%s "$commit")" >>"$out/commits"
        printf '%s\n' "$people" | tr '\n' ' ' >>"$out/people"
        echo >>"$out/people"
    done
    sort -o "$out/people" "$out/people"
    git --git-dir="$repo" for-each-ref --format='%(objectname) %(objecttype) %(refname)' refs/heads refs/tags | while read -r object type ref; do
        commit=$(git --git-dir="$repo" rev-parse "$object^{commit}")
        printf '%s %s\n' "$(cat "$out/bare/$commit")" "$ref" >>"$out/shape"
        about=
        if [ "$type" = tag ]; then
            about=$(git --git-dir="$repo" cat-file tag "$object" | grep -v -e '^object ' | sum)
        fi
        case $ref in
        refs/heads/*) printf '%s %s\n' "$(cat "$out/full/$commit")" "$ref" >>"$out/heads" ;;
        *) printf '%s %s %s %s\n' "$(cat "$out/full/$commit")" "$type" "$about" "$ref" >>"$out/tags" ;;
        esac
    done
}
