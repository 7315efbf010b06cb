"""Postfix -> contentfilter -> Postfix, all of it real: clamd, spamd, both transports of master.cf.example."""

from __future__ import annotations

import base64
import json
import re
import smtplib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from contentfilter.inspectors.clamd import EICAR
from contentfilter.inspectors.spamd import GTUBE
from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import free_port
from demo.neighbours.filter import Filter
from demo.neighbours.postfix import Postfix, Transport
from demo.neighbours.spamd import Spamd
from tests.house import BOB, CAROL, DAVE, House, built, text, zipped


@pytest.fixture(params=list(Transport), ids=lambda transport: transport.value)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen = request.param
    assert isinstance(chosen, Transport)
    return chosen


@pytest.fixture
def house(
    start_postfix: Callable[..., Postfix], clamd: Clamd, spamd: Spamd, open_directory: Path, transport: Transport
) -> Iterator[House]:
    with built(start_postfix, clamd.address, spamd.address, open_directory, transport) as it:
        yield it


def test_clean_mail_arrives_marked_and_the_second_smtpd_knows_the_client(house: House) -> None:
    house.send(text("all is well"), BOB)
    got = house.receive(BOB)
    assert got.header["X-Virus-Scanned"] == "contentfilter at filter.example.org"
    assert got.header["X-Spam-Flag"] == "NO"
    status = " ".join(got.header["X-Spam-Status"].split())
    assert re.fullmatch(r"No, score=-?[\d.]+ tagged_above=-9999 required=6.2 tests=\[.*=.*\] autolearn=\w+", status)
    ours = next(value for value in got.header.get_all("Received") if "(contentfilter)" in value)
    assert re.match(
        r"from mx\.example\.org \(\[127\.0\.0\.1\]\)\s+by filter\.example\.org \(contentfilter\) with", ours
    )
    (second,) = house.postfix.wait_for_log(r"orig_client=")
    assert "orig_client=relay.example.net[192.0.2.7]" in second
    (line,) = [line for line in house.filter.log_lines() if "Passed CLEAN" in line]
    queue_id, queued_as = re.search(r"Queue-ID: (\w+)", line), re.search(r"queued_as: (\w+)", line)
    assert queue_id
    assert queued_as
    assert f"orig_queue_id={queue_id[1]}" in second
    assert f" {queued_as[1]}: " in second
    assert "[192.0.2.7] <alice@example.net> -> <bob@example.org>" in line


def test_a_dkim_signature_survives(house: House) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    raw = (
        b"From: alice@example.net\r\nTo: bob@example.org\r\nSubject: signed\r\nDate: Mon, 1 Jan 2024 12:00:00 +0000\r\n"
        b"Message-ID: <signed@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n..dot\r\n" + b"x" * 3000 + b"\r\nFrom here\r\n \t\r\n\r\n"
    )
    # Strict about every byte: "simple" for header and body.
    signature = dkim.sign(raw, b"s", b"example.net", private, canonicalize=(b"simple", b"simple"))
    house.send(signature + raw, BOB, options=("BODY=8BITMIME",))
    got = house.receive(BOB).content.replace(b"\n", b"\r\n")
    assert b"X-Spam-Status: " in got
    assert dkim.verify(got, dnsfunc=lambda name, timeout=5: b"v=DKIM1; k=rsa; p=" + public)
    assert not dkim.verify(got.replace(b"From here", b"From  here"), dnsfunc=lambda *_, **__: b"v=DKIM1; p=" + public)


def test_dsn_parameters_arrive(house: House) -> None:
    with smtplib.SMTP("127.0.0.1", house.postfix.smtp_port) as client:
        client.ehlo("laptop.example.net")
        message = text("with receipt").as_bytes()
        client.sendmail(
            CAROL, [BOB], message, ["RET=HDRS", "ENVID=QQ+2B314159"],
            ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Robert+2BBob@Example.org"],
        )  # fmt: skip
    report = house.receive(CAROL)
    assert report.header.get_content_type() == "multipart/report"
    assert b"Original-Envelope-Id: QQ+314159" in report.raw
    assert b"Original-Recipient: rfc822;Robert+Bob@Example.org" in report.raw
    assert b"Action: delivered" in report.raw
    assert b"Hello." not in report.raw  # RET=HDRS


