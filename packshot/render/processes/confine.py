"""What a render process gives up before it sees an original: network, other processes, files, privileges.

Best effort: what the kernel does not offer is left out, and named by what `confine` returns. Nothing here works
against a process that has been taken over before it is confined, so it comes before the first job.
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

# Files that a codec, Python and its pipes need at once.
MAX_OPEN_FILES = 64

EVERYTHING = ("limits", "no new privileges", "capabilities", "files", "TCP", "sockets", "processes")
"""What `confine` returns where all of it is in force."""

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
# Originals may belong to another user than a command that root runs.
_CAP_DAC_READ_SEARCH = 1 << 2

_CLONE_THREAD = 0x10000

# Of the shared libraries that Python and codecs load while they work.
_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")

_FORBIDDEN = (
    # The network, and sockets of this machine.
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    # Other programs and other processes.
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill"),
    # Ways around both, and parts of the kernel that no codec needs.
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd", "keyctl"),
    *("add_key", "request_key", "open_by_handle_at", "mount", "umount2", "pivot_root", "unshare", "setns", "chroot"),
    *("init_module", "finit_module", "kexec_load", "personality"),
)


def confine(folders: Sequence[Path] | None) -> tuple[str, ...]:
    """Give up what decoding and drawing do not need, for good, and return what is in force.

    Args:
        folders: where originals are read from; None: files may be read everywhere.

    Returns names out of `EVERYTHING`; "limits" are those of open files and of file lengths.
    """
    load()
    _limit_resources()
    found = ["limits"]
    if sys.platform == "linux":
        found += [*_drop_privileges(), *_restrict_files(folders), *_filter_calls()]
    return tuple(found)


def load() -> None:
    """Have the C library found, which takes other programs and files that a confined process has not."""
    if sys.platform == "linux":
        import landlockpy
        import seccompy

        landlockpy.supported()
        with suppress(seccompy.SeccompError):
            seccompy.supported()


def _limit_resources() -> None:
    # A crash on a hostile picture must not fill the disk, nor must anything else.
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
    # Effective and permitted, then inheritable; twice, as there are 64 of them.
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
        # A thread, but no process. What clone3 is asked for no filter can see; the C library then takes clone.
        calls.errno("clone3", errno.ENOSYS)
        calls.errno("clone", errno.EPERM, args=[ArgCmp(0, CmpOp.MASKED_EQ, 0, _CLONE_THREAD)])
        # A signal to itself, which is what abort does.
        for name in ("kill", "tgkill"):
            calls.errno(name, errno.EPERM, args=[ArgCmp(0, CmpOp.NE, os.getpid())])
        calls.load()
    except SeccompError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
        return
    yield from ("sockets", "processes")
