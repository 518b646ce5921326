from pathlib import Path

import pytest

from agent.engines.private.apt import (
    Apt,
    AptSource,
    Release,
    other_suite,
    parse_new_packages,
    parse_release,
    parse_sources,
)
from agent.engines.private.errors import UnsupportedMachineError
from agent.engines.private.packages import major_version

BOOKWORM = Release(id="debian", codename="bookworm", version="12")


def test_debian_is_read_from_os_release() -> None:
    text = (
        'PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n'
    )
    assert parse_release(text) == BOOKWORM


def test_a_release_without_a_number_goes_by_its_codename() -> None:
    assert parse_release("ID=debian\nVERSION_CODENAME=forky\n").version == "forky"


@pytest.mark.parametrize("text", ["ID=fedora\nVERSION_CODENAME=x\n", "ID=debian\n", ""])
def test_another_system_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UnsupportedMachineError) as caught:
        parse_release(text)
    assert "Docker 26" in caught.value.remedy


def test_only_the_release_s_own_archive_is_read() -> None:
    lines = """http://mirror.example/debian/|bookworm|main
http://mirror.example/debian/|bookworm|contrib
http://mirror.example/debian/|bookworm-updates|main
http://other.example/tools/|nodistro|main
cdrom://disc/|bookworm|main
http://mirror.example/debian/|trixie|main"""
    assert parse_sources(lines, BOOKWORM) == [
        AptSource(uri="http://mirror.example/debian/", suite="bookworm", components=("main",)),
        AptSource(
            uri="http://mirror.example/debian/", suite="bookworm-updates", components=("main",)
        ),
        # A disc is left out: it would ask for itself.
    ]


def test_ubuntu_s_docker_is_in_universe() -> None:
    noble = Release(id="ubuntu", codename="noble", version="24.04")
    lines = "http://u.example/|noble|main\nhttp://u.example/|noble|universe\n"
    assert parse_sources(lines, noble)[0].components == ("main", "universe")


def test_the_newer_suite_comes_from_the_same_mirror() -> None:
    sources = [AptSource(uri="http://m.example/", suite="bookworm", components=("main",))]
    assert other_suite(sources, "trixie")[0].line(Path("/k.gpg")) == (
        "deb [signed-by=/k.gpg] http://m.example/ trixie main"
    )


def test_upgrades_of_installed_packages_are_not_fetched() -> None:
    simulation = """Reading package lists...
Inst libslirp0 (4.7.0-1 Debian:12 [amd64])
Inst libc6 [2.36-9] (2.36-10 Debian:12 [amd64])
Inst runc:amd64 (1.1.5 Debian:12 [amd64])
Conf libslirp0 (4.7.0-1 Debian:12 [amd64])"""
    assert parse_new_packages(simulation) == ["libslirp0", "runc"]


def test_the_system_s_apt_state_is_not_written() -> None:
    apt = Apt(folder=Path("/own"), sources=(), keyring=None, status=Path("/dev/null"))
    text = apt.configuration_text()
    assert 'Dir::State::lists "/own/lists";' in text
    assert 'Dir::Cache "/own/cache";' in text
    assert "#clear APT::Update::Post-Invoke;" in text


@pytest.mark.parametrize(
    ("version", "major"),
    [("26.1.5+dfsg1-9+deb13u1", 26), ("5:28.5.2-1~debian", 28), ("20.10.24", 20), ("dev", 0)],
)
def test_the_major_version_is_read(version: str, major: int) -> None:
    assert major_version(version) == major
