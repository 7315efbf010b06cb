from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import QuarantineError
from contentfilter.mail_data import Content
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.reply import Reply
from contentfilter.routes import Routes
from contentfilter.verdict import Action
from quarantine.errors import ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.index import Query
from quarantine.item import Item
from quarantine.record import Record, State
from quarantine.release import Manner, release
from quarantine.store import Quarantine
from quarantine.wrapping import wrap
from tests.fakes.next_hop import Close, FakeNextHop, Hold
from tests.unit.quarantine_items import NOON, RAW, files, keep, make, open_quarantine, withheld

PLAIN = Manner("filter.example.org")


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


class Taker:
    """A way out that keeps what it is given and answers as it is told, at first 250 to everybody."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.sent: list[tuple[Envelope, tuple[str, ...], bytes]] = []

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
    ) -> tuple[Reply, ...]:
        whole = b"".join(bytes(piece) for piece in content())
        assert len(whole) == size
        self.sent.append((envelope, tuple(one.address for one in recipients), whole))
        return self.replies or (Reply(250, "2.0.0", "Ok"),) * len(recipients)


def states(quarantine: Quarantine, record: Record) -> list[State]:
    return [one.state for one in quarantine.read(record.id).withheld]


def three(quarantine: Quarantine) -> Record:
    """Withheld from two; a third has it already, and a fourth got it at once."""
    return keep(
        quarantine,
        to=(
            withheld("a@example.org"),
            withheld("b@example.org", action=Action.REJECT),
            withheld("c@example.org", state=State.RELEASED),
            withheld("d@example.org", state=State.DELIVERED, action=Action.PASS),
        ),
    )


async def through(hop: FakeNextHop, quarantine: Quarantine, record: Record, manner: Manner = PLAIN) -> list[int]:
    """Release over SMTP; the codes of the replies."""
    hop_settings = NextHopSettings(hop.address, "filter.example.org")
    way = Routes(NextHop(hop_settings), lambda address: NextHop(replace(hop_settings, address=address)))
    try:
        outcome = await release(quarantine, way, record.id, manner)
    finally:
        await way.close()
    return [reply.code for _, reply in outcome.sent]


async def test_the_next_hop_gets_the_original_in_its_original_envelope(quarantine: Quarantine) -> None:
    record = three(quarantine)
    async with FakeNextHop() as hop:
        assert await through(hop, quarantine, record) == [250, 250]
    (got,) = hop.delivered
    mark, _, rest = got.content.partition(b"\r\n")
    assert rest == RAW
    assert mark.startswith(b"X-Quarantine-Release: %s; " % record.id.encode())
    assert got.mail_from == "eve@example.net"
    assert got.rcpt_tos == ["a@example.org", "b@example.org"]
    assert {"BODY=8BITMIME", "RET=HDRS", "ENVID=QQ+2B1"} <= set(got.mail_parameters)
    assert got.rcpt_parameters[0] == ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;a@example.org"]
    assert got.xforward["ADDR"] == "192.0.2.1"
    assert states(quarantine, record) == [State.RELEASED] * 3 + [State.DELIVERED]
    assert quarantine.find(Query(state=State.RELEASED))[0].id == record.id


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.binary(max_size=2000))
def test_whatever_the_bytes_only_one_line_is_put_before_them(quarantine: Quarantine, raw: bytes) -> None:
    record, way = keep(quarantine, raw), Taker()
    asyncio.run(release(quarantine, way, record.id, PLAIN))
    assert way.sent[0][2].partition(b"\r\n")[2] == raw


async def test_who_was_not_reached_keeps_waiting(quarantine: Quarantine) -> None:
    record = three(quarantine)
    async with FakeNextHop({"RCPT:<b@example.org>": ["450 4.2.0 later", "250 2.1.5 Ok"]}) as hop:
        assert await through(hop, quarantine, record) == [250, 450]
        assert states(quarantine, record)[:2] == [State.RELEASED, State.PENDING]
        assert quarantine.find(Query())[0].state is State.PENDING
        assert await through(hop, quarantine, record) == [250]
    assert [one.rcpt_tos for one in hop.delivered] == [["a@example.org"], ["b@example.org"]]
    assert states(quarantine, record)[:2] == [State.RELEASED, State.RELEASED]


async def test_each_is_reached_by_the_next_hop_of_his_own(quarantine: Quarantine) -> None:
    async with FakeNextHop() as usual, FakeNextHop({"RCPT:<c@example.org>": "450 4.2.0 later"}) as own:
        people = (
            withheld("a@example.org"),
            replace(withheld("b@example.org"), next_hop=own.address),
            replace(withheld("c@example.org"), next_hop=own.address),
            withheld("d@example.org"),
        )
        record = keep(quarantine, to=people)
        assert await through(usual, quarantine, record) == [250, 250, 450, 250]
    assert [one.rcpt_tos for one in usual.delivered] == [["a@example.org", "d@example.org"]]
    assert [one.rcpt_tos for one in own.delivered] == [["b@example.org"]]
    assert states(quarantine, record) == [State.RELEASED, State.RELEASED, State.PENDING, State.RELEASED]


async def test_one_next_hop_that_breaks_off_leaves_the_marks_of_another(quarantine: Quarantine) -> None:
    async with FakeNextHop() as usual, FakeNextHop({"DATA": Close()}) as own:
        people = (withheld("a@example.org"), replace(withheld("b@example.org"), next_hop=own.address))
        record = keep(quarantine, to=people)
        first, second = await through(usual, quarantine, record)
    assert (first, second // 100) == (250, 4)
    assert states(quarantine, record) == [State.RELEASED, State.PENDING]


@pytest.mark.parametrize("stage", ["greeting", "MAIL", "DATA", "dot"])
async def test_a_next_hop_that_breaks_off_releases_nobody(quarantine: Quarantine, stage: str) -> None:
    record = three(quarantine)
    before = quarantine.read(record.id)
    async with FakeNextHop({stage: Close()}) as hop:
        assert {code // 100 for code in await through(hop, quarantine, record)} == {4}
    assert quarantine.read(record.id) == before


async def test_a_second_release_sends_nothing(quarantine: Quarantine) -> None:
    record, way = three(quarantine), Taker()
    await release(quarantine, way, record.id, PLAIN)
    outcome = await release(quarantine, way, record.id, PLAIN)
    assert len(way.sent) == 1
    assert outcome.sent == ()
    assert outcome.already == ("a@example.org", "b@example.org", "c@example.org", "d@example.org")


async def test_again_sends_to_all_whom_the_item_names(quarantine: Quarantine) -> None:
    record, way = three(quarantine), Taker()
    await release(quarantine, way, record.id, Manner("filter.example.org", again=True))
    assert way.sent[0][1] == ("a@example.org", "b@example.org", "c@example.org", "d@example.org")


async def test_two_releases_at_once_send_once(quarantine: Quarantine, tmp_path: Path) -> None:
    record = three(quarantine)
    hold = Hold("250 2.0.0 Ok")
    async with FakeNextHop({"dot": hold}) as hop:
        first = asyncio.create_task(through(hop, quarantine, record))
        await asyncio.wait_for(hold.reached.wait(), 10)
        other = open_quarantine(tmp_path)
        with pytest.raises(ItemBusyError):
            await through(hop, other, record)
        with pytest.raises(ItemBusyError):
            other.delete(record.id)
        other.close()
        hold.go.set()
        assert await first == [250, 250]
    assert len(hop.transactions) == 1


async def test_a_release_that_is_cut_off_leaves_the_item_free_and_pending(quarantine: Quarantine) -> None:
    record = three(quarantine)
    hold = Hold("250 2.0.0 Ok")
    async with FakeNextHop({"dot": [hold]}) as hop:
        first = asyncio.create_task(through(hop, quarantine, record))
        await asyncio.wait_for(hold.reached.wait(), 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert states(quarantine, record)[:2] == [State.PENDING, State.PENDING]
        assert await through(hop, quarantine, record) == [250, 250]


async def test_what_could_not_be_marked_is_not_sent(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each release would send it once more."""
    record = three(quarantine)

    def fail(*_: object) -> None:
        raise QuarantineError("disk full")

    monkeypatch.setattr(Quarantine, "update", fail)
    way = Taker()
    with pytest.raises(QuarantineError, match=r"^disk full$"):
        await release(quarantine, way, record.id, PLAIN)
    assert way.sent == []


