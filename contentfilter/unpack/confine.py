"""What the kernel does to keep a helper in its box: each measure alone would have to be broken.

Every function makes one measure effective for the calling process and all that it starts, and cannot be undone. What
this kernel or this installation does not offer is named in the result, and the others hold nevertheless.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_CHILD_SUBREAPER: Final = 36
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_NOBODY: Final = 65534
_SPARE_TASKS: Final = 128
"""Threads and processes that our user may have beyond those there are: 7z takes a few, a fork bomb no more."""
_MOST_ROUNDS: Final = 1000

_libc = ctypes.CDLL(None, use_errno=True)

_DENIED: Final = (
    # The network. What is open already (the socket to the worker) goes on.
    *("socket", "connect", "bind", "listen", "accept", "accept4"),
    # Other processes.
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp"),
    # The parts of the kernel where holes are found, and which nothing that unpacks has a use for.
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl"),
    *("add_key", "request_key", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount"),
    *("open_tree", "fsopen", "fsmount", "mount_setattr", "init_module", "finit_module", "delete_module", "kexec_load"),
    *("kexec_file_load", "open_by_handle_at", "name_to_handle_at", "quotactl", "reboot", "swapon", "swapoff", "acct"),
    *("mknod", "mknodat", "chown", "lchown", "fchown", "fchownat", "setuid", "setgid", "setresuid", "setresgid"),
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "vhangup"),
    *("personality", "syslog", "ioperm", "iopl", "lookup_dcookie", "shmget", "msgget", "semget", "mq_open", "vmsplice"),
)  # fmt: skip

_READABLE: Final = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin")
_READABLE_FILES: Final = (
    "/etc/ld.so.cache",
    "/etc/magic",
    "/etc/localtime",
    "/dev/urandom",
    "/proc/meminfo",
    "/proc/cpuinfo",
)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent, whose process id this is, is gone. To be repeated after a change of user."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(os.EX_TEMPFAIL)


def inherit_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be found and killed."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children_but(kept: set[int]) -> None:
    """Kill and bury every child but these. Children of the dead become ours, so it takes several rounds."""
    for _ in range(_MOST_ROUNDS):
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()
        strangers = [int(pid) for pid in listed.split() if int(pid) not in kept]
        if not strangers:
            return
        for pid in strangers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in strangers:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def close_descriptors_but(kept: set[int]) -> None:
    """Nothing inherited stays open."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not files
        if int(name) not in kept:
            with suppress(OSError):
                os.close(int(name))


def no_network() -> tuple[str, ...]:
    """An empty network namespace of our own."""
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return ()
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        return ()
    return (f"network namespace ({os.strerror(ctypes.get_errno())})",)


