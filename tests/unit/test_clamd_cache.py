"""What clamd has said of a content is not asked again, and never taken for what it has not said."""

from __future__ import annotations

import pytest

from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.clamd_cache import LONGEST, ScanCache
from contentfilter.inspectors.clamd_server import VERSION_HOLDS
from tests.fakes.clamd import FakeClamd
from tests.fakes.subject import subject_of

ONE, TWO, THREE = b"the first part", b"the second part", b"the third part"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def cache_of(size: int = 3) -> tuple[ScanCache, Clock]:
    clock = Clock()
    cache = ScanCache(size, clock)
    cache.serve("v1")
    return cache, clock


def test_what_was_said_is_known() -> None:
    cache, _ = cache_of()
    cache.put("v1", digest(1), "")
    cache.put("v1", digest(2), "Eicar")
    assert [cache.get(digest(number)) for number in (1, 2, 3)] == ["", "Eicar", None]


def test_the_least_recently_used_goes_first() -> None:
    cache, _ = cache_of(3)
    for number in (1, 2, 3):
        cache.put("v1", digest(number), "")
    assert cache.get(digest(1)) == ""
    cache.put("v1", digest(4), "")
    assert [cache.get(digest(number)) for number in (1, 2, 3, 4)] == ["", None, "", ""]
    assert len(cache) == 3


def test_nothing_holds_for_long_however_often_it_is_used() -> None:
    cache, clock = cache_of()
    cache.put("v1", digest(1), "")
    for _ in range(10):
        clock.now += LONGEST / 10 - 0.01
        assert cache.get(digest(1)) == ""
    clock.now += 0.11
    assert cache.get(digest(1)) is None
    assert len(cache) == 0


def test_another_database_empties_it() -> None:
    cache, _ = cache_of()
    cache.put("v1", digest(1), "")
    cache.serve("v1")
    assert cache.get(digest(1)) == ""
    cache.serve("v2")
    assert cache.get(digest(1)) is None
    cache.serve("v1")
    assert cache.get(digest(1)) is None


def test_what_the_old_database_said_late_is_not_kept() -> None:
    cache, _ = cache_of()
    cache.serve("v2")
    cache.put("v1", digest(1), "")
    assert cache.get(digest(1)) is None


# --- with a clamd ---------------------------------------------------------------------------------------------------


async def found(inspector: ClamdInspector, *leaves: bytes, raw: bytes = b"a whole message") -> list[tuple[str, str]]:
    with (subject := subject_of(raw, leaves)).message:
        return [(finding.name, finding.part) for finding in await inspector.inspect(subject)]


async def test_a_part_that_comes_again_is_not_scanned_again() -> None:
    clamd = FakeClamd({TWO: b"Bad"})
    async with clamd.running() as address:
        inspector = ClamdInspector(address)
        assert await found(inspector, ONE, TWO, raw=b"message 1") == [("Bad", "2")]
        assert await found(inspector, TWO, THREE, raw=b"message 2") == [("Bad", "1")]
        assert await found(inspector, THREE, TWO, ONE, raw=b"message 1") == [("Bad", "2")]
    assert clamd.scanned == [b"message 1", ONE, TWO, b"message 2", THREE]
    assert clamd.versions == 1


async def test_without_a_cache_all_is_scanned_and_no_version_asked() -> None:
    clamd = FakeClamd()
    async with clamd.running() as address:
        inspector = ClamdInspector(address, cache=0)
        await found(inspector, ONE)
        await found(inspector, ONE)
    assert clamd.scanned == [b"a whole message", ONE] * 2
    assert clamd.versions == 0


async def test_unchecked_stays_unchecked() -> None:
    async with FakeClamd({ONE: b"Heuristics.Encrypted.Zip"}).running() as address:
        inspector = ClamdInspector(address)
        for _ in range(2):
            with (subject := subject_of(b"a whole message", [ONE])).message:
                assert await inspector.inspect(subject) == (
                    Finding(Kind.UNCHECKED, "clamd", "Heuristics.Encrypted.Zip", "1"),
                )


async def test_another_version_has_all_scanned_anew() -> None:
    clamd = FakeClamd()
    async with clamd.running() as address:
        clock = Clock()
        inspector = ClamdInspector(address, clock=clock)
        assert await found(inspector, ONE) == []
        # Signatures that know it are loaded: noticed as soon as the version is asked for again.
        clamd.version, clamd.signatures = b"ClamAV 1.4.3/27001/Mon Nov 16 11:00:00 2026", {ONE: b"New"}
        clock.now += VERSION_HOLDS - 0.1
        assert await found(inspector, ONE) == []
        clock.now += 0.2
        assert await found(inspector, ONE) == [("New", "1")]
        assert (clamd.versions, len(clamd.scanned)) == (2, 4)


