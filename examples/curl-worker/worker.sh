#!/usr/bin/env bash
# Runs the steps of one build with bash and curl alone: worker.sh URL BUILD_ID TOKEN_FILE
# Exits 0 when the build succeeded. Scripts run here, with your rights: for builds you trust.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 URL BUILD_ID TOKEN_FILE" >&2; exit 2; }
url=${1%/} build=$2 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# curl reads the header from a file: a token in an argument is in everybody's process list.
(umask 077 && printf 'Authorization: Bearer %s' "$(cat "$3")" >"$work/header")

ask() { curl -sS --fail-with-body --retry 5 --retry-connrefused -H "@$work/header" "$@"; }
field() { sed -n "s/.*\"$1\": *\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p" | head -n 1; }

run_step() { # id
    # This GET is the claim: if another worker came first, it is refused.
    ask -o "$work/script" "$url/api/runner/$1" || { sleep 1; return; }
    local code=0 status=success offset=0 part
    HOME=$work bash "$work/script" >"$work/log" 2>&1 </dev/null || code=$?
    [ "$code" = 0 ] || status=failed
    split --bytes=1M "$work/log" "$work/part."
    for part in $(find "$work" -name 'part.*' | sort); do
        ask -X PATCH -H 'Content-Type: text/plain' -H "Upload-Offset: $offset" \
            --data-binary "@$part" "$url/api/runner/$1/log"
        offset=$((offset + $(stat -c %s "$part")))
        rm "$part"
    done
    ask -H 'Content-Type: application/json' -w '\n' \
        --data "{\"status\":\"$status\",\"exitCode\":$code}" "$url/api/runner/$1/complete"
}

wait=0 seen=0
while :; do
    # One JSON object a line: the build first, then its steps.
    ask "$url/api/projects/-/builds/$build?wait=$wait&seen=$seen" | sed 's/{/\n{/g' >"$work/build"
    case $(field state <"$work/build") in succeeded) exit 0 ;; failed | cancelled) exit 1 ;; esac
    ready=$(grep '"status": *"READY"' "$work/build" | field id) || true
    if [ -n "$ready" ]; then run_step "$ready" && wait=0; else wait=25; fi
    seen=$(field version <"$work/build")
done
