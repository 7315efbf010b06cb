"""What stands in the configuration reaches the parts that are built from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from contentfilter import assembly, config
from contentfilter.errors import InspectorError, InspectorTimeoutError
from contentfilter.failure import OnFailure
from contentfilter.finding import Kind
from contentfilter.intake import CapacityLimits
from contentfilter.mime import Limits
from tests.fakes.scanner import never_answering, scripted_peer
from tests.fakes.subject import subject_of
from tests.policies import effective_of


def test_the_site() -> None:
    site = assembly.site_for(
        config.parse(
            """
            hostname = "mx.example.org"
            [domains]
            local = ["example.org"]
            [clamav]
            on_failure = "pass"
            failure_grace = 300.0
            [spamassassin]
            on_failure = "defer"
            [next_hop]
            data_timeout = 7.0
            [limits]
            inspect_timeout = 11.0
            max_hops = 12
            max_passes = 13
            mime_depth = 1
            mime_parts = 2
            mime_readings = 3
            mime_header_bytes = 4
            mime_fields = 5
            mime_parameters = 6
            mime_seconds = 7.5
            """,
            "test",
        )
    )
    assert (site.hostname, site.max_hops, site.max_passes) == ("mx.example.org", 12, 13)
    assert (site.inspect_timeout, site.send_timeout) == (11.0, 14.0)
    assert site.local.has("bob@example.org")
    assert not site.local.has("bob@elsewhere.example")
    assert site.on_failure == {"clamd": OnFailure.PASS, "spamd": OnFailure.DEFER}
    assert site.failure_grace == {"clamd": 300.0, "spamd": 0.0}
    assert site.mime_limits == Limits(depth=1, parts=2, readings=3, header_bytes=4, fields=5, parameters=6, seconds=7.5)


def test_defaults_are_those_of_the_parser() -> None:
    assert assembly.site_for(config.parse("", "empty")).mime_limits == Limits()


def test_inspectors_that_are_switched_off_are_not_built() -> None:
    off = config.parse("[clamav]\nenabled = false\n[spamassassin]\nenabled = false", "test")
    assert {one.name for one in assembly.inspectors_for(off)} == {"banned", "header"}
    assert {one.name for one in assembly.inspectors_for(config.parse("", "empty"))} == {
        "banned",
        "header",
        "clamd",
        "spamd",
    }


def test_rspamd_is_asked_where_it_is_switched_on_and_not_loaded_elsewhere() -> None:
    look = "import sys; from contentfilter import assembly, config"
    look += "; assembly.inspectors_for(config.parse(sys.argv[1], 'x'))"
    look += "; print({'h11', 'contentfilter.inspectors.rspamd'} & set(sys.modules) and 'loaded' or 'absent')"
    for text, wanted in (("", "absent"), ("rspamd.enabled = true", "loaded")):
        done = subprocess.run([sys.executable, "-c", look, text], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
    got = config.parse("[rspamd]\nenabled = true\n[spamassassin]\nenabled = false", "test")
    assert {one.name for one in assembly.inspectors_for(got)} == {"banned", "header", "clamd", "rspamd"}


async def test_what_the_configuration_says_of_rspamd_reaches_it(tmp_path: Path) -> None:
    answers = iter([(5.0, "no action"), (6.0, "add header"), (1.0, "soft reject"), (1.0, "rewrite subject")])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        score, action = next(answers)
        body = json.dumps({"score": score, "action": action}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        await writer.drain()
        writer.write_eof()

    async with scripted_peer(tmp_path / "rspamd.sock", answer) as address:
        text = f'''
            [rspamd]
            enabled = true
            address = "{address}"
            on_failure = "tag"
            failure_grace = 60.0
            scale = 2
            combine = "sum"
            actions = {{ add_header = 20, soft_reject = "ignore", rewrite_subject = "defer" }}
            '''
        got = config.parse(text, "test")
        inspector = assembly.rspamd_for(got)
        found = [await inspector.inspect(subject_of(b"Subject: hi\r\n\r\nhello\r\n")) for _ in range(4)]
    assert [[one.kind for one in findings] for findings in found] == [[Kind.SPAM]] * 3 + [[Kind.SPAM, Kind.RULE]]
    assert [findings[0].score for findings in found] == [10.0, 20.0, 2.0, 2.0]
    assert all(findings[0].adds for findings in found)
    site = assembly.site_for(got)
    assert (site.on_failure["rspamd"], site.failure_grace["rspamd"]) == (OnFailure.TAG, 60.0)


@pytest.mark.parametrize("table", ["[clamav]\nsocket", "[spamassassin]\naddress", "[rspamd]\naddress"])
async def test_a_scanner_that_hangs_is_known_to_before_the_limit_for_all_strikes(tmp_path: Path, table: str) -> None:
    async with scripted_peer(tmp_path / "scanner.sock", never_answering) as address:
        text = f'{table} = "{address}"\nfailures_to_rest = 1\n[limits]\ninspect_timeout = 0.5'
        got = config.parse(text, "test")
        makers = {"clamav": assembly.clamd_for, "spamassassin": assembly.spamd_for, "rspamd": assembly.rspamd_for}
        inspector = next(make for name, make in makers.items() if f"[{name}]" in table)(got)
        async with asyncio.timeout(got.limits.inspect_timeout):
            with pytest.raises(InspectorTimeoutError):
                await inspector.inspect(subject_of(b"Subject: hi\r\n\r\nhello\r\n"))
        with pytest.raises(InspectorError, match="rests after a failure"):
            await inspector.inspect(subject_of(b"Subject: hi\r\n\r\nhello\r\n"))


def test_the_way_in() -> None:
    text = '[listen]\nallow = ["192.0.2.0/24"]\nmax_recipients = 123\nmax_connections = 7\n[limits]\nmessage_size = 99'
    settings = assembly.intake_settings(config.parse(text, "test"))
    assert [str(network) for network in settings.allow] == ["192.0.2.0/24"]
    assert (settings.max_recipients, settings.max_connections, settings.max_message_size) == (123, 7, 99)


def test_how_much_is_worked_on_at_a_time() -> None:
    text = "messages_in_work = 1\nbytes_in_work = 2\nmessages_in_all = 3\nbytes_in_all = 4\nmemory_held = 5\n"
    text += "message_size = 6\nspool_held = 6\nmail_wait = 7\nslot_wait = 8"
    limits = assembly.capacity_limits(config.parse(f"[limits]\n{text}", "test"))
    assert limits == CapacityLimits(1, 2, 3, 4, 5, 6, 7.0, 8.0)


async def test_the_delimiter_is_the_sites(tmp_path: Path) -> None:
    text = '[domains]\nrecipient_delimiter = "-"\n[policy."bob@example.org"]\nkill_level = 1.5'
    policies = assembly.policies_for(config.parse(f'state_directory = "{tmp_path}"\n{text}', "test"))
    assert (await effective_of(policies, "bob-lists@example.org")).policy.kill_level == 1.5
    assert (await effective_of(policies, "bob+lists@example.org")).policy.kill_level != 1.5


def test_history_is_below_the_state_directory_or_there_is_none() -> None:
    on = assembly.history_for(config.parse('state_directory = "/srv/filter"', "test"))
    assert on is not None
    assert on._directory == Path("/srv/filter/history")
    assert assembly.history_for(config.parse("[history]\nkeep_days = 0", "test")) is None
