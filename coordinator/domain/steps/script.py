"""The bash text of a step: what curl and bash alone need to run it.

Whatever comes from people stands in it quoted by shlex; the token is in the environment of curl's
header file and git's configuration, never in an argument or a URL.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Sequence

from pipelines_schema.contract import CacheDir, StepSpec
from pipelines_schema.paths import WORKSPACE

HEADER = """\
#!/usr/bin/env bash
# pushrod: step {step}, attempt {attempt}
set -euo pipefail
umask 077
PUSHROD_HOME=$(mktemp -d "${{TMPDIR:-/tmp}}/pushrod-step.XXXXXXXX")
trap 'rm -rf -- "$PUSHROD_HOME"' EXIT
printf '%s\\n' {authorization} > "$PUSHROD_HOME/header"
umask 022
PUSHROD_WORKSPACE=$PUSHROD_HOME/workspace
mkdir -- "$PUSHROD_WORKSPACE"
pushrod_encoded() {{ # a path, as a URL has it
  local LC_ALL=C path=$1 i c code
  for ((i = 0; i < ${{#path}}; i++)); do
    c=${{path:i:1}}
    case $c in
      [a-zA-Z0-9._~/-]) printf %s "$c" ;;
      *) printf -v code %d "'$c"; printf '%%%02X' $((code & 255)) ;;
    esac
  done
}}
"""

CHECKOUT = """
# The commit, its submodules and LFS files, all from the coordinator
pushrod_checkout() {{ # folder, commit
  git init -q "$1"
  git -C "$1" fetch -q --depth 1 {url} "$2"
  git -C "$1" checkout -q --detach FETCH_HEAD
}}
pushrod_get() {{ # URL, file, curl's further arguments; while it is fetching it answers 503
  curl -gsS --fail-with-body --retry 1000 --retry-max-time 3600 -H @"$PUSHROD_HOME/header" \\
    "${{@:3}}" -o "$2" "$1" || {{ cat -- "$2"; echo; exit 1; }}
}}
pushrod_lfs() {{ # the submodule's path, or nothing
  git -C "$PUSHROD_WORKSPACE/$1" ls-files -z ':(attr:filter=lfs)' |
  while IFS= read -r -d '' path; do
    file=$PUSHROD_WORKSPACE/${{1:+$1/}}$path
    if [[ ! -f $file || -L $file ]]; then continue; fi
    if ! head -c 43 -- "$file" | cmp -s - <(echo version https://git-lfs.github.com/spec/v1); then
      continue
    fi
    oid=$(sed -n 's/^oid sha256:\\([0-9a-f]\\{{64\\}}\\)$/\\1/p' "$file")
    size=$(sed -n 's/^size \\([0-9]\\{{1,18\\}}\\)$/\\1/p' "$file")
    pushrod_get {step_url}"/lfs/$oid?size=$size&submodule=$(pushrod_encoded "$1")" \\
      "$PUSHROD_HOME/object"
    printf '%s  %s\\n' "$oid" "$PUSHROD_HOME/object" | sha256sum --quiet -c -
    cat -- "$PUSHROD_HOME/object" > "$file"
  done
}}
(
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader GIT_TERMINAL_PROMPT=0
  export GIT_LFS_SKIP_SMUDGE=1 # a git-lfs of this machine does not know where to ask
  GIT_CONFIG_VALUE_0=$(cat "$PUSHROD_HOME/header"); export GIT_CONFIG_VALUE_0
  pushrod_checkout "$PUSHROD_WORKSPACE" {commit}
  : > "$PUSHROD_HOME/submodules"
  if git -C "$PUSHROD_WORKSPACE" ls-files -s | grep '^160000 ' > /dev/null; then
    pushrod_get {step_url}/submodules "$PUSHROD_HOME/submodules" -H 'Accept: text/plain'
  fi
  while IFS= read -r line; do
    pushrod_checkout "$PUSHROD_WORKSPACE/${{line#* }}" "${{line%% *}}"
  done < "$PUSHROD_HOME/submodules"
  pushrod_lfs ''
  while IFS= read -r line; do pushrod_lfs "${{line#* }}"; done < "$PUSHROD_HOME/submodules"
) >&2
"""

ARTIFACT = """
mkdir -p -- "$PUSHROD_WORKSPACE"/{folder}
curl -gfsS -H @"$PUSHROD_HOME/header" -o "$PUSHROD_WORKSPACE"/{name} {url}
printf '%s  %s\\n' {sha256} "$PUSHROD_WORKSPACE"/{name} | sha256sum --quiet -c -
chmod {mode:o} "$PUSHROD_WORKSPACE"/{name}
"""

CACHES = """
# The caches: links into a folder of this worker's, which keeps them for the next builds
PUSHROD_CACHE=${{PUSHROD_CACHE:-${{XDG_CACHE_HOME:-${{HOME:?}}/.cache}}/pushrod}}
PUSHROD_CACHE=$(umask 077; mkdir -p -- "$PUSHROD_CACHE"; cd -- "$PUSHROD_CACHE"; pwd -P)
pushrod_cache() {{ # path in the workspace, the cache's identity, those it may begin as a copy of
  local place=$PUSHROD_WORKSPACE/$1 above other begun
  above=$(realpath -m -- "${{place%/*}}")
  if [[ $above/ != "$(realpath -- "$PUSHROD_WORKSPACE")"/* ]]; then
    echo "pushrod: cacheDirs: $1 is behind a symbolic link" >&2; exit 1
  fi
  for other in "${{@:3}}"; do
    [[ ! -e $PUSHROD_CACHE/$2 && -d $PUSHROD_CACHE/$other ]] || continue
    begun=$(mktemp -d -- "$PUSHROD_CACHE/begun-XXXXXX")
    cp -a -- "$PUSHROD_CACHE/$other/." "$begun" || true # what goes meanwhile is no loss
    mv -T -- "$begun" "$PUSHROD_CACHE/$2" || rm -rf -- "$begun"
  done
  mkdir -p -- "$above" "$PUSHROD_CACHE/$2"
  rm -rf -- "$above/${{place##*/}}"
  ln -s -- "$PUSHROD_CACHE/$2" "$above/${{place##*/}}"
}}
{places}
"""

NOTE = """
echo {note} >&2
"""

CACHES_AFTER = """
# What no step needs any more
if [ "$PUSHROD_EXIT" = 0 ]; then
  for id in {replaced}; do rm -rf -- "$PUSHROD_CACHE/$id"; done
else
  for id in {failed}; do rm -rf -- "$PUSHROD_CACHE/$id"; done
fi
"""

RUN = """
# The script
base64 -d > "$PUSHROD_HOME/script" <<'PUSHROD_SCRIPT'
{script}
PUSHROD_SCRIPT
: > "$PUSHROD_HOME/output"
PUSHROD_EXIT=0
(
  cd -- "$PUSHROD_WORKSPACE"
  {exports}
  export PUSHROD_WORKSPACE PUSHROD_OUTPUT=$PUSHROD_HOME/output
  exec {offline}bash -e -o pipefail "$PUSHROD_HOME/script" < /dev/null
) || PUSHROD_EXIT=$?
"""

VALUES = """
# What the script hands on
if [[ -f $PUSHROD_HOME/output && ! -L $PUSHROD_HOME/output && -s $PUSHROD_HOME/output ]]; then
  curl -gsS --fail-with-body -H @"$PUSHROD_HOME/header" -H 'Content-Type: text/plain' \\
    -T "$PUSHROD_HOME/output" -o "$PUSHROD_HOME/answer" {url} || {{
    cat -- "$PUSHROD_HOME/answer" >&2; echo >&2
    [ "$PUSHROD_EXIT" != 0 ] || PUSHROD_EXIT=1
  }}
fi
"""

UPLOAD = """
# The outputs, also of a script that failed
cd -- "$PUSHROD_WORKSPACE"
shopt -s globstar nullglob dotglob
for pattern in {patterns}; do
  IFS= # patterns are expanded as paths, never split into words
  for path in $pattern; do
    if [[ -e $path ]]; then find "./$path" -type f -print0
    else echo "pushrod: the output $path was not made" >&2; fi
  done
  unset IFS
done | sort -zu | while IFS= read -r -d '' path; do
  encoded=$(pushrod_encoded "${{path#./}}")
  curl -gfsS -o /dev/null -H @"$PUSHROD_HOME/header" -T "$path" \\
    {url}/"$encoded?epoch={epoch}&mode=$(stat -c %a -- "$path")" ||
    {{ echo "pushrod: the output ${{path#./}} could not be stored" >&2; exit 1; }}
done || [ "$PUSHROD_EXIT" != 0 ] || PUSHROD_EXIT=1
"""

FOOTER = """
exit "$PUSHROD_EXIT"
"""


def bash_script(spec: StepSpec, base_url: str) -> str:
    """The whole text; the same spec gives the same text."""
    parts = [
        HEADER.format(
            step=_comment(spec.name),
            attempt=spec.attempt,
            authorization=shlex.quote(f"Authorization: Bearer {spec.token}"),
        )
    ]
    if spec.source is not None:
        parts.append(
            CHECKOUT.format(
                url=shlex.quote(spec.source.url),
                commit=shlex.quote(spec.source.commit),
                step_url=shlex.quote(f"{base_url}/api/runner/{spec.step_id}"),
            )
        )
    for dependency in spec.dependencies:
        for artifact in dependency.artifacts:
            folder, _, _ = artifact.name.rpartition("/")
            parts.append(
                ARTIFACT.format(
                    folder=shlex.quote(folder or "."),
                    name=shlex.quote(artifact.name),
                    url=shlex.quote(artifact.url),
                    sha256=artifact.sha256,
                    mode=artifact.mode,
                )
            )
    url = f"{base_url}/api/runner/{spec.step_id}/output-values?epoch={spec.epoch}"
    parts += [*_caches(spec), _run(spec), VALUES.format(url=shlex.quote(url))]
    if spec.output_paths:
        parts.append(
            UPLOAD.format(
                patterns=_words(spec.output_paths),
                url=shlex.quote(f"{base_url}/api/runner/{spec.step_id}/artifacts"),
                epoch=spec.epoch,
            )
        )
    parts += [*_after_caches(spec), FOOTER]
    return "".join(parts)


def _caches(spec: StepSpec) -> Iterator[str]:
    """Only those in the workspace: a home folder, and what is above it, are the worker's own."""
    below = WORKSPACE + "/"
    for cache in spec.cache_dirs:
        if not cache.path.startswith(below):
            note = f"pushrod: cacheDirs: {cache.path} is this worker's own, and is left as it is"
            yield NOTE.format(note=shlex.quote(note))
        elif cache.key:
            note = f"pushrod: cacheDirs: {cache.path} is kept without its key"
            yield NOTE.format(note=shlex.quote(note))
    if kept := _kept(spec):
        yield CACHES.format(
            places="\n".join(
                "pushrod_cache "
                + _words([cache.path.removeprefix(below), cache.id, *cache.begins_as])
                for cache in kept
            )
        )


def _kept(spec: StepSpec) -> Sequence[CacheDir]:
    return [cache for cache in spec.cache_dirs if cache.path.startswith(WORKSPACE + "/")]


def _after_caches(spec: StepSpec) -> Iterator[str]:
    """Caches that a clean build's have taken the place of go; so do those of one that failed."""
    kept = _kept(spec)
    replaced = [cache.replaces for cache in kept if cache.replaces is not None]
    failed = [cache.id for cache in kept] if spec.clean else []
    if replaced or failed:
        yield CACHES_AFTER.format(replaced=_words(replaced), failed=_words(failed))


def _run(spec: StepSpec) -> str:
    """The user's script travels as base64 inside a here-document, so no line of it can end it."""
    variables = sorted({**spec.env, **spec.secrets}.items())
    exports = "\n  ".join(
        [
            *(
                [f"echo {shlex.quote(f'pushrod: {spec.refused}')} >&2; exit 1"]
                if spec.refused
                else []
            ),
            *(
                f"echo 'pushrod: the secret {name} was deleted' >&2; exit 1"
                for name in spec.secret_names
                if name not in spec.secrets
            ),
            *(f"export {name}={shlex.quote(value)}" for name, value in variables),
        ]
    )
    encoded = base64.encodebytes(spec.script.encode()).decode().strip()
    return RUN.format(
        script=encoded,
        exports=exports or ":",
        offline="unshare --map-current-user --net " if spec.network == "none" else "",
    )


def _words(patterns: Sequence[str]) -> str:
    return " ".join(shlex.quote(pattern) for pattern in patterns)


def _comment(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
