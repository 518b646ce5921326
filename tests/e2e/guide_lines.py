"""The shell lines of README.md and docs/, and what a reader of them does by hand in between."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IS_SHELL = re.compile(
    r"^(?:\w+=\S+ )*(?:\. |export |pushrod |git |curl |call |call\(|make |apt-get |python3 |eval "
    r"|install |systemctl |openssl |/opt/pushrod/)"
)
STAYS = re.compile(r"^((?:\w+=\S+ )*)(pushrod (?:up|coordinator|agent --).*)$")
"""What runs until it is ended."""

NOT_RUN: Mapping[str, str] = {
    "make demo": "it is `make setup`, and what tests/e2e/test_demo.py runs",
    "make setup": "it made the environment that this test runs in",
    ". .venv/bin/activate": "the environment that this test runs in is there already",
    "pushrod engine up": "the engine is everybody's here: see test_private_engine.py",
    "pushrod engine down": "the engine is everybody's here: see test_private_engine.py",
    "pushrod engine down       # images and caches stay on disk": "the engine is everybody's here",
    "apt-get install --yes git make python3-venv": "changes the machine; .ci/setup does it",
    "apt-get install --yes git python3-venv": "changes the machine; .ci/setup does it",
    "apt-get install --yes nginx": "changes the machine",
    "python3 -m venv /opt/pushrod": "tests/e2e/test_wheel.py does so in another folder",
    "/opt/pushrod/bin/pip install .": "tests/e2e/test_wheel.py does so in another folder",
    "/opt/pushrod/bin/pushrod doctor": "`pushrod doctor` is run above it",
    "install -m 0644 docs/nginx.conf /etc/nginx/sites-available/pushrod": "needs nginx",
    "ln -s /etc/nginx/sites-available/pushrod /etc/nginx/sites-enabled/pushrod": "needs nginx",
    "nginx -t": "needs nginx; test_behind_a_proxy.py says what a proxy has to do",
    "systemctl reload nginx": "needs nginx",
    "install -m 0644 pushrod.pem /usr/local/share/ca-certificates/pushrod.crt": "is believed by "
    "the whole machine from then on",
    "update-ca-certificates": "changes the machine",
    "python3 -m pip wheel --wheel-dir wheels '.[otlp]' pip": "tests/e2e/test_containerfile.py does",
    "docker build --file Containerfile --tag registry.example/pushrod:1 .": "needs a Docker of the "
    "machine's; tests/e2e/test_containerfile.py has pushrod build it",
    "pushrod migrate --to postgresql://pushrod@db.example.org/pushrod "
    "--objects s3://ci-objects/pushrod": "tests/e2e/test_migrate.py does",
    "pushrod migrate --check --to postgresql://pushrod@db.example.org/pushrod": "the same",
    "pushrod coordinator --data /var/lib/pushrod": "tests/e2e/test_backup.py starts one",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 pushrod coordinator": "needs a collector; "
    "tests/e2e/test_traces.py is one",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 pushrod agent --url http://ci.example.org "
    "--token-file agent-token": "needs a collector; tests/e2e/test_traces.py is one",
}
"""Each line with the reason."""
NOT_RUN_PAGES = {"systemd.md": "test_systemd_boot.py does so under a systemd of its own"}
"""Blocks that say they are `sh` are run by tests/e2e/test_build_execution.py, as written."""
REFUSED: Mapping[str, str] = {
    "pushrod build cancel app#1": "has finished already",
    "pushrod doctor --registry registry.example:5000": "registry.example",
    "pushrod build retry app#1 --failed   # only what failed, and what depends on it": "no step of",
}
"""What stands in a list of commands, and by its turn has no place; with words of the answer."""

PLACES: Mapping[str, str] = {
    "http://127.0.0.1:3000": "{url}",
    "http://coordinator:3000": "{url}",
    "https://ci.example.org": "{url}",
    "https://forge.example/me/": "file://{folder}/",
    "/srv/git/": "{folder}/",
    "/mnt/backups/ci": "{folder}/backups",
    "/var/lib/pushrod": "{folder}/restored",
    "acme/shop": "default/shop",
    "/etc/ssl/private/": "",
    "/etc/ssl/certs/": "",
    "| less": "| cat",
}
"""What stands for a reader's own places, and what it is in a test."""
PLACEHOLDERS = re.compile(r"(?<= )(ID|DELIVERY|PROJECT|12)(?= |$)", re.MULTILINE)
"""Words that a reader replaces; `BEFORE` sets a variable of that name, or `NUMBER`."""

