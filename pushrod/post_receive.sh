#!/bin/sh
# pushrod: the post-receive hook of `pushrod hook install`; install again to replace it.
#
# Tells the coordinator of each push by a signed webhook. What can't be sent is kept and sent with
# the next push. Never fails a push, nor holds it for more than a few seconds. The secret is in no
# argument: HMAC is two digests, over key blocks that were made at the installation.
set -u
umask 077
LC_ALL=C
export LC_ALL
most_refs=100
started=$(date +%s)

home=$(git rev-parse --absolute-git-dir)/pushrod
spool=$home/spool
if ! [ -r "$home/inner.key" ] || ! [ -w "$spool" ]; then
    echo "pushrod: $(id -un) can't use $home, so the coordinator is not told of this push"
    exit 0
fi
url=$(cat "$home/url")

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else openssl dgst -sha256 -r; fi | cut -c1-64
}

binary() {
    fold -w 2 | while read -r byte || [ -n "$byte" ]; do
        printf "\\$(printf %03o "0x$byte")"
    done
}

signature() {
    inner=$(cat "$home/inner.key" "$1" | digest)
    { cat "$home/outer.key"; printf %s "$inner" | binary; } | digest
}

keep() {
    random=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    file=$spool/$(date +%s)-$random
    printf '{"event":"push","refs":[%s]}\n' "$refs" >"$file.new" && mv "$file.new" "$file.json"
    refs='' count=0
}

# Words of the coordinator, without what a terminal would obey.
show() { tr -d '\000-\010\013-\037\177' <"$home/answer.$$" | head -n 20 | sed 's/^/pushrod: /'; }

send() {
    id=${1##*/}
    status=$(curl -q -sS --connect-timeout 2 --max-time 4 -o "$home/answer.$$" -w '%{http_code}' \
        -H 'Content-Type: application/json' -H 'Accept: text/plain' \
        -H "X-Pushrod-Delivery: ${id%.json}" \
        -H "X-Pushrod-Signature-256: sha256=$(signature "$1")" \
        --data-binary @"$1" "$url?wait=2" 2>/dev/null)
    case $status in
        2??) show; rm -f "$1" ;;
        400 | 413) # It can't be read, or is too large: no later attempt is taken either.
            echo "pushrod: the coordinator refused this with $status; it is kept in $home/refused"
            show
            mkdir -p "$home/refused" && mv "$1" "$home/refused/" ;;
        *) # The network, the secret, the project or the rate may be in order at the next push.
            case $status in 000 | '') does='does not answer' ;; *) does="answers with $status" ;; esac
            echo "pushrod: $url $does: this push is kept and sent with the next one"
            case $status in 4??) show ;; esac
            return 1 ;;
    esac
}

refs='' count=0
while read -r old new ref; do
    case $ref in refs/heads/* | refs/tags/*) ;; *) continue ;; esac
    ref=$(printf %s "$ref" | sed 's/"/\\"/g')
    refs=$refs${refs:+,}'{"ref":"'$ref'","before":"'$old'","after":"'$new'"}'
    count=$((count + 1))
    [ "$count" -lt "$most_refs" ] || keep
done
[ "$count" -eq 0 ] || keep

# The oldest first; the names are ours, without spaces.
for name in $(ls -tr "$spool"); do
    file=$spool/$name
    case $file in *.json) ;; *) continue ;; esac
    if [ $(($(date +%s) - started)) -ge 4 ]; then
        echo "pushrod: $url is slow: what is left is kept and sent with the next push"
        break
    fi
    send "$file" || break
done
rm -f "$home/answer.$$"
exit 0
