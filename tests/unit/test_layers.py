"""Imports point one way: a module knows only those that stand before it in this list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FROM_THE_TOP = """
contentfilter
contentfilter.reply contentfilter.errors contentfilter.envelope contentfilter.xtext contentfilter.xforward
contentfilter.gradually contentfilter.mail_id contentfilter.endpoint contentfilter.address contentfilter.domains
contentfilter.printable contentfilter.output contentfilter.marks contentfilter.folding contentfilter.board
contentfilter.search contentfilter.large_work contentfilter.patience contentfilter.allocator
contentfilter.message contentfilter.finding contentfilter.failure contentfilter.verdict
contentfilter.mime contentfilter.age contentfilter.filetype
contentfilter.html_source contentfilter.html_text contentfilter.text
contentfilter.rules
contentfilter.unpack
contentfilter.policy contentfilter.inspectors
contentfilter.score contentfilter.evidence contentfilter.grounds contentfilter.marking contentfilter.decision
contentfilter.outcome contentfilter.fields contentfilter.config
contentfilter.stored contentfilter.explain
contentfilter.explain.basis contentfilter.explain.counterfactual contentfilter.explain.explanation
contentfilter.intake.settings contentfilter.intake.fullness contentfilter.intake.waiting contentfilter.intake.holdings
contentfilter.intake.capacity contentfilter.intake
contentfilter.mail_data contentfilter.smtp_protocol contentfilter.smtp_client contentfilter.transaction
contentfilter.next_hop contentfilter.routes
contentfilter.delivery_report contentfilter.maillog
quarantine
contentfilter.case contentfilter.delivery contentfilter.notice contentfilter.notifier
contentfilter.copies contentfilter.refused
contentfilter.identity contentfilter.ledger contentfilter.turns contentfilter.retries
contentfilter.handled contentfilter.history contentfilter.history_expiry
contentfilter.inquiry contentfilter.judging contentfilter.pipeline contentfilter.assembly
contentfilter.systemd contentfilter.account contentfilter.sockets contentfilter.slot
contentfilter.guard contentfilter.daemon contentfilter.worker contentfilter.serving
contentfilter.postconf contentfilter.diagnosis contentfilter.policy_doctor contentfilter.scanner_doctor
contentfilter.postfix_doctor contentfilter.doctor
contentfilter.dump contentfilter.presentation
contentfilter.explain.hindsight contentfilter.explain.view
contentfilter.explain.replay contentfilter.explain.replay_view
contentfilter.commands.past
contentfilter.command contentfilter.commands
contentfilter.cli quarantine.cli
contentfilter.__main__ quarantine.__main__
"""
LAYERS = FROM_THE_TOP.split()

MODULES = sorted(path for package in ("contentfilter", "quarantine") for path in (ROOT / package).rglob("*.py"))

PURE = (
    *("contentfilter.mime", "contentfilter.rules", "contentfilter.decision", "contentfilter.score"),
    *("contentfilter.failure", "contentfilter.age"),
    *("contentfilter.outcome", "contentfilter.folding", "contentfilter.fields", "contentfilter.notice"),
    *("contentfilter.mail_data", "contentfilter.evidence", "contentfilter.grounds", "contentfilter.marking"),
    *("contentfilter.inspectors.rspamd_answer", "contentfilter.inspectors.rspamd_request"),
    *("contentfilter.inspectors.banned_", "contentfilter.policy.settings", "contentfilter.policy.lists"),
    *("contentfilter.policy.banks", "contentfilter.policy.forms", "contentfilter.policy.exchange"),
    *("contentfilter.policy.describe", "contentfilter.policy.explained"),
    *("contentfilter.stored", "contentfilter.explain.basis", "contentfilter.intake.holdings"),
    *("contentfilter.explain.counterfactual", "contentfilter.explain.explanation"),
)
IO = {"asyncio", "socket", "subprocess", "selectors", "ssl", "multiprocessing", "threading"}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _rank(module: str) -> int:
    """The place of the longest entry that the module is, or lies in."""
    names = [module.rsplit(".", cut)[0] for cut in range(module.count(".") + 1)]
    found = next(name for name in names if name in LAYERS and (name != "contentfilter" or module == "contentfilter"))
    return LAYERS.index(found)


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _ours(path: Path) -> set[str]:
    known = {_name(module) for module in MODULES}
    return {name for name in _imports(path) if name in known} - {"contentfilter"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    module = _name(path)
    wrong = {name for name in _ours(path) if _rank(name) > _rank(module)}
    assert not wrong, f"{module} knows of {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in MODULES if _name(path).startswith(PURE)], ids=_name)
def test_what_decides_does_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imports(path)} & IO