def leave_root() -> None:
    """If we are root, be nobody from now on. Raises OSError."""
    if os.getuid() == 0 or os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def no_new_privileges() -> None:
    """No program that we start gains rights by being setuid."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def filter_system_calls(never_to_be_signalled: tuple[int, ...]) -> tuple[str, ...]:
    """Deny what nobody who unpacks needs (seccomp). These processes, and all at once, cannot be signalled."""
    try:
        import pyseccomp  # noqa: PLC0415 - it may be missing, or its C library
    except (ImportError, RuntimeError, OSError) as error:
        return (f"seccomp ({error})",)
    try:
        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        for name in _DENIED:
            with suppress(OSError, ValueError):  # a call that this architecture or library does not know
                rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
        _protect(rules, never_to_be_signalled)
        rules.load()
    except (OSError, ValueError) as error:
        return (f"seccomp ({error})",)
    return ()


def signal_filter(never_to_be_signalled: tuple[int, ...]) -> Callable[[], None]:
    """Protects these processes too, beside all that :func:`filter_system_calls` does, where that worked.

    Only the call of the result is effective, for whoever calls: it is made ready once for many who fork from us.
    """
    try:
        import pyseccomp  # noqa: PLC0415 - as above

        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        _protect(rules, never_to_be_signalled)
    except (ImportError, RuntimeError, OSError, ValueError):
        return lambda: None

    def effect() -> None:
        with suppress(OSError, ValueError):
            rules.load()

    return effect


def _protect(rules: Any, pids: tuple[int, ...]) -> None:
    import pyseccomp  # noqa: PLC0415 - as above

    for pid in pids:
        for name in ("kill", "tgkill", "tkill", "rt_sigqueueinfo"):
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name, pyseccomp.Arg(0, pyseccomp.EQ, pid & 0xFFFF_FFFF))
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name, pyseccomp.Arg(0, pyseccomp.EQ, pid & (2**64 - 1)))


@dataclass(frozen=True, slots=True)
class Files:
    """Which files a helper sees, found out once for many by :func:`files`.

    rules: what may be done with which path; here: what may be done in the working directory; handled: what else is
    denied, all in the values of the library; missing: why there is no Landlock.
    """

    rules: tuple[tuple[str, Any], ...]
    here: Any
    handled: Any
    missing: tuple[str, ...] = ()

    def only(self, working: Path) -> tuple[str, ...]:
        """See programs and libraries, change nothing but the working directory (Landlock)."""
        if self.missing:
            return self.missing
        from landlock import LandlockError, Ruleset  # noqa: PLC0415 - it may be missing

        # The library takes what an earlier call has left there for an error of its own.
        ctypes.set_errno(0)
        try:
            ruleset = Ruleset(self.handled)
            for path, access in self.rules:
                with suppress(OSError):  # it is gone meanwhile, and so not seen
                    ruleset.allow(path, rules=access)
                ctypes.set_errno(0)
            ruleset.allow(working, rules=self.here)
            ruleset.apply()
        except (OSError, LandlockError) as error:
            return (f"Landlock ({error})",)
        return ()


def files(readable: Iterable[Path]) -> Files:
    """Programs and libraries are seen, those in these directories too."""
    try:
        from landlock import FSAccess, LandlockError, landlock_abi_version  # noqa: PLC0415 - it may be missing
    except ImportError as error:
        return Files((), None, None, (f"Landlock ({error})",))
    ctypes.set_errno(0)  # as above
    try:
        landlock_abi_version()
        handled = FSAccess.all()
    except (OSError, LandlockError) as error:
        return Files((), None, None, (f"Landlock ({error})",))
    reading = FSAccess.EXECUTE | FSAccess.READ_FILE | FSAccess.READ_DIR
    seen = [str(path) for path in (*map(Path, _READABLE), *readable) if os.access(path, os.R_OK | os.X_OK)]
    rules = [(path, reading) for path in dict.fromkeys(seen)]
    rules += [(path, FSAccess.READ_FILE) for path in _READABLE_FILES if os.access(path, os.R_OK)]
    rules.append(("/dev/null", FSAccess.READ_FILE | FSAccess.WRITE_FILE))
    making = FSAccess.MAKE_REG | FSAccess.MAKE_DIR | FSAccess.REMOVE_FILE | FSAccess.REMOVE_DIR
    writing = FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.WRITE_FILE | making
    return Files(tuple(rules), (writing | FSAccess.TRUNCATE | FSAccess.REFER) & handled, handled)


def limit_resources(*, memory: int, file_size: int, tasks: int) -> None:
    """Bytes of address space, bytes of one file; few files and processes, no core, others first.

    tasks: how many our user has, see :func:`tasks_of`.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, file_size)
    _limit(resource.RLIMIT_NOFILE, 512)
    _limit(resource.RLIMIT_NPROC, tasks + _SPARE_TASKS)
    with suppress(OSError):
        os.nice(5)


def limit_cpu(seconds: float) -> None:
    """Seconds of CPU that this process may take from now on, and each that it starts."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime + seconds) + 1, hard))


def _limit(what: int, wanted: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(what, (value, value))


def tasks_of(uid: int) -> int:
    """How many threads and processes a user has, which is what RLIMIT_NPROC counts."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if entry.stat().st_uid == uid:
                    count += Path(entry.path, "task").stat().st_nlink - 2
    return count
