"""Several addresses of one scanner, in order of preference, and which of them are worth asking.

Each message goes to the first address that serves; when that cannot answer, to the next. An address that fails some
times in a row is given a rest: nobody waits for it any more. Once the rest is over one question, PING, decides whether
it serves again, and meanwhile all others go to the next address, or are told at once that there is none.

That nobody answers is an error, always: no state of an address is ever taken for a result.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from contentfilter.errors import InspectorError, InspectorTimeoutError, NotInspectedError, SpoolError
from contentfilter.printable import printable

_log = logging.getLogger("contentfilter.inspectors")

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What is wrong with us when a connection fails so, and not with the other side."""


@dataclass(frozen=True, slots=True)
class Resting:
    """When an address rests, and how it comes back.

    failures: in a row, after which it is not asked any more; rest: seconds for which it is not; probe: seconds within
    which it has to answer PING.
    """

    failures: int = 5
    rest: float = 30.0
    probe: float = 3.0


class Backend(Protocol):
    """A scanner at one address."""

    @property
    def label(self) -> str:
        """Which scanner, and where: "clamd at unix:/run/clamav/clamd.ctl"."""
        ...

    async def ping(self) -> None:
        """Ask whether it is there. Raises InspectorError if it does not answer as it should."""
        ...


B = TypeVar("B", bound=Backend)


class Backends(Generic[B]):
    """The addresses of a scanner, the preferred one first. clock: seconds, from anywhere."""

    def __init__(
        self, backends: Sequence[B], resting: Resting | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        rules = resting or Resting()
        self._probe_within = rules.probe
        self._places = [_Place(backend, rules, clock) for backend in backends]

    async def ask(self, question: Callable[[B], Awaitable[bool]], enough: Callable[[], bool] = lambda: False) -> None:
        """Put the question to one address after another, until one has answered it.

        question: returns True if the scanner answered, False if it need not even be asked; raises InspectorError if it
        could not answer, NotInspectedError if that is no sign that it is out of order. enough: whether after such an
        error so much is known that nobody else is to be asked.

        Raises the InspectorError of the only address that there is or was asked, or one that tells of all.
        """
        failures: list[InspectorError] = []
        for place in self._places:
            if not await place.serves():
                failures.append(place.resting_error())
                continue
            try:
                with place.watched() as watched:
                    watched.answered = await question(place.backend)
            except InspectorError as error:
                failures.append(error)
                if enough():
                    break
            else:
                return
        raise _joined(failures)

    async def answers(self, question: Callable[[B], Awaitable[object]] = lambda backend: backend.ping()) -> bool:
        """Whether any of them answers now, resting or not, within seconds. question: raises InspectorError."""
        return any(await asyncio.gather(*(self._answers(question(place.backend)) for place in self._places)))

    async def _answers(self, answer: Awaitable[object]) -> bool:
        try:
            async with asyncio.timeout(self._probe_within):
                await answer
        except (InspectorError, TimeoutError):
            return False
        return True


@dataclass(slots=True)
class _Watched:
    """A question that is out. turn: how often the address had gone to rest or come back when it was put."""

    turn: int
    answered: bool = False


class _Place(Generic[B]):
    """One address and how it fares."""

    def __init__(self, backend: B, rules: Resting, clock: Callable[[], float]) -> None:
        self.backend = backend
        self._rules = rules
        self._clock = clock
        self._failures = 0
        self._rests_until: float | None = None
        self._being_probed = False
        self._turn = 0

    async def serves(self) -> bool:
        """Whether it is worth asking. When its rest is over this may be the one call that waits for its PING."""
        if self._rests_until is None:
            return True
        if self._being_probed or self._clock() < self._rests_until:
            return False
        self._being_probed = True
        try:
            async with asyncio.timeout(self._rules.probe):
                await self.backend.ping()
        except (InspectorError, TimeoutError):
            self._rests_until = self._clock() + self._rules.rest
            return False
        finally:
            self._being_probed = False
        self._back()
        return True

    @contextmanager
    def watched(self) -> Iterator[_Watched]:
        """For the time of a question: what becomes of it tells how the address fares."""
        watched = _Watched(self._turn)
        try:
            yield watched
        except NotInspectedError:
            raise
        except InspectorError as error:
            # Of questions from before the last change only the old state is to be learned.
            if watched.turn == self._turn:
                self._has_failed(error)
            raise
        else:
            if watched.answered:
                self._has_answered()

    def _has_answered(self) -> None:
        self._failures = 0
        if self._rests_until is not None:
            self._back()

    def _has_failed(self, error: InspectorError) -> None:
        self._failures += 1
        if self._failures < self._rules.failures:
            return
        self._rests_until = self._clock() + self._rules.rest
        self._turn += 1
        _log.warning(
            "%s rests for %g s after %s, the last: %s",
            self.backend.label, self._rules.rest, self._row, printable(str(error)[:500]),
        )  # fmt: skip

    def _back(self) -> None:
        self._failures = 0
        self._rests_until = None
        self._turn += 1
        _log.warning("%s is back", self.backend.label)

    def resting_error(self) -> InspectorError:
        """Why it is not asked."""
        return InspectorError(f"{self.backend.label} rests after {self._row}")

    @property
    def _row(self) -> str:
        return "a failure" if self._failures == 1 else f"{self._failures} failures in a row"


def _joined(failures: Sequence[InspectorError]) -> InspectorError:
    """One error that tells of all."""
    if len(failures) == 1:
        return failures[0]
    kind = InspectorError
    if any(one.timed_out for one in failures):
        kind = InspectorTimeoutError
    elif all(isinstance(one, NotInspectedError) for one in failures):
        kind = NotInspectedError
    joined = kind("; ".join(str(one) for one in failures))
    joined.__cause__ = failures[0].__cause__
    return joined


@contextmanager
def failures_of(label: str, *further: type[Exception]) -> Iterator[None]:
    """Raise whatever fails in the block as the InspectorError that it comes to. further: more errors of a dialog."""
    try:
        yield
    except TimeoutError as error:
        raise InspectorTimeoutError(f"{label} did not answer in time") from error
    except InspectorError as error:
        if str(error).startswith(label):
            raise
        raise type(error)(f"{label}: {error}") from error
    except SpoolError as error:
        raise NotInspectedError(f"{label}: {error}") from error
    except OSError as error:
        kind = NotInspectedError if error.errno in _OURS else InspectorError
        raise kind(f"{label}: {error}") from error
    except further as error:
        raise InspectorError(f"{label}: {type(error).__name__} {str(error)[:200]}") from error
