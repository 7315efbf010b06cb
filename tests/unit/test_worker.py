"""What stands in the configuration reaches the parts that are built from it."""

from __future__ import annotations

from pathlib import Path

from contentfilter import config, worker
from contentfilter.decision import OnFailure
from contentfilter.intake import CapacityLimits
from contentfilter.mime import Limits


def test_the_site() -> None:
    site = worker.site_for(
        config.parse(
            """
            hostname = "mx.example.org"
            [domains]
            local = ["example.org"]
            [clamav]
            on_failure = "pass"
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
    assert site.mime_limits == Limits(depth=1, parts=2, readings=3, header_bytes=4, fields=5, parameters=6, seconds=7.5)


def test_defaults_are_those_of_the_parser() -> None:
    assert worker.site_for(config.parse("", "empty")).mime_limits == Limits()


def test_inspectors_that_are_switched_off_are_not_built() -> None:
    off = config.parse("[clamav]\nenabled = false\n[spamassassin]\nenabled = false", "test")
    assert {one.name for one in worker.inspectors_for(off)} == {"banned", "header"}
    assert {one.name for one in worker.inspectors_for(config.parse("", "empty"))} == {
        "banned",
        "header",
        "clamd",
        "spamd",
    }


def test_the_way_in() -> None:
    text = '[listen]\nallow = ["192.0.2.0/24"]\nmax_recipients = 123\nmax_connections = 7\n[limits]\nmessage_size = 99'
    settings = worker.intake_settings(config.parse(text, "test"))
    assert [str(network) for network in settings.allow] == ["192.0.2.0/24"]
    assert (settings.max_recipients, settings.max_connections, settings.max_message_size) == (123, 7, 99)


def test_how_much_is_worked_on_at_a_time() -> None:
    text = "messages_in_work = 1\nbytes_in_work = 2\nmessages_in_all = 3\nbytes_in_all = 4\nmemory_held = 5\n"
    text += "message_size = 6\nspool_held = 6\nmail_wait = 7\nslot_wait = 8"
    limits = worker.capacity_limits(config.parse(f"[limits]\n{text}", "test"))
    assert limits == CapacityLimits(1, 2, 3, 4, 5, 6, 7.0, 8.0)


async def test_the_delimiter_is_the_sites(tmp_path: Path) -> None:
    text = '[domains]\nrecipient_delimiter = "-"\n[policy."bob@example.org"]\nkill_level = 1.5'
    policies = worker.policies_for(config.parse(f'state_directory = "{tmp_path}"\n{text}', "test"))
    assert (await policies.of("bob-lists@example.org")).policy.kill_level == 1.5
    assert (await policies.of("bob+lists@example.org")).policy.kill_level != 1.5


def test_history_is_below_the_state_directory_or_there_is_none() -> None:
    on = worker.history_for(config.parse('state_directory = "/srv/filter"', "test"))
    assert on is not None
    assert on._directory == Path("/srv/filter/history")
    assert worker.history_for(config.parse("[history]\nkeep_days = 0", "test")) is None