async def test_a_clamd_that_does_not_tell_its_version_is_asked_each_time() -> None:
    clamd = FakeClamd(version=b"")
    async with clamd.running() as address:
        inspector = ClamdInspector(address)
        await found(inspector, ONE)
        await found(inspector, ONE)
    assert clamd.scanned == [b"a whole message", ONE] * 2
    assert clamd.versions == 1


async def test_a_failure_is_not_kept_but_the_answers_beside_it_are() -> None:
    clamd = FakeClamd(refused={TWO})
    async with clamd.running() as address:
        inspector = ClamdInspector(address)
        for _ in range(2):
            with pytest.raises(NotInspectedError, match=r"allocate memory ERROR \(part 2\)"):
                await found(inspector, ONE, TWO)
        clamd.refused = set()
        assert await found(inspector, ONE, TWO) == []
    assert clamd.scanned == [b"a whole message", ONE, TWO, TWO, TWO]


async def test_a_silent_clamd_is_not_made_up_for() -> None:
    """All is known, but whether the database is still the same nobody says."""
    clamd = FakeClamd()
    async with clamd.running() as address:
        clock = Clock()
        inspector = ClamdInspector(address, timeout=0.2, clock=clock)
        await found(inspector, ONE)
        clamd.hung = True
        assert await found(inspector, ONE) == []
        clock.now += VERSION_HOLDS + 1
        with pytest.raises(InspectorError, match="in time") as caught:
            await found(inspector, ONE)
        assert caught.value.timed_out


# --- with several ---------------------------------------------------------------------------------------------------


async def test_the_second_clamd_is_asked_where_the_first_hangs() -> None:
    first, second = FakeClamd(hung=True), FakeClamd({ONE: b"Bad"})
    async with first.running() as one, second.running() as two:
        inspector = ClamdInspector([one, two], timeout=0.2, resting=Resting(failures=1))
        assert await found(inspector, ONE) == [("Bad", "1")]
        first.hung = False
        assert await found(inspector, TWO) == [], "the first rests"
        assert (first.scanned, first.pings) == ([], 0)
        assert await inspector.answers()


async def test_a_clamd_that_has_no_thread_to_spare_is_not_in_order() -> None:
    """Then it is no single message that is too much for it."""
    fake = FakeClamd(busy=True)
    async with fake.running() as one:
        inspector = ClamdInspector(one, timeout=0.2, resting=Resting(probe=0.2))
        await inspector.ping()
        assert not await inspector.answers()
        fake.busy = False
        for _ in range(2):
            assert await inspector.answers()
    assert len(fake.scanned) == 2, "a result that is kept would tell nothing of clamd"


async def test_what_the_first_refuses_the_second_may_scan() -> None:
    first, second = FakeClamd(refused={ONE}), FakeClamd()
    async with first.running() as one, second.running() as two:
        inspector = ClamdInspector([one, two], resting=Resting(failures=1))
        assert await found(inspector, ONE) == []
        assert await found(inspector, TWO) == []
    assert first.scanned[-1] == TWO, "it has not gone to rest"
    assert second.scanned == [b"a whole message", ONE]


async def test_a_virus_found_by_one_needs_no_other() -> None:
    first, second = FakeClamd({TWO: b"Bad"}, refused={ONE}), FakeClamd()
    async with first.running() as one, second.running() as two:
        inspector = ClamdInspector([one, two])
        with (subject := subject_of(b"a whole message", [ONE, TWO])).message:
            virus, failure = await inspector.inspect(subject)
    assert virus == Finding(Kind.VIRUS, "clamd", "Bad", "2")
    assert failure.kind is Kind.FAILURE
    assert second.scanned == []


async def test_each_clamd_has_results_of_its_own() -> None:
    first, second = FakeClamd(), FakeClamd({ONE: b"Bad"})
    async with second.running() as two:
        async with first.running() as one:
            clock = Clock()
            inspector = ClamdInspector([one, two], clock=clock)
            assert await found(inspector, ONE) == []
        clock.now += VERSION_HOLDS
        assert await found(inspector, ONE) == [("Bad", "1")]


async def test_where_no_clamd_answers_nothing_is_clean() -> None:
    first, second = FakeClamd(), FakeClamd()
    async with first.running() as one, second.running() as two:
        pass
    inspector = ClamdInspector([one, two], resting=Resting(failures=1))
    with pytest.raises(InspectorError, match=f"{one}.*; clamd at {two}"):
        await found(inspector, ONE)
    with pytest.raises(InspectorError, match=r"rests after a failure; clamd at .* rests after a failure"):
        await found(inspector, ONE)
    assert not await inspector.answers()
