"""How a message is judged: the steps of the journey up to the verdicts, each with its costs and its failures.

:mod:`contentfilter.pipeline` says in which order they come. Nothing here sends, stores or changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from contentfilter import reply
from contentfilter.case import Case
from contentfilter.decision import decide
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope
from contentfilter.errors import FilterError
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.fields import hops, own_marks
from contentfilter.finding import Finding, Kind
from contentfilter.grounds import is_local, wants
from contentfilter.inquiry import Askable, Inquiry, Terms
from contentfilter.inspectors import Inspector, Subject
from contentfilter.large_work import in_thread
from contentfilter.ledger import Known
from contentfilter.message import Message
from contentfilter.mime import Limits, Tree, parse
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action, Category, Verdict

PARSE_IN_THREAD = 262_144
"""Bytes from which a message is taken apart in a thread: about the size where it costs the loop a millisecond."""

DECIDE_IN_THREAD = 1000
"""Findings times policies from which verdicts are made in a thread; two milliseconds."""

POISON = "poison"
"""Who reports a message that is set apart because it did harm again and again."""


@dataclass(frozen=True, slots=True)
class Site:
    """Who and what we are.

    inspect_timeout, send_timeout: seconds for all inspectors, and for all groups; on_failure: by inspector;
    recipient_delimiter: Postfix's, "" for none; poison_after: harms after which a message is set apart, 0 for never;
    failure_grace: seconds by inspector, see :func:`in_force`.
    """

    hostname: str
    local: LocalDomains
    inspect_timeout: float
    send_timeout: float
    max_hops: int
    max_passes: int
    mime_limits: Limits
    on_failure: Mapping[str, OnFailure]
    recipient_delimiter: str = "+"
    poison_after: int = 3
    failure_grace: Mapping[str, float] = field(default_factory=dict)


class Judging:
    """The steps, for messages at this site."""

    def __init__(self, site: Site, inspectors: Sequence[Inspector]) -> None:
        self._site = site
        self._askable = tuple(Askable.of(one) for one in inspectors)
        self._terms = Terms(site.inspect_timeout, site.on_failure, site.failure_grace)

    async def take_apart(self, message: Message) -> Tree:
        """Its parts, in every reading."""
        if len(message) < PARSE_IN_THREAD:
            return parse(message.buffer, self._site.mime_limits)
        tree = await in_thread(parse, message.buffer, self._site.mime_limits)
        message.rest()
        return tree

    def check_loop(self, tree: Tree) -> None:
        """Raises FilterError for a message that goes in circles."""
        passes = own_marks(tree.header, self._site.hostname)
        if passes >= self._site.max_passes:
            problem = f"passed through here {passes} times; is content_filter empty on the reinjection port?"
            raise FilterError(f"mail loop: {problem}", reply.MAIL_LOOP)
        if hops(tree.header) > self._site.max_hops:
            raise FilterError(f"mail loop: more than {self._site.max_hops} hops", reply.MAIL_LOOP)

    async def decide(
        self, envelope: Envelope, effective: Sequence[Effective], evidence: Evidence
    ) -> tuple[Verdict, ...]:
        """A verdict for each recipient; those with one policy share one."""
        at_home = [self._site.local.has(recipient.address) for recipient in envelope.recipients]
        asked = {(id(one), local): (one, local) for one, local in zip(effective, at_home, strict=True)}

        def decided() -> dict[tuple[int, bool], Verdict]:
            return {key: decide(evidence, one, local=local) for key, (one, local) in asked.items()}

        much = len(asked) * len(evidence.findings) >= DECIDE_IN_THREAD
        verdicts = await in_thread(decided) if much else decided()
        return tuple(verdicts[id(one), local] for one, local in zip(effective, at_home, strict=True))

    def inquiry(self, subject: Subject, policies: Sequence[Policy]) -> Inquiry:
        """Ask everybody whom somebody wants asked."""
        distinct = {id(policy): policy for policy in policies}.values()
        asked = [one for one in self._askable if any(wants(policy, one.inspector.name) for policy in distinct)]
        return Inquiry(self._terms, asked, subject)

    def isolated(
        self, mail_id: str, envelope: Envelope, message: Message, effective: Sequence[Effective], known: Known
    ) -> Case:
        """A case of which nobody looked at the message, because that did harm: withheld from everybody, and kept."""
        why = f"the filter failed {known.strikes} times over this message, at last by: {known.harm}"
        evidence = Evidence((Finding(Kind.UNCHECKED, POISON, why),), len(message))
        verdict = Verdict(
            Category.UNCHECKED, Action.DISCARD, quarantine=True, reply=reply.QUARANTINED, reasons=(f"poison: {why}",)
        )
        at_home = [
            is_local(one.policy, by_domain=self._site.local.has(recipient.address))
            for one, recipient in zip(effective, envelope.recipients, strict=True)
        ]
        verdicts = tuple(replace(verdict, local=local) for local in at_home)
        return Case(mail_id, envelope, message, parse(b""), evidence, tuple(effective), verdicts)


def wanted(policies: Sequence[Policy]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Whose preferences of SpamAssassin, and which combinations of banned rules: each once, of those who want it."""
    users = dict.fromkeys(policy.spam_user for policy in policies if not policy.bypass_spam_checks)
    rules = dict.fromkeys(policy.banned_rules for policy in policies if wants(policy, "banned"))
    return tuple(users), tuple(rules)