WORKFLOW = """\
cat > .pushrod.yml <<END
on: {push: {}, manual: {params: {target: {default: production}}}}
steps:
  - {name: lint, image: "$IMAGE", run: echo fine}
  - {name: unit, image: "$IMAGE", matrix: {python: ["3.12"]}, run: echo fine}
  - {name: test, image: "$IMAGE", run: echo fine > report, outputPaths: [report]}
END
git init -q -b main; git add .pushrod.yml; git commit -q -m first
"""
BEFORE: Mapping[tuple[str, str], str] = {
    ("README.md", "pushrod validate"): WORKFLOW,
    ("agents.md", "pushrod agent --url"): "pushrod agent token > agent-token",
    ("build-api.md", "curl -X POST"): "TOKEN=$(cat ~/.local/share/pushrod/admin-token)",
    ("build-api.md", "pushrod agent --url"): "pushrod agent token > token",
    ("build-api.md", "pushrod secret set"): "exec < <(echo sk-1234567890)",
    ("build-execution-api.md", "pushrod user create ada"): "echo 'a long word, twice' | "
    "tee ada-password root-password; echo 'another long word' > new-password",
    (
        "build-server-api.md",
        "call $URL/api/projects/$PROJECT/workflows",
    ): "PROJECT=$(id_of < answer)",
    (
        "build-server-api.md",
        "call $URL/api/projects/$PROJECT/builds -d",
    ): "WORKFLOW=$(id_of < answer)",
    (
        "build-server-api.md",
        "call $URL/api/projects/$PROJECT/builds/$BUILD",
    ): "BUILD=$(id_of < answer)",
    (
        "build-server-api.md",
        'call $URL/api/projects/$PROJECT/builds -d \'{"workflowId": "\'$WORKFLOW\'",',
    ): "git init -q -b main shop; git -C shop commit -q --allow-empty -m first; "
    "SHA=$(git -C shop rev-parse HEAD)",
    ("build-synthesis-api.md", "curl -H"): "TOKEN=$(cat ~/.local/share/pushrod/admin-token); "
    "pushrod project create data_visualization; " + WORKFLOW + "mkdir .pushrod; cat > "
    ".pushrod/modules.yml <<END\nmodules: {data_visualization: {path: ., targets: "
    "{production_bundle: .pushrod.yml}}}\nEND\ngit add .; git commit -q -m modules; git -c "
    "credential.helper='!pushrod git-credential' push -q "
    "$PUSHROD_URL/git/default/data-visualization.git main",
    ("images.md", "pushrod registry login registry"): "pushrod project create shop; echo word > "
    "password; exec < <(echo word)",
    ("import.md", "pushrod import "): "printf 'test:\\n  script: make\\n' > .gitlab-ci.yml; "
    "mkdir -p ../app/.github/workflows; printf 'on: push\\njobs: {a: {runs-on: ubuntu-latest, "
    "steps: [{run: make}]}}\\n' > ../app/.github/workflows/ci.yml; git init -q; git init -q ../app",
    ("import.md", "pushrod import .gitlab-ci.yml"): "rm .pushrod.yml",
    ("import.md", "pushrod import --output"): "rm .pushrod.yml",
    ("install.md", "pushrod doctor --url"): "pushrod agent token > agent-token",
    ("proxy.md", "curl "): "pushrod agent token > agent-token; cp "
    "~/.local/share/pushrod/admin-token ~/token; pushrod project create app; " + WORKFLOW,
    ("retention.md", "pushrod retention show"): "pushrod project list | grep -q shop || pushrod "
    "project create shop",
    ("run.md", "pushrod run     "): WORKFLOW
    + "mkdir .pushrod; sed '1i name: nightly' .pushrod.yml > "
    ".pushrod/nightly.yml; touch secrets.env; chmod 600 secrets.env",
    ("run.md", "pushrod run --send"): "pushrod project create shop",
    ("security.md", "pushrod token revoke"): "ID=$(pushrod token list --json | id_of '[-1]')",
    ("statuses.md", "pushrod project set shop --forge-token-file"): "echo word > token; pushrod "
    "project create shop --repo https://github.com/anna/shop.git --secret-file secret",
    ("statuses.md", "pushrod project set shop --forge-app-id"): "openssl genrsa -out app.pem 2048",
    ("statuses.md", "pushrod project notify add shop --on failed,"): "echo "
    "https://chat.example/hook > address",
    ("statuses.md", "pushrod project notify remove"): "ID=$(pushrod project notify list shop "
    "--json | id_of '[\"notifications\"][0]')",
    ("statuses.md", "pushrod delivery list shop --out"): "fail_a_build",
    ("statuses.md", "pushrod delivery show"): "NUMBER=$(pushrod delivery list shop --out --json | "
    "id_of '[0]')",
    ("webhooks.md", "pushrod project create shop --repo https://git."): "pushrod project delete "
    "shop --yes shop",
    ("webhooks.md", "pushrod project credential"): "echo word > token",
    (
        "webhooks.md",
        "pushrod project create shop --repo file:",
    ): "pushrod project delete shop --yes shop; git init -q --bare shop.git; rm -f secret",
    ("webhooks.md", "pushrod hook install"): "ID=$(pushrod project list --json | id_of '[0]')",
    ("webhooks.md", "pushrod delivery list"): WORKFLOW + "git push -q $PWD/shop.git main",
    ("webhooks.md", "pushrod delivery redeliver"): "DELIVERY=$(pushrod delivery list shop --json "
    "| member '[0][\"deliveryId\"]')",
    ("worker.md", "call()"): "TOKEN=$(cat ~/.local/share/pushrod/admin-token) URL=$PUSHROD_URL; "
    "a_step",
    ("workflow.md", "pushrod secret set PROJECT PYPI_TOKEN"): "pushrod project create app; "
    "PROJECT=app; echo word > token.txt",
    ("workflow.md", "pushrod secret set PROJECT DEPLOY_KEY"): "echo word > key.txt",
}
"""What a reader does before the first line of that beginning, by the text around it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A command as it stands on the page, with its lines if it has several."""

    page: str
    text: str

    @property
    def why_not_run(self) -> str | None:
        return NOT_RUN.get(self.text) or NOT_RUN_PAGES.get(self.page)


def lines_of(page: Path) -> Iterator[Line]:
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "" and IS_SHELL.match(block):
            yield from (Line(page.name, text) for text in _commands(block))


def _commands(block: str) -> Iterator[str]:
    """A line, or several that a quote or a backslash holds together."""
    whole = ""
    for line in block.splitlines():
        whole += line
        plain = re.sub(r"\s#.*$", "", whole)
        if plain.endswith("\\") or plain.count("'") % 2:
            whole += "\n"
            continue
        if whole.strip():
            yield whole
        whole = ""
