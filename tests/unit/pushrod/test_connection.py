from __future__ import annotations

from pathlib import Path

import pytest

from pushrod.connection import (
    Connection,
    ConnectionOptions,
    checked_url,
    default_data_folder,
    read_token,
    resolve_connection,
    resolve_url,
)
from pushrod.errors import CommandError
from pushrod.transport import error_message


def token_file(folder: Path, text: str, name: str = "token") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


def test_the_option_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    environment = {"PUSHROD_URL": "https://ci.example/"}
    chosen = ConnectionOptions(url="http://ci:8080")
    assert resolve_url(chosen, environment) == "http://ci:8080"
    assert resolve_url(ConnectionOptions(), environment) == "https://ci.example"
    assert resolve_url(ConnectionOptions(), {}) == "http://127.0.0.1:3000"


@pytest.mark.parametrize(
    "url", ["ci.example", "ftp://ci", "http://", "http://ci:port", "http://[x"]
)
def test_a_url_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(CommandError, match=r"must look like http://127\.0\.0\.1:3000"):
        checked_url(url)


def test_a_token_in_the_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(CommandError) as error:
        checked_url("https://u:secret@ci.example")
    assert "secret" not in error.value.message


def test_the_token_file_wins_over_the_variable(tmp_path: Path) -> None:
    file = token_file(tmp_path, "from-file\n")
    found = resolve_connection(ConnectionOptions(token_file=file), {"PUSHROD_TOKEN": "from-env"})
    assert found == Connection(url="http://127.0.0.1:3000", token="from-file")


def test_a_local_coordinator_is_asked_with_the_data_folders_admin_token(tmp_path: Path) -> None:
    token_file(tmp_path / "share/pushrod", "admin", "admin-token")
    environment = {"XDG_DATA_HOME": str(tmp_path / "share")}
    assert resolve_connection(ConnectionOptions(), environment).token == "admin"


def test_the_admin_token_never_goes_to_another_machine(tmp_path: Path) -> None:
    token_file(tmp_path, "admin", "admin-token")
    environment = {"PUSHROD_DATA": str(tmp_path)}
    with pytest.raises(CommandError, match="no token: give one by --token-file"):
        resolve_connection(ConnectionOptions(url="http://ci.example:3000"), environment)


def test_without_any_token_the_message_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--token-file FILE or in PUSHROD_TOKEN"):
        resolve_connection(ConnectionOptions(), {"PUSHROD_DATA": str(tmp_path)})


@pytest.mark.parametrize("text", ["", "  \n", "two words", "two\nlines\n", "schlüssel"])
def test_a_file_that_holds_no_single_token_is_refused_without_showing_it(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(CommandError) as error:
        read_token(token_file(tmp_path, text))
    assert text.strip() == "" or text.strip() not in error.value.message


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nowhere can't be read: No such file or directory"):
        read_token(tmp_path / "nowhere")


def test_the_data_folder_is_below_the_home_folder_unless_chosen() -> None:
    assert default_data_folder({"HOME": "/home/ada"}) == Path("/home/ada/.local/share/pushrod")
    assert default_data_folder({"HOME": "/h", "PUSHROD_DATA": "/srv/ci"}) == Path("/srv/ci")


def test_a_connection_does_not_show_its_token() -> None:
    assert "secret" not in repr(Connection(url="http://ci", token="secret"))


def test_an_error_whose_only_detail_repeats_it_is_told_once() -> None:
    said = b'{"error": "write a URL", "details": [{"path": "repoUrl", "message": "write a URL"}]}'
    assert error_message(said) == "write a URL"
    more = b'{"error": "it breaks rules", "details": [{"path": "name", "message": "write text"}]}'
    assert error_message(more) == "it breaks rules \xb7 name: write text"