def test_a_virus_in_a_zip_and_a_program_are_kept_and_one_is_released(house: House) -> None:
    virus = text("virus in a zip")
    virus.add_attachment(zipped("eicar.com", EICAR), maintype="application", subtype="zip", filename="report.zip")
    program = text("a program")
    program.add_attachment(b"MZ" + bytes(200), maintype="application", subtype="octet-stream", filename="Setup.EXE")
    house.send(virus, BOB, CAROL)
    house.send(program, BOB)
    house.postfix.wait_for_log("Ok, quarantined", 3 if "lmtp" in str(house.postfix.log_lines()) else 2)
    house.postfix.wait_until_idle()
    assert not house.postfix.mail()
    kept = {item["subject"]: item for item in house.filter.quarantined()}
    assert (kept["virus in a zip"]["category"], kept["a program"]["category"]) == ("virus", "banned")
    assert kept["virus in a zip"]["rcpt_tos"] == [BOB, CAROL]

    done = house.filter.command("quarantine", "release", kept["a program"]["id"])
    assert (done.returncode, done.stderr) == (0, "")
    got = house.receive(BOB)
    original = program.as_bytes(policy=program.policy.clone(linesep="\r\n")).replace(b"\r\n", b"\n")
    assert got.raw.endswith(original[original.index(b"From: Alice") :])
    # Doing it again sends nothing.
    assert house.filter.command("quarantine", "release", kept["a program"]["id"]).returncode == 0
    house.postfix.wait_until_idle()
    assert len(house.postfix.mail()) == 1


def test_each_recipient_has_a_threshold_of_its_own(house: House, transport: Transport) -> None:
    """Bob's spam is kept, Carol gets hers with a tag, Dave's is rejected and Alice learns of him, and of him only."""
    spam = text("buy now", GTUBE.decode() + "\n")
    house.send(spam, BOB, CAROL, DAVE)
    got = house.receive(CAROL)
    assert got.header["Subject"] == "***SPAM*** buy now"
    assert got.header["X-Spam-Flag"] == "YES"
    assert got.header["X-Spam-Level"] == "*" * 64
    assert "GTUBE=1000" in got.header["X-Spam-Status"]
    house.postfix.wait_until_idle()
    assert {mail.recipient for mail in house.postfix.mail()} == {CAROL}
    assert house.quarantined("buy now") == [BOB]
    if transport is Transport.LMTP:
        (bounced,) = house.postfix.wait_for_log(r"to=<dave@example.org>.*status=bounced")
        assert "554 5.7.0 Refused: the message looks like spam" in bounced
    else:
        (line,) = [line for line in house.filter.log_lines() if "reported to <alice@example.net>" in line]
        assert line.endswith("as failed: <dave@example.org>")


def test_an_internationalized_address_passes(house: House) -> None:
    house.send(text("umlaut"), "jürgen@example.org", options=("SMTPUTF8",))
    assert house.receive("jürgen@example.org").header["X-Virus-Scanned"]


def test_mail_waits_for_a_clamd_that_was_killed(
    start_postfix: Callable[..., Postfix], spamd: Spamd, open_directory: Path, transport: Transport
) -> None:
    place = Path(tempfile.mkdtemp(dir=open_directory))
    place.chmod(0o755)
    with Clamd(place) as scanner:
        address = scanner.address
    with built(start_postfix, address, spamd.address, open_directory, transport) as house:
        house.send(text("patience"), BOB)
        (deferred,) = house.postfix.wait_for_log(r"to=<bob@example.org>.*status=deferred")[:1]
        assert "451 4.3.5 Content could not be inspected now, try again later" in deferred
        assert not house.postfix.mail()
        with Clamd(place) as scanner:
            assert scanner.address == address
            house.postfix.flush()
            got = house.receive(BOB)
        assert got.header["X-Virus-Scanned"]
        assert len(house.postfix.mail()) == 1


