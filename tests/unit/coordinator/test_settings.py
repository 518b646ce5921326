"""The coordinator's settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.settings import Settings
from coordinator.settings_file import SettingsError, load_settings, reference

DOCS = Path(__file__).parents[3] / "docs"


def toml(folder: Path, text: str) -> Path:
    path = folder / "pushrod.toml"
    path.write_text(text)
    return path


def test_every_setting_has_a_default_and_a_sentence() -> None:
    for name, setting in Settings.model_fields.items():
        assert not setting.is_required(), name
        assert (setting.description or "").endswith("."), name


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    config = toml(tmp_path, 'listen = "127.0.0.1:1"\nlease_seconds = 30\naccept_seconds = 2\n')
    environ = {"PUSHROD_LISTEN": "127.0.0.1:2", "PUSHROD_LEASE_SECONDS": "40"}
    found = load_settings(tmp_path, "127.0.0.1:3", config, environ)
    assert (found.listen, found.lease_seconds, found.accept_seconds) == ("127.0.0.1:3", 40, 2)
    assert load_settings(None, None, config, environ).listen == "127.0.0.1:2"


def test_an_unknown_key_is_named_with_its_file_and_what_is_known(tmp_path: Path) -> None:
    config = toml(tmp_path, "lease_secs = 3\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(None, None, config, {})
    assert "`lease_secs`" in str(refused.value)
    assert str(config) in str(refused.value)
    assert "lease_seconds" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lease_seconds", "soon"),
        ("lease_seconds", "0"),
        ("lease_seconds", "nan"),
        ("lease_seconds", "inf"),
        ("git_processes", "1.5"),
        ("public_url", "ci.example.org"),
        ("public_url", "https://ci.example.org/"),
        ("public_url", "javascript:alert(1)"),
        ("listen", "3000"),
        ("listen", "127.0.0.1:"),
        ("listen", "127.0.0.1:65536"),
        ("listen", "127.0.0.1:99999"),
        ("listen", "two words:3000"),
        ("trusted_proxies", "nginx"),
        ("trusted_proxies", "127.0.0.1,,10.0.0.1/8"),
        ("trusted_proxies", "127.0.0.1 10.0.0.1"),
    ],
)
def test_an_impossible_value_is_named_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"PUSHROD_{name.upper()}"):
        load_settings(environ={f"PUSHROD_{name.upper()}": text})


@pytest.mark.parametrize(
    ("listen", "environ", "said"),
    [
        (
            "localhost",
            {},
            "`--listen` is 'localhost': write HOST:PORT with a port up to 65535, such as "
            "127.0.0.1:3000 or [::1]:3000",
        ),
        ("[::1]:70000", {}, "`--listen` is '[::1]:70000': write HOST:PORT with a port up to 65535"),
        (None, {"PUSHROD_GIT_PROCESSES": "many"}, "'many': write a whole number 1 to 256"),
        (None, {"PUSHROD_FETCH_SECONDS": "0"}, "'0': write a number above 0, at most 3600"),
        (
            None,
            {"PUSHROD_OBJECTS_SIGNED_SECONDS": "5"},
            "'5': write a whole number 10 to 86400",
        ),
        (None, {"PUSHROD_MAX_LFS_BYTES": "0"}, "'0': write a whole number at least 1"),
        (None, {"PUSHROD_ALLOW_FILE_REPOSITORIES": "perhaps"}, "write true or false"),
    ],
)
def test_a_wrong_setting_is_told_with_what_to_write(
    listen: str | None, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(listen=listen, environ=environ)
    assert said in str(refused.value)


@pytest.mark.parametrize("content", [b"= 1", b"\xff\xfe", b"[", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "pushrod.toml"
    config.write_bytes(content)
    with pytest.raises(SettingsError, match=r"pushrod\.toml is not TOML"):
        load_settings(config=config, environ={})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml can't be read: No such file"):
        load_settings(config=tmp_path / "nowhere.toml", environ={})


def test_the_data_folder_is_made_absolute_and_home_is_followed() -> None:
    assert load_settings(Path("~/ci"), environ={}).data == Path.home() / "ci"
    assert load_settings(Path("ci"), environ={}).data == Path.cwd() / "ci"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_settings(environ={"PUSHROD_LISTEN": ""}).listen == Settings().listen


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:3000", "::1", 3000), ("ci.local:80", "ci.local", 80)],
)
def test_an_address_has_a_host_and_a_port(listen: str, host: str, port: int) -> None:
    settings = load_settings(listen=listen, environ={})
    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('trusted_proxies = ["127.0.0.1", "10.0.0.0/8", "::1"]\n', {}),
        ('trusted_proxies = "127.0.0.1,10.0.0.0/8,::1"\n', {}),
        ("", {"PUSHROD_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8, ::1,"}),
    ],
)
def test_proxies_are_a_list_in_the_file_and_separated_by_commas_in_the_environment(
    tmp_path: Path, text: str, environ: dict[str, str]
) -> None:
    settings = load_settings(config=toml(tmp_path, text), environ=environ)
    shown = [str(network) for network in settings.trusted_proxies]
    assert shown == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize("value", ["7", "true", "[7]", '["nginx"]', "{a = 1}"])
def test_proxies_that_are_none_are_told_with_what_to_write(tmp_path: Path, value: str) -> None:
    config = toml(tmp_path, f"trusted_proxies = {value}\n")
    with pytest.raises(SettingsError, match=r"`trusted_proxies`.*write addresses or networks"):
        load_settings(config=config, environ={})


def test_the_reference_in_the_guide_is_that_of_the_code() -> None:
    remedy = "python -m coordinator.settings_file > docs/settings.md"
    assert (DOCS / "settings.md").read_text() == reference(), remedy


def test_the_reference_names_each_setting_with_its_default_and_bounds() -> None:
    text = reference()
    assert all(f"| `{name}` | `PUSHROD_{name.upper()}` |" in text for name in Settings.model_fields)
    assert "| `60` | 1 to 3600 |" in text


SHARED = {
    "PUSHROD_DATABASE": "postgresql://pushrod@db/pushrod",
    "PUSHROD_OBJECTS": "s3://builds/pushrod",
    "PUSHROD_PUBLIC_URL": "https://ci.example.org",
    "PUSHROD_PEER_LISTEN": "10.0.0.1:3001",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PUSHROD_DATABASE": ""}, "give them `database`"),
        ({"PUSHROD_OBJECTS": "/srv/objects"}, "`objects`, an object store"),
        ({"PUSHROD_PUBLIC_URL": ""}, "need `public_url`"),
        ({"PUSHROD_PEER_LISTEN": "0.0.0.0:3001"}, "give `peer_address`, too"),
        ({"PUSHROD_PEER_LISTEN": "10.0.0.1:99999"}, "write HOST:PORT"),
        ({"PUSHROD_PEER_LISTEN": "10.0.0.1"}, "write HOST:PORT"),
    ],
)
def test_coordinators_that_have_others_must_share_what_they_keep(
    change: dict[str, str], words: str
) -> None:
    assert load_settings(environ=SHARED).stores_repositories
    with pytest.raises(SettingsError, match=words):
        load_settings(environ=SHARED | change)