async def test_sent_but_not_marked_says_so(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    record = three(quarantine)

    update = Quarantine.update

    def fail(opened: Quarantine, item: Item, new: Record) -> None:
        if new != record:
            raise QuarantineError("disk full")
        update(opened, item, new)

    monkeypatch.setattr(Quarantine, "update", fail)
    with pytest.raises(QuarantineError, match=r"was sent to <a@example.org>, <b@example.org>.*disk full"):
        await release(quarantine, Taker(), record.id, PLAIN)


async def test_to_another_address_marks_nobody_and_asks_no_reports_for_others(quarantine: Quarantine) -> None:
    record, way = three(quarantine), Taker()
    outcome = await release(quarantine, way, record.id, Manner("filter.example.org", to="me@example.org"))
    (envelope, recipients, content) = way.sent[0]
    assert recipients == ("me@example.org",)
    assert (envelope.mail_from, envelope.ret, envelope.envid) == ("eve@example.net", None, None)
    assert content.endswith(RAW)
    assert [address for address, _ in outcome.sent] == ["me@example.org"]
    assert quarantine.read(record.id) == record


async def test_as_attachment_the_original_is_in_there_byte_for_byte(quarantine: Quarantine) -> None:
    record = keep(quarantine, subject="Grüße\r\nBcc: x@example.com\x1b[2J")
    async with FakeNextHop() as hop:
        assert await through(hop, quarantine, record, Manner("filter.example.org", as_attachment=True)) == [250]
    (got,) = hop.delivered
    assert RAW in got.content
    assert got.mail_from == "postmaster@filter.example.org"
    assert "BODY=8BITMIME" in got.mail_parameters
    parsed = email.message_from_bytes(got.content, policy=email.policy.SMTP)
    assert parsed["From"] == "postmaster@filter.example.org"
    assert parsed["To"] == "bob@example.org"
    assert parsed["Bcc"] is None
    assert parsed["Subject"] == r"Released from quarantine: Grüße\r\nBcc: x@example.com\x1b[2J"
    assert parsed["X-Quarantine-Release"].startswith(record.id)
    note, attached = parsed.iter_parts()
    assert record.id in note.get_content()
    assert "spam: 12.3" in note.get_content()
    assert attached.get_content_type() == "message/rfc822"
    assert attached.get_content()["Subject"] == "cheap pills"
    assert states(quarantine, record) == [State.RELEASED]


TEXT = st.text(st.characters(codec=None), max_size=300)


@settings(deadline=None)
@given(subject=TEXT, address=TEXT, sender=TEXT, reason=TEXT, raw=st.binary(max_size=200))
def test_nothing_in_a_note_breaks_out_of_its_place(
    subject: str, address: str, sender: str, reason: str, raw: bytes
) -> None:
    to = (replace(withheld(address), reasons=(reason,)),)
    record, message = make(raw, subject=subject, mail_from=sender, to=to)
    wrapping = wrap(record, message, (to[0].recipient,), "filter.example.org", NOON)
    assert wrapping.head.isascii()
    assert re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", wrapping.head) is None
    parsed = email.message_from_bytes(wrapping.head + raw + wrapping.tail)
    assert len(parsed.items()) == 10
    kinds = [part.get_content_type() for part in parsed.walk()][:3]
    assert kinds == ["multipart/mixed", "text/plain", "message/rfc822"]


async def test_several_recipients_of_a_note_do_not_see_each_other(quarantine: Quarantine) -> None:
    record, way = three(quarantine), Taker()
    await release(quarantine, way, record.id, Manner("filter.example.org", as_attachment=True))
    assert b"a@example.org" not in way.sent[0][2]


async def test_a_damaged_message_is_not_released(quarantine: Quarantine, tmp_path: Path) -> None:
    record, way = three(quarantine), Taker()
    path = tmp_path / "quarantine" / "2026-11-21" / f"{record.id}.eml.zst"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ItemDamagedError):
        await release(quarantine, way, record.id, PLAIN)
    assert way.sent == []
    assert len(files(tmp_path)) == 2


async def test_an_unknown_item_is_an_error(quarantine: Quarantine) -> None:
    with pytest.raises(UnknownIdError):
        await release(quarantine, Taker(), "a" * 17, PLAIN)