def doctor(house: House, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    postfix = str(house.postfix.directory / "etc")
    done = house.filter.command("contentfilter", "doctor", "--json", "--postfix-config", postfix, *options)
    assert done.stderr == ""
    return done.returncode, {one["about"].split(" at ")[0]: one for one in json.loads(done.stdout)}


@pytest.mark.parametrize("transport", [Transport.LMTP], indirect=True, ids=["lmtp"])
def test_the_doctor(house: House) -> None:
    status, found = doctor(house)
    assert [one for one in found.values() if one["state"] != "ok"] == []
    assert status == 0
    assert {"clamd", "spamd", "next hop", "reinjection port", "address mappings"} < set(found)

    # The classic mistakes.
    postconf = ["postconf", "-c", str(house.postfix.directory / "etc")]
    service = f"localhost:{house.postfix.reinject_port}/inet"
    subprocess.run([*postconf, "-P", f"{service}/content_filter=scan:[localhost]:1"], check=True)
    subprocess.run([*postconf, "-e", "virtual_mailbox_domains=example.org, other.example"], check=True)
    subprocess.run([*postconf, "-e", "receive_override_options="], check=True)
    status, found = doctor(house)
    assert status == 1
    assert found["reinjection port"]["state"] == "failed"
    assert "will loop" in found["reinjection port"]["advice"]
    assert "other.example" in found["Postfix's domains"]["found"]
    assert found["address mappings"]["state"] == "warning"

    house.filter.configure(
        {"clamav": {"socket": "unix:/nowhere/clamd"}, "spamassassin": {"address": f"tcp:127.0.0.1:{free_port()}"}}
    )
    status, found = doctor(house)
    assert (status, found["clamd"]["state"], found["spamd"]["state"]) == (1, "failed", "failed")
    assert "/nowhere/clamd does not exist" in found["clamd"]["advice"]


def test_check_tells_what_would_happen_and_does_nothing(clamd: Clamd, spamd: Spamd, tmp_path: Path) -> None:
    service = Filter(tmp_path, next_hop_port=free_port())
    service.configure(
        {
            "clamav": {"socket": clamd.address},
            "spamassassin": {"address": spamd.address},
            "policy": {CAROL: {"banned_action": "pass", "virus_action": "pass"}},
        }
    )
    message = text("\x1b[2J\u202enot what it seems")
    message.add_attachment(EICAR, maintype="application", subtype="octet-stream", filename="a\u202efdp.exe")
    file = tmp_path / "message.eml"
    file.write_bytes(message.as_bytes())  # with bare LF, as files on disk are
    arguments = ("check", str(file), "--mail-from", "a@y.example", "--rcpt", BOB, "--rcpt", CAROL)

    shown = service.command("contentfilter", *arguments)
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
    assert "Eicar" in shown.stdout
    assert re.search(r"bob@example\.org +virus +discard +yes +virus: ", shown.stdout)
    assert re.search(r"carol@example\.org +virus +pass ", shown.stdout)

    values = json.loads(service.command("contentfilter", *arguments, "--json").stdout)
    assert [part["type"] for part in values["parts"]] == ["multipart/mixed", "text/plain", "application/octet-stream"]
    assert {finding["kind"] for finding in values["findings"]} >= {"virus", "banned", "spam"}
    assert [(one["category"], one["action"]) for one in values["recipients"]] == [
        ("virus", "discard"),
        ("virus", "pass"),
    ]
    assert not list(tmp_path.glob("state/quarantine/*"))

    missing = service.command("contentfilter", "check", str(tmp_path / "none.eml"))
    assert missing.returncode == 66
    assert missing.stderr == f"contentfilter: {tmp_path}/none.eml: cannot be read: No such file or directory\n"
