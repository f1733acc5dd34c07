"""Confine a render process before it reads an original: no network, no other processes, few files, no privileges.

Best effort: `confine` skips what the kernel does not support, and returns what is in force. Confinement comes before
the first job, because a process that has been taken over cannot be confined.
"""

import ctypes
import errno
import os
import resource
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import packshot

# Enough files for codecs, Python and its pipes.
MAX_OPEN_FILES = 64

EVERYTHING = ("limits", "no new privileges", "capabilities", "files", "TCP", "sockets", "processes")
"""What `confine` returns if all measures are in force."""

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
# A command of root may render originals of other users.
_CAP_DAC_READ_SEARCH = 1 << 2

_CLONE_THREAD = 0x10000

# Folders of shared libraries that Python and codecs load later.
_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")

_FORBIDDEN = (
    # Network and local sockets.
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    # Other programs and other processes.
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill"),
    # Ways around both, and kernel features that no codec needs.
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd", "keyctl"),
    *("add_key", "request_key", "open_by_handle_at", "mount", "umount2", "pivot_root", "unshare", "setns", "chroot"),
    *("init_module", "finit_module", "kexec_load", "personality"),
)


def confine(folders: Sequence[Path] | None) -> tuple[str, ...]:
    """Permanently give up all rights that decoding and drawing do not need.

    Args:
        folders: folders with originals; None allows reading all files.

    Returns:
        Names from `EVERYTHING` that are in force. "limits" are those of open files and file lengths.
    """
    load()
    _limit_resources()
    found = ["limits"]
    if sys.platform == "linux":
        found += [*_drop_privileges(), *_restrict_files(folders), *_filter_calls()]
    return tuple(found)


def load() -> None:
    """Load the libraries, which need other programs and files to find the C library. A confined process has neither."""
    if sys.platform == "linux":
        import landlockpy
        import seccompy

        landlockpy.supported()
        with suppress(seccompy.SeccompError):
            seccompy.supported()


def _limit_resources() -> None:
    # No core dumps and no written files, so that a hostile image cannot fill the disk.
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _drop_privileges() -> Iterator[str]:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        yield "no new privileges"
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()
    if library.capget(header, held) != 0:
        return
    # Effective, permitted and inheritable capabilities, 32 bits each; twice, because there are 64 capabilities.
    kept = [held[0] & _CAP_DAC_READ_SEARCH, held[1] & _CAP_DAC_READ_SEARCH, 0, 0, 0, 0]
    if library.capset(header, (ctypes.c_uint32 * 6)(*kept)) == 0:
        yield "capabilities"


def _restrict_files(folders: Sequence[Path] | None) -> Iterator[str]:
    from landlockpy import AccessFS, LandlockError, Ruleset, Scope

    reading = AccessFS.READ_FILE | AccessFS.READ_DIR
    try:
        with Ruleset(scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL) as rules:
            for folder in [Path("/")] if folders is None else [*_code_folders(), *folders]:
                if folder.is_dir():
                    rules.allow_path(folder, reading)
            rules.restrict()
            yield "files"
            if rules.handled_net:
                yield "TCP"
    except LandlockError as error:
        # A container's own filter may forbid it.
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise


def _code_folders() -> Iterator[Path]:
    # Some modules and libraries are loaded when they are first needed.
    yield from {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    yield Path(packshot.__file__).parent
    yield from map(Path, _LIBRARY_FOLDERS)


def _filter_calls() -> Iterator[str]:
    from seccompy import ArgCmp, CmpOp, Filter, SeccompError

    try:
        calls = Filter()
        for name in _FORBIDDEN:
            try:
                calls.errno(name, errno.EPERM)
            except ValueError:
                continue  # This architecture has no such call.
        # Threads are allowed, processes are not. A filter cannot see the flags of clone3; if it is missing, the C
        # library uses clone.
        calls.errno("clone3", errno.ENOSYS)
        calls.errno("clone", errno.EPERM, args=[ArgCmp(0, CmpOp.MASKED_EQ, 0, _CLONE_THREAD)])
        # A process may send signals to itself, as abort does.
        for name in ("kill", "tgkill"):
            calls.errno(name, errno.EPERM, args=[ArgCmp(0, CmpOp.NE, os.getpid())])
        calls.load()
    except SeccompError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
        return
    yield from ("sockets", "processes")
