"""Locks: one command at a time writes a directory or a file.

A lock is a small file in the directory, or beside the file, that says who writes there. Its owner holds it with
`flock`, so that it is free again when the owner is gone, however it ended; where a file system has no such locks, the
owner's process tells. Who only reads asks for no lock.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.untrusted import in_short

DIRECTORY_LOCK = ".lock"
_MOST_BYTES = 4096
_MOST_LETTERS = 300  # of a command
_ATTEMPTS = 100  # each is lost to another process that was faster
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock: the content of the lock file.

    Attributes:
        pid: of the process, on its host.
        host: name of the machine.
        boot: changes with every start of the machine; empty where the system does not say.
        started: when the process began, in ticks of the machine's clock: another one may have its number later.
        command: its command line.
        since: when it took the lock.
    """

    pid: int
    host: str
    boot: str
    started: int
    command: str
    since: str

    @classmethod
    def here(cls) -> "Owner":
        """This process."""
        pid, command = os.getpid(), shlex.join(sys.argv)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(pid, socket.gethostname(), _boot(), _start_of(pid), command[:_MOST_LETTERS], since)

    def is_on(self, other: "Owner") -> bool:
        """Whether both are processes of one machine, which may have been started again between them."""
        return self.host == other.host or (self.boot == other.boot != "")

    def is_running(self) -> bool:
        """Whether this process of this machine still exists, and is not another one with its number."""
        return self.boot == _boot() and self.started == _start_of(self.pid) != 0

    def describe(self) -> str:
        place = "this machine" if self.is_on(Owner.here()) else f"the host '{in_short(self.host)}'"
        return f"process {self.pid} on {place} since {in_short(self.since)} ({in_short(self.command)})"


@contextlib.contextmanager
def lock_directory(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other commands from writing into a directory, which is created; one that stays empty is removed again.

    The directory may be renamed meanwhile.

    Raises:
        UserError: another command writes there, or it cannot be written to.
    """
    folder = pathlib.Path(folder)
    is_new = not folder.exists()
    atomic.make_directory(folder)
    try:
        with _locked(folder / DIRECTORY_LOCK, f"'{folder}'"):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def lock_files(*paths: str | os.PathLike | None) -> Iterator[None]:
    """Keeps other commands from writing files, or folders that are replaced whole. Missing folders are created.

    Args:
        paths: of the files; None is left out.

    Raises:
        UserError: another command writes one of them, or it cannot be written.
    """
    with contextlib.ExitStack() as locks:
        for path in (pathlib.Path(path) for path in paths if path is not None):
            atomic.make_directory(path.parent)
            if not path.is_dir():
                atomic.check_replaceable(path)
            locks.enter_context(_locked(path.with_name(f".{path.name}.lock"), f"'{path}'"))
        yield


@contextlib.contextmanager
def _locked(path: pathlib.Path, what: str) -> Iterator[None]:
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)  # stays the same where it is renamed
    except OSError as error:
        raise UserError(f"{what} cannot be written: {error.strerror}.") from error
    try:
        file = _Lock(path, folder, what).acquire()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it may be gone with its folder
                os.unlink(path.name, dir_fd=folder)
            os.close(file)
    finally:
        os.close(folder)


@dataclass(frozen=True)
class _Lock:
    """A lock file.

    Attributes:
        path: of the file.
        folder: descriptor of its folder.
        what: is locked, for messages.
    """

    path: pathlib.Path
    folder: int
    what: str

    def acquire(self) -> int:
        """The open lock file, which is this process's until it is unlinked."""
        try:
            for _ in range(_ATTEMPTS):
                if (file := self._attempt()) is not None:
                    return file
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise UserError(f"no space left on the disk for {self.what}.") from error
            raise UserError(f"{self.what} cannot be locked: '{self.path}': {error.strerror}.") from error
        raise UserError(f"{self.what} cannot be locked: other commands take '{self.path}' again and again.")

    def _attempt(self) -> int | None:
        """None: the file was removed just now."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK  # it may be anything, in a directory from elsewhere
        try:
            file, is_new = os.open(self.path.name, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=self.folder), True
        except FileExistsError:
            try:
                file, is_new = os.open(self.path.name, flags, dir_fd=self.folder), False
            except FileNotFoundError:
                return None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise UserError(f"{self.what} cannot be locked: '{self.path}' is not a regular file; remove it.")
            if not (self._by_flock(file) if _flock(file, self._refuse) else self._by_owner(file, is_new)):
                os.close(file)
                return None
        except BaseException:
            os.close(file)
            raise
        return file

    def _by_flock(self, file: int) -> bool:
        """Takes a file that is locked already: nobody else of this machine does the same."""
        if not self._is_in_place(file):
            return False
        owner, here = _read(file), Owner.here()
        # Some network file systems keep such locks from other machines.
        if owner and owner.pid != here.pid and (not owner.is_on(here) or owner.is_running()):
            self._refuse(owner)
        self._take(file)
        return True

    def _by_owner(self, file: int, is_new: bool) -> bool:
        """Takes a file without locks, which is new or whose owner is gone."""
        if is_new:
            self._take(file)
            return True
        takeover = f"{self.path.name}.takeover"  # only one at a time looks, and writes what it has decided
        try:
            os.close(os.open(takeover, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=self.folder))
        except FileExistsError:
            self._refuse(None, f"'{self.path}' and '{takeover}' beside it")
        try:
            owner = _read(file)
            if owner is None or not owner.is_on(Owner.here()) or owner.is_running():
                self._refuse(owner)
            if not self._is_in_place(file):
                return False
            self._take(file)
            return True
        finally:
            os.unlink(takeover, dir_fd=self.folder)

    def _take(self, file: int):
        content = json.dumps(dataclasses.asdict(Owner.here())).encode()
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
            os.fsync(file)
        except OSError:
            os.unlink(self.path.name, dir_fd=self.folder)
            raise

    def _is_in_place(self, file: int) -> bool:
        """Whether the open file is still the one under the name: its owner may have removed it just now."""
        try:
            named = os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(file), named)

    def _refuse(self, owner: Owner | None, files: str = ""):
        writer = owner.describe() if owner else "another command"
        advice = "wait until it has ended, or name another place"
        if owner is None or not (owner.is_on(Owner.here()) and owner.is_running()):
            advice += f"; if it is gone, delete {files or repr(str(self.path))} and start again"
        raise UserError(f"{self.what} is being written by {writer}: {advice}.")


def _flock(file: int, refuse) -> bool:
    """Whether the file is locked now; False where its file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refuse(_read(file))
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        return False
    return True


def _read(file: int) -> Owner | None:
    """None where it has not been written yet, or is damaged."""
    try:
        values = json.loads(os.pread(file, _MOST_BYTES, 0))
        owner = Owner(**{field.name: values[field.name] for field in dataclasses.fields(Owner)})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    is_whole = all(type(getattr(owner, field.name)) is field.type for field in dataclasses.fields(Owner))
    return owner if is_whole else None


def _boot() -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _start_of(pid: int) -> int:
    """When a process of this machine began; 0 where there is none."""
    try:
        # The name before the last bracket may have brackets and spaces itself.
        values = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return int(values.split()[19])
    except OSError:
        return 0
