"""The doctor recognises what is wrong, says what to do about it, and cries wolf at nothing that is well."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from contentfilter import config, doctor
from contentfilter.config import NamedFile
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.doctor import examine
from contentfilter.errors import InspectorError, NextHopError
from contentfilter.finding import Finding, Kind, Test
from contentfilter.inspectors.clamd import EICAR
from contentfilter.inspectors.rspamd_answer import Answer
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.database import PolicyDatabase
from contentfilter.postconf import PostconfCommand, PostconfError
from contentfilter.unpack.measures import Measure
from tests.unit.users import locked_out, open_place

LARGE = 30_000_000
KEYWORDS = ("XFORWARD", "DSN", "8BITMIME", "SMTPUTF8")


def failure(cause: OSError) -> InspectorError:
    error = InspectorError("the scanner failed")
    error.__cause__ = cause
    return error


@dataclass
class Neighbours:
    """Everybody whom the doctor asks, all well unless a test says otherwise. An exception is raised."""

    version: str | InspectorError = "ClamAV 1.0"
    virus: str = "Eicar-Test-Signature"
    large_virus: str | Exception = "Eicar-Test-Signature"
    score: float | InspectorError = 1000.0
    tests: tuple[Test, ...] = (Test("GTUBE", 1000.0),)
    keywords: tuple[str, ...] | NextHopError = KEYWORDS
    parameters: dict[str, str] = field(
        default_factory=lambda: {
            "content_filter": "scan:[localhost]:10025",
            "receive_override_options": "no_address_mappings",
            "mydestination": "example.org, localhost",
            "virtual_mailbox_domains": "hash:/etc/postfix/vdomains",
        }
    )
    services: tuple[str, ...] = ("smtp/inet", "scan/unix", "127.0.0.1:10026/inet")
    overrides: dict[str, str] = field(default_factory=lambda: {"127.0.0.1:10026/inet/content_filter": ""})
    postconf_error: str = ""
    rspamd: str | InspectorError = "reject"
    measures: tuple[Measure, ...] | InspectorError = (Measure("user", True, "uid 7"), Measure("seccomp", True, ""))


class Clamd:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours

    async def version(self) -> str:
        if isinstance(self.neighbours.version, Exception):
            raise self.neighbours.version
        return self.neighbours.version

    async def scan_bytes(self, content: bytes) -> str:
        if content == EICAR:
            return self.neighbours.virus
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            assert members.read("eicar.com") == EICAR
        assert LARGE - 1000 < len(content) <= LARGE
        if isinstance(self.neighbours.large_virus, Exception):
            raise self.neighbours.large_virus
        return self.neighbours.large_virus


class Spamd:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours

    async def probe(self) -> Finding:
        if isinstance(self.neighbours.score, Exception):
            raise self.neighbours.score
        return Finding(Kind.SPAM, "spamd", "spam score", score=self.neighbours.score, tests=self.neighbours.tests)


class Rspamd:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours

    async def probe(self) -> Answer:
        if isinstance(self.neighbours.rspamd, Exception):
            raise self.neighbours.rspamd
        return Answer(15.0, self.neighbours.rspamd)


class Hop:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours

    async def capabilities(self) -> Mapping[str, str]:
        if isinstance(self.neighbours.keywords, Exception):
            raise self.neighbours.keywords
        return dict.fromkeys(self.neighbours.keywords, "")


class FakeBox:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours
        self.closed = False

    async def measures(self) -> tuple[Measure, ...]:
        if isinstance(self.neighbours.measures, Exception):
            raise self.neighbours.measures
        return self.neighbours.measures

    async def close(self) -> None:
        self.closed = True


class FakePostconf:
    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours

    def main(self, parameter: str) -> str:
        if self.neighbours.postconf_error:
            raise PostconfError(self.neighbours.postconf_error)
        return self.neighbours.parameters.get(parameter, "")

    def overrides(self) -> Mapping[str, str]:
        return self.neighbours.overrides

    def services(self) -> Sequence[str]:
        if self.neighbours.postconf_error:
            raise PostconfError(self.neighbours.postconf_error)
        return self.neighbours.services


async def diagnoses(
    tmp_path: Path, neighbours: Neighbours, text: str = "", files: Sequence[NamedFile] = ()
) -> dict[str, Diagnosis]:
    """By what they are about, without addresses."""
    found = await examined(tmp_path, neighbours, text, files)
    return {one.about.partition(" at ")[0]: one for one in found}


async def examined(
    tmp_path: Path, neighbours: Neighbours, text: str = "", files: Sequence[NamedFile] = ()
) -> list[Diagnosis]:
    head = f'state_directory = "{tmp_path}"\nlimits.message_size = {LARGE}\n'
    got = config.parse(head + (text or '[domains]\nlocal = ["example.org", "localhost"]'), "f")
    box = FakeBox(neighbours)
    asked = doctor.Neighbours(
        {address: cast(Any, Clamd(neighbours)) for address in got.clamav.socket},
        {address: cast(Any, Spamd(neighbours)) for address in got.spamassassin.address},
        cast(Any, Hop(neighbours)),
        FakePostconf(neighbours),
        cast(Any, box),
        PolicyDatabase(got.policies.database, timeout=1),
        AmavisDatabase(got.policies.amavis_database, timeout=1) if got.policies.amavis_database else None,
        files,
        {address: cast(Any, Rspamd(neighbours)) for address in got.rspamd.address},
    )
    found = await examine(got, asked)
    assert box.closed
    return found


async def test_where_all_is_well_nothing_is_complained_of(tmp_path: Path) -> None:
    found = await diagnoses(tmp_path, Neighbours())
    assert {one.state for one in found.values()} == {State.WELL}
    assert {one.advice for one in found.values()} == {""}
    assert set(found) == {
        "state_directory", "[quarantine] directory", "clamd", "spamd", "next hop", "reinjection port",
        "address mappings", "[domains] local", "opening containers", "clamd's limits", "the helpers' box",
        "policy database", "configuration files",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rspamd", "state", "what", "advice"),
    [
        ("reject", State.WELL, 'GTUBE gets the action "reject" and scores 15', ""),
        ("no action", State.ILL, 'GTUBE gets the action "no action"', "gtube_patterns"),
        (InspectorError("no answer"), State.ILL, "no answer", "start rspamd"),
    ],
)
async def test_rspamd(tmp_path: Path, rspamd: str | InspectorError, state: State, what: str, advice: str) -> None:
    text = 'rspamd.enabled = true\nrspamd.address = ["tcp:h:11333", "unix:/b"]'
    found = [one for one in await examined(tmp_path, Neighbours(rspamd=rspamd), text) if "Rspamd" in one.about]
    assert [one.about for one in found] == ["Rspamd at tcp:h:11333", "Rspamd at unix:/b"]
    for one in found:
        assert one.state is state
        assert what in one.found
        assert advice in one.advice


@pytest.mark.parametrize(
    ("neighbours", "about", "state", "what", "advice"),
    [
        (Neighbours(virus=""), "clamd", State.ILL, "ClamAV 1.0 does not find EICAR", "freshclam"),
        (
            Neighbours(version=failure(PermissionError())), "clamd", State.ILL, "the scanner failed",
            "let the filter's user open /run/clamav/clamd.ctl: add it to the socket's group",
        ),
        (
            Neighbours(version=failure(FileNotFoundError())), "clamd", State.ILL, "the scanner failed",
            "/run/clamav/clamd.ctl does not exist",
        ),
        (Neighbours(version=failure(TimeoutError())), "clamd", State.ILL, "the scanner failed", "clamd.conf"),
        (Neighbours(large_virus=""), "clamd's limits", State.ODD, '"OK" to a virus in 30000000', "clamd.conf.snippet"),
        (
            Neighbours(large_virus="Heuristics.Limits.Exceeded.MaxFileSize"), "clamd's limits", State.ODD,
            "will be unchecked: Heuristics.Limits.Exceeded.MaxFileSize", "clamd.conf.snippet",
        ),
        (
            Neighbours(large_virus=InspectorError("size limit exceeded")), "clamd's limits", State.ODD,
            "cannot be scanned: size limit exceeded", "clamd.conf.snippet",
        ),
        (Neighbours(large_virus=TimeoutError()), "clamd's limits", State.ODD, "longer than 8 s", "load"),
        (Neighbours(score=4.9), "spamd", State.ILL, "GTUBE scores only 4.9", "sa-update"),
        (Neighbours(score=failure(OSError())), "spamd", State.ILL, "the scanner failed", "start spamd"),
        (Neighbours(tests=(Test("GTUBE"),)), "spamd", State.ODD, "tests have no scores", "contentfilter.cf"),
        (Neighbours(tests=()), "spamd", State.ODD, "tests have no scores", "contentfilter.cf"),
        (Neighbours(keywords=NextHopError("connect: refused")), "next hop", State.ILL, "refused", "master.cf.example"),
        (Neighbours(keywords=KEYWORDS[1:]), "next hop", State.ODD, "XFORWARD", "smtpd_authorized_xforward_hosts"),
        (
            Neighbours(keywords=("XFORWARD", "8BITMIME")), "next hop", State.ODD, "does not offer DSN, SMTPUTF8",
            "smtpd_discard_ehlo_keywords",
        ),
        (
            Neighbours(parameters={"content_filter": "scan:x"}), "address mappings", State.ODD, "before and after",
            "receive_override_options = no_address_mappings",
        ),
        (Neighbours(parameters={}), "address mappings", State.ODD, "main.cf has no content_filter", "main.cf.snippet"),
        (
            Neighbours(parameters={"relay_domains": ".b.example, a.example /x hash:/y"}), "Postfix's domains",
            State.ODD, "not local here: .b.example, a.example", "add them to [domains] local",
        ),
        (Neighbours(measures=InspectorError("cannot start")), "the helpers' box", State.ILL, "cannot start", "as the"),
        *(
            (
                Neighbours(measures=(Measure("user", True, ""), Measure(name, False, "as it was"))),
                f"the helpers' box, {name}", State.ODD, "does not hold: as it was", advice,
            )
            for name, advice in (
                ("user", "a user of its own"), ("seccomp", "libseccomp2"), ("Landlock", "Linux 5.13"),
                ("network namespace", "user.max_user_namespaces"), ("resource limits", "[unpack] memory"),
                ("no new privileges", "Linux 3.5"),
            )
        ),
        (Neighbours(postconf_error="no postconf"), "Postfix", State.ODD, "no postconf", "--postfix-config"),
    ],
)  # fmt: skip
async def test_what_is_wrong_and_what_to_do(
    tmp_path: Path, neighbours: Neighbours, about: str, state: State, what: str, advice: str
) -> None:
    got = (await diagnoses(tmp_path, neighbours))[about]
    assert got.state is state
    assert what in got.found
    assert advice in got.advice


async def test_each_address_is_asked(tmp_path: Path) -> None:
    text = 'clamav.socket = ["unix:/a", "tcp:h:3310"]\nspamassassin.address = ["tcp:h:783", "unix:/b"]'
    found = [one.about for one in await examined(tmp_path, Neighbours(), text)]
    for about in (
        "clamd at unix:/a", "clamd's limits at unix:/a", "clamd at tcp:h:3310", "clamd's limits at tcp:h:3310",
        "spamd at tcp:h:783", "spamd at unix:/b",
    ):  # fmt: skip
        assert found.count(about) == 1


async def test_limits_of_a_clamd_that_is_ill_are_not_looked_at(tmp_path: Path) -> None:
    assert "clamd's limits" not in await diagnoses(tmp_path, Neighbours(virus=""))


async def test_what_is_switched_off_is_not_looked_at(tmp_path: Path) -> None:
    found = await diagnoses(
        tmp_path, Neighbours(virus="", score=0), "[clamav]\nenabled = false\n[spamassassin]\nenabled = false"
    )
    assert not {"clamd", "spamd"} & set(found)
    assert found["[domains] local"].state is State.ODD
    assert "nobody gets X-Spam fields" in found["[domains] local"].found


# --- the loop -----------------------------------------------------------------------------------------------------

WELL, ODD, ILL = State.WELL, State.ODD, State.ILL
SCAN = "scan:[localhost]:10025"


@pytest.mark.parametrize(
    ("address", "services", "options", "state", "what"),
    [
        ("127.0.0.1:10026", ["127.0.0.1:10026/inet"], {"127.0.0.1:10026/inet": ""}, WELL, "has no content_filter"),
        ("127.0.0.1:10026", ["localhost:10026/inet"], {"localhost:10026/inet": ""}, WELL, "has no content_filter"),
        ("[::1]:10026", ["10026/inet"], {"10026/inet": ""}, WELL, "10026/inet has no content_filter"),
        (
            "localhost:10026", ["127.0.0.1:10026/inet", "[::1]:10026/inet"],
            {"127.0.0.1:10026/inet": "", "[::1]:10026/inet": ""}, WELL, "127.0.0.1:10026/inet, [::1]:10026/inet has",
        ),
        ("127.0.0.1:10026", ["127.0.0.1:10026/inet"], {}, ILL, f"127.0.0.1:10026/inet is {SCAN}"),
        (
            "localhost:10026", ["127.0.0.1:10026/inet", "[::1]:10026/inet"], {"127.0.0.1:10026/inet": ""}, ILL,
            f"[::1]:10026/inet is {SCAN}",
        ),
        ("127.0.0.1:10026", ["10026/inet"], {"10026/inet": "other:x"}, ILL, "10026/inet is other:x"),
        (
            "127.0.0.1:10026", ["192.0.2.1:10026/inet", "127.0.0.1:10026/inet"], {"127.0.0.1:10026/inet": ""}, WELL,
            "127.0.0.1:10026/inet has no content_filter",
        ),
        ("127.0.0.1:10026", ["10026/unix", "127.0.0.1:10026/inet"], {"127.0.0.1:10026/inet": ""}, WELL, "has no"),
        ("127.0.0.1:25", ["smtp/inet"], {}, ILL, f"smtp/inet is {SCAN}"),
        ("unix:/spool/private/back", ["back/unix", "back/inet"], {"back/unix": ""}, WELL, "back/unix has no"),
        ("unix:/spool/private/back", ["back/unix"], {}, ILL, f"back/unix is {SCAN}"),
        ("unix:/spool/private/back", ["smtp/inet"], {}, ODD, "no service in master.cf listens on unix:/spool"),
        ("192.0.2.7:10026", ["127.0.0.1:10026/inet"], {}, ODD, "no service in master.cf listens on 192.0.2.7:10026"),
    ],
)  # fmt: skip
async def test_whether_mail_comes_back_to_us(
    tmp_path: Path, address: str, services: list[str], options: dict[str, str], state: State, what: str
) -> None:
    overrides = {f"{service}/content_filter": value for service, value in options.items()}
    neighbours = Neighbours(services=tuple(services), overrides=overrides)
    got = (await diagnoses(tmp_path, neighbours, f'[next_hop]\naddress = "{address}"'))["reinjection port"]
    assert got.state is state
    assert what in got.found
    assert ("mail will loop" in got.advice) is (state is ILL)


def test_a_real_postconf_is_understood(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(
        "compatibility_level = 3.6\nrelay_domains = a.example, $mydomain\nmydomain = b.example\n"
    )
    (tmp_path / "master.cf").write_text(
        "smtp inet n - n - - smtpd\n"
        "localhost:10026 inet n - n - - smtpd\n    -o content_filter=\nscan unix - - n - 10 lmtp\n"
    )
    postconf = PostconfCommand(tmp_path)
    assert postconf.main("relay_domains") == "a.example, b.example"
    assert list(postconf.services()) == ["smtp/inet", "localhost:10026/inet", "scan/unix"]
    assert postconf.overrides() == {"localhost:10026/inet/content_filter": ""}
    with pytest.raises(PostconfError):
        PostconfCommand(tmp_path / "none").services()


# --- directories --------------------------------------------------------------------------------------------------


async def test_directories_that_will_be_made_are_well(tmp_path: Path) -> None:
    found = await diagnoses(tmp_path / "new" / "state", Neighbours())
    for about in ("state_directory", "[quarantine] directory"):
        assert found[about].state is State.WELL
        assert found[about].found.endswith("will be made")


async def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_text("")
    got = (await diagnoses(tmp_path, Neighbours()))["[quarantine] directory"]
    assert (got.state, got.found) == (State.ILL, f"{tmp_path}/quarantine is not a directory")


async def test_a_user_who_may_not_look_is_told_so() -> None:
    with open_place() as place:
        (place / "state").mkdir()
        with locked_out(place / "state"):
            found = await diagnoses(place / "state", Neighbours())
    for about, problem in (("state_directory", "is not writable"), ("[quarantine] directory", "is hidden")):
        assert found[about].state is State.ILL
        assert problem in found[about].found
        assert "run doctor as the filter's user or root" in found[about].advice


def test_the_command_fails_if_something_is_ill(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        f'state_directory = "{tmp_path}"\n[next_hop]\naddress = "127.0.0.1:1"\n'
        "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
    )
    # A process of its own, for the command sets up the log of the process that it runs in.
    command = [sys.executable, "-m", "contentfilter", "doctor", "--json", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    found = {one["about"]: one for one in json.loads(done.stdout)}
    assert found["next hop at 127.0.0.1:1"]["state"] == "failed"
    assert found["state_directory"]["state"] == "ok"
    # A real helper was asked; where the kernel lacks something, it is named.
    assert any(about.startswith("the helpers' box") and one["state"] != "failed" for about, one in found.items())
