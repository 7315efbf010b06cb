"""The tables of what goes wrong, and the cells that they make: one message, one mix, one transport, one fault."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.fakes.next_hop import Close, Hang, Raw, Say, Step, Trickle
from tests.faults import scanners
from tests.faults.mail import MIX, MIXES, Mix
from tests.faults.sender import STAGES, Misdeed

ALL = os.environ.get("FAULTS") == "all"
"""Whether everything runs, or a sample."""

NORMAL = {
    "greeting": "220 fake.example.org ESMTP",
    "MAIL": "250 2.1.0 Ok",
    "XFORWARD": "250 2.0.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    "dot": "250 2.0.0 Ok: queued as FAKE",
    "RSET": "250 2.0.0 Ok",
}


def normal_answer(stage: str, keywords: Sequence[str]) -> Step:
    """What a next hop with these EHLO keywords says there when nothing is wrong."""
    if stage == "EHLO":
        return "\n".join(f"250 {word}" for word in ("fake.example.org", *keywords))
    return NORMAL.get(stage, "250 2.0.0 Ok")


GARBAGE = b"\x00\xfe\xff what is this\r\n"


@dataclass(frozen=True)
class HopFault:
    """What the next hop does instead of its normal answer.

    timed: it ends with our patience. taken: at the final dot, the next hop has the message, whatever it says; lost: and
    what it says does not tell.
    """

    name: str
    step: Step
    timed: bool = False
    taken: bool = False
    lost: bool = False


def _unsaid(answer: str) -> list[HopFault]:
    """Faults that leave open what the answer would have been; halves are of this one."""
    code = answer[:3]
    return [
        HopFault("disconnect", Close()),
        HopFault("reset", Close(reset=True)),
        HopFault("hang", Hang(), timed=True),
        HopFault("garbage", Raw(GARBAGE)),
        HopFault("impossible code", Say("199 what is this")),
        HopFault("half a line", Raw(answer[:10].encode()), timed=True),
        HopFault("half a line, disconnect", Raw(answer[:10].encode(), close=True)),
        HopFault(
            "half of several lines, disconnect",
            Raw(f"{answer[:4].replace(' ', '-')}{answer[4:]}\r\n{code}".encode(), close=True),
        ),
    ]


def hop_faults(stage: str) -> list[HopFault]:
    """Every fault at a stage. Steps are compared by identity, so each cell has its own."""
    normal = NORMAL.get(stage, "250 2.0.0 Ok")
    unsaid = _unsaid(normal)
    said = [
        HopFault("4xx", "451 4.3.0 not now"),
        HopFault("4xx, closes", Say("451 4.3.0 not now", close=True)),
        HopFault("5xx", "550 5.3.0 never"),
        HopFault("421", Say("421 4.3.2 closing", close=True)),
    ]
    if stage == "body":
        # In the middle of what we send, to which no answer is due; so it has to be the last word.
        return [
            *unsaid[:3],
            *(HopFault(one.name, Say(one.step, close=True)) for one in said if isinstance(one.step, str)),
            said[-1],
        ]
    faults = [*unsaid, *said, HopFault("slow", Trickle(normal))]
    if stage == "dot":
        # Who has begun to say 250 has taken it.
        faults = [*_unsaid("451 4.3.0 not now"), *faults[len(unsaid) :]]
        taken = [HopFault(f"{one.name}, taken", one.step, one.timed, taken=True, lost=True) for one in unsaid]
        taken += [
            HopFault("said and closed", Say(normal, close=True), taken=True),
            HopFault("said twice", Raw(f"{normal}\r\n{normal}\r\n".encode()), taken=True),
        ]
        return [*faults, *taken]
    if stage == "DATA":
        faults.append(HopFault("250 instead", "250 2.0.0 Ok"))
    return faults


@dataclass(frozen=True)
class Cell:
    """One combination. hop: stage, at which visit to it, and the fault; idle: what happens to the idle connection.

    hold: who keeps the filter waiting while the sender leaves; early: the retry comes before the filter goes on.
    """

    dimension: str
    lmtp: bool
    mix: Mix
    large: bool = False
    hop: tuple[str, int, HopFault] | None = None
    idle: str = ""
    misdeed: Misdeed | None = None
    hold: str = ""
    early: bool = False
    scanner: tuple[str, str] | None = None
    on_failure: str = ""
    warm: bool = False
    mail_count: int = field(default=1)

    @property
    def name(self) -> str:
        """All that tells it from others."""
        words = ["LMTP" if self.lmtp else "SMTP", self.mix.name, "large" if self.large else "small"]
        if self.hop is not None:
            words.append(f"next hop: {self.hop[2].name} at {self.hop[0]} {self.hop[1]}")
        words += [f"sender: {self.misdeed.kind} at {self.misdeed.stage}"] if self.misdeed else []
        words += [f"while {self.hold} holds", "retry at once" if self.early else "retry later"] if self.hold else []
        words += [f"{self.scanner[0]}: {self.scanner[1]}, on_failure {self.on_failure}"] if self.scanner else []
        words += [f"idle connection: {self.idle}"] if self.idle else []
        words += ["second message"] if self.warm and not self.idle else []
        return " | ".join(words)

    @property
    def timed(self) -> bool:
        """Whether it ends with the patience of the filter, which therefore should be short."""
        return (
            self.idle == "hang"
            or (self.hop is not None and self.hop[2].timed)
            or (self.misdeed is not None and self.misdeed.kind == "hang")
            or (self.scanner is not None and self.scanner[1] in scanners.TIMED)
        )


def _sizes(mix: Mix) -> Sequence[bool]:
    """Large messages with some mixes only: what is larger is one path more, for any mix the same."""
    return (False, True) if ALL or mix.name in ("one", "two groups", "pass, discard") else (False,)


def next_hop_cells(lmtp: bool, mix: Mix) -> Iterator[Cell]:
    """Every fault at every stage, at each visit that the mix makes to it, on a new connection and on a used one."""
    reports = 1 if mix.own_report and not lmtp else 0
    transactions = mix.groups + reports
    first_group = {"pair": 2}.get(mix.name, 1)
    visits = {
        "greeting": 1, "EHLO": 1, "XFORWARD": mix.groups, "MAIL": transactions,
        "RCPT": mix.groups + first_group - 1 + reports, "DATA": transactions, "body": transactions, "dot": transactions,
    }  # fmt: skip
    if not transactions:
        return
    for stage, count in visits.items():
        for visit in range(1, count + 1):
            for number, fault in enumerate(hop_faults(stage)):
                for large in _sizes(mix) if stage in ("DATA", "body", "dot") else (False,):
                    # A new step for each cell.
                    own = hop_faults(stage)[number]
                    yield Cell("next hop", lmtp, mix, large, hop=(stage, visit, own))
                if fault.name != "slow" and stage not in ("greeting", "EHLO") and (ALL or visit == 1):
                    own = hop_faults(stage)[number]
                    yield Cell("next hop", lmtp, mix, hop=(stage, visit, own), warm=True)
    if mix.refused or mix.name == "one":
        for number in range(len(hop_faults("RSET"))):
            yield Cell("next hop", lmtp, mix, hop=("RSET", 1, hop_faults("RSET")[number]))
    for idle in ("disconnect", "reset", "421", "garbage", "half a line", "hang", "stops listening for a while"):
        yield Cell("next hop", lmtp, mix, idle=idle, warm=True)


def client_cells(lmtp: bool, mix: Mix) -> Iterator[Cell]:
    """Every misdeed at every stage of the dialog, and after it."""
    for stage in STAGES:
        if stage == "RCPT 2" and len(mix.who) < 2:
            continue
        for kind in _misdeeds(stage):
            for large in _sizes(mix) if stage in ("body", "dot") else (False,):
                yield Cell("client", lmtp, mix, large, misdeed=Misdeed(stage, kind))
    for kind in ("disconnect", "reset"):
        yield Cell("client", lmtp, mix, misdeed=Misdeed("answer", kind))
        if lmtp and len(mix.who) > 1:
            yield Cell("client", lmtp, mix, misdeed=Misdeed("between answers", kind))
    # The next hop is asked nothing where nothing passes.
    for hold in ("clamd", "spamd", *(("MAIL", "RCPT", "DATA", "dot") if mix.groups else ())):
        for kind, early in (
            ("disconnect", False), ("disconnect", True), ("reset", False), ("reset", True), ("half close", False),
        ):  # fmt: skip
            for large in _sizes(mix):
                yield Cell("client", lmtp, mix, large, misdeed=Misdeed("work", kind), hold=hold, early=early)


def _misdeeds(stage: str) -> Sequence[str]:
    if stage == "connect":
        return ("disconnect", "reset", "hang")
    kinds = ("disconnect", "reset", "half, disconnect", "half, reset", "sent, reset", "hang", "slow")
    return (*kinds, "half close") if stage == "dot" else (*kinds, "garbage")


def scanner_cells(lmtp: bool, mix: Mix) -> Iterator[Cell]:
    """Every breakdown of each scanner, with both of what may be done about it."""
    for scanner in ("clamd", "spamd"):
        for breakdown in scanners.BREAKDOWNS:
            for on_failure in ("defer", "pass"):
                for large in _sizes(mix):
                    yield Cell(
                        "scanners", lmtp, mix, large, scanner=(scanner, breakdown), on_failure=on_failure
                    )  # fmt: skip


ONE_OF = 3


def cells(dimension: str, lmtp: bool, mix: Mix) -> list[Cell]:
    """Those that are run: all, or else one of three, with another offset for each mix and transport.

    So each fault meets both transports and a third of the mixes, and each mix a third of the faults at each stage.
    """
    every = list(MAKERS[dimension](lmtp, mix))
    return every if ALL else every[(MIXES.index(mix) + lmtp) % ONE_OF :: ONE_OF]


MAKERS = {"next hop": next_hop_cells, "client": client_cells, "scanners": scanner_cells}

__all__ = ["ALL", "MAKERS", "MIX", "MIXES", "NORMAL", "Cell", "HopFault", "cells", "normal_answer"]
