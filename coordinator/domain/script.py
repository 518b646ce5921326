"""The bash text of a step: what curl and bash alone need to run it.

Whatever comes from people stands in it quoted by shlex; the token is in the environment of curl's
header file and git's configuration, never in an argument or a URL.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence

from pipelines_schema.contract import StepSpec

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
"""

CHECKOUT = """
# The commit
(
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader GIT_TERMINAL_PROMPT=0
  GIT_CONFIG_VALUE_0=$(cat "$PUSHROD_HOME/header"); export GIT_CONFIG_VALUE_0
  git init -q "$PUSHROD_WORKSPACE"
  git -C "$PUSHROD_WORKSPACE" fetch -q --depth 1 {url} {commit}
  git -C "$PUSHROD_WORKSPACE" checkout -q --detach FETCH_HEAD
) >&2
"""

ARTIFACT = """
mkdir -p -- "$PUSHROD_WORKSPACE"/{folder}
curl -gfsS -H @"$PUSHROD_HOME/header" -o "$PUSHROD_WORKSPACE"/{name} {url}
printf '%s  %s\\n' {sha256} "$PUSHROD_WORKSPACE"/{name} | sha256sum --quiet -c -
chmod {mode:o} "$PUSHROD_WORKSPACE"/{name}
"""

RUN = """
# The script
base64 -d > "$PUSHROD_HOME/script" <<'PUSHROD_SCRIPT'
{script}
PUSHROD_SCRIPT
PUSHROD_EXIT=0
(
  cd -- "$PUSHROD_WORKSPACE"
  {exports}
  export PUSHROD_WORKSPACE
  exec {offline}bash -e -o pipefail "$PUSHROD_HOME/script" < /dev/null
) || PUSHROD_EXIT=$?
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
  encoded=$(LC_ALL=C; path=${{path#./}}; for ((i = 0; i < ${{#path}}; i++)); do
    c=${{path:i:1}}
    case $c in
      [a-zA-Z0-9._~/-]) printf %s "$c" ;;
      *) printf -v code %d "'$c"; printf '%%%02X' $((code & 255)) ;;
    esac
  done)
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
                url=shlex.quote(spec.source.url), commit=shlex.quote(spec.source.commit)
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
    parts.append(_run(spec))
    if spec.output_paths:
        parts.append(
            UPLOAD.format(
                patterns=_words(spec.output_paths),
                url=shlex.quote(f"{base_url}/api/runner/{spec.step_id}/artifacts"),
                epoch=spec.epoch,
            )
        )
    parts.append(FOOTER)
    return "".join(parts)


def _run(spec: StepSpec) -> str:
    """The user's script travels as base64 inside a here-document, so no line of it can end it."""
    variables = sorted({**spec.env, **spec.secrets}.items())
    exports = "\n  ".join(
        [
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
