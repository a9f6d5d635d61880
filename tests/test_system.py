"""Commands, interrupts, fingerprints, and company on the cores."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import pytest
import torch
import typer
from typer.testing import CliRunner

from adb_core.system import company as company_module, devices, heap as heap_module
from adb_core.system.commands import InputError, command_app, run_command
from adb_core.system.company import Company, mind_company
from adb_core.system.fingerprints import fingerprint, json_fingerprint
from adb_core.system.heap import keep_heap
from adb_core.system.interrupts import deferred_interrupt

# ---------------------------------------------------------------- commands


def sample(
    count: Annotated[int, typer.Option(help="How many.")] = 1,
    out: Annotated[Path, typer.Option(help="Where to.")] = Path("out"),
) -> None:
    """Count."""
    if count == 0:
        raise InputError("--count 0\n is nothing")
    if count == 1:
        raise PermissionError(13, "Permission denied", str(out))
    if count == 2:
        raise KeyboardInterrupt
    if count == 3:
        raise ZeroDivisionError
    typer.echo(count)


@pytest.mark.parametrize(
    "count, code, line",
    [
        (0, 2, "sample: --count 0 is nothing"),
        (1, 2, "sample: out: Permission denied: choose another folder, or change its permissions"),
        (2, 130, "sample: stopped"),
        (4, 0, ""),
    ],
)
def test_a_function_as_a_command(count, code, line):
    done = CliRunner().invoke(command_app(sample, "sample"), ["--count", str(count)])
    assert (done.exit_code, done.stderr.strip()) == (code, line)


def test_bugs_are_no_input_errors():
    done = CliRunner().invoke(command_app(sample, "sample"), ["--count", "3"])
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_command_exits_with_its_code(capsys):
    with pytest.raises(SystemExit) as done:
        run_command(sample, "sample", ["--count", "0"])
    assert done.value.code == 2
    with pytest.raises(SystemExit) as done:
        run_command(sample, "sample", ["--count", "many"])
    assert done.value.code == 2 and "--count" in capsys.readouterr().err


# ---------------------------------------------------------------- interrupts


def press(number=signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # let Python see it


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill would end the process")
def test_ctrl_c_waits_for_the_end_of_the_step():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as asked:
        assert not asked()
        press()
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill would end the process")
def test_other_signals_wait_too_and_never_raise():
    before = signal.getsignal(signal.SIGTERM)
    with deferred_interrupt(signal.SIGTERM) as asked:
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def work():
        with deferred_interrupt() as asked:
            seen.append((asked(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.getsignal(signal.SIGINT))]


# ---------------------------------------------------------------- fingerprints


def test_fingerprints():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert fingerprint([]) == empty  # SHA-256 of nothing
    assert fingerprint(["ab", b"c"]) == fingerprint([b"a", "bc"]) == fingerprint(["abc"])
    assert fingerprint(["ab", "c"], b"\0") == fingerprint([b"ab\0c"])
    assert json_fingerprint({"a": 1, "b": [2]}) == json_fingerprint({"b": [2], "a": 1})


# ---------------------------------------------------------------- company


def test_another_programs_work_is_seen_and_ones_own_is_not():
    program = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    other = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert max(devices.busy_elsewhere(0.3) for _ in range(5)) > 0.3
    finally:
        other.kill()
        other.wait()


def threads_here(wanted: int | None = None) -> int:
    """How many threads this process has; a count that is wanted may take a moment to come."""
    for _ in range(300):
        count = len(os.listdir("/proc/self/task"))
        if wanted in (None, count):
            break
        time.sleep(0.01)
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_company_adds_a_sleeping_team_and_changes_no_bit():
    before, company = torch.get_num_threads(), Company()
    torch.set_num_threads(2)
    try:
        values = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
        alone, count = values.sum(), threads_here()
        company.see(1.0)
        assert threads_here(count + 2) == count + 2  # its own thread, and OpenMP's second
        company.see(1.0)  # seeing it again adds nothing
        assert company.here and threads_here() == count + 2
        assert torch.equal(values.sum(), alone)
        company.see(0.4)  # between the two bounds all stays as it is
        assert company.here
        company.see(0.0)
        assert not company.here and threads_here(count) == count
    finally:
        torch.set_num_threads(before)


def test_company_is_watched_once_and_only_where_threads_wait(monkeypatch):
    for name in ("OMP_NUM_THREADS", *company_module.SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(company_module, "_watching", None)
    monkeypatch.setattr(company_module, "busy_elsewhere", lambda seconds: None)
    monkeypatch.setattr(company_module.sys, "platform", "linux")
    monkeypatch.setattr(company_module.os, "cpu_count", lambda: 2)
    first = mind_company()
    assert first is not None and mind_company() is first
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert mind_company() is None
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert mind_company() is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(company_module.sys, "platform", "darwin")
    assert mind_company() is None


def test_a_watch_ends_where_the_system_does_not_say(monkeypatch):
    seen, company = iter([1.0, 0.0, None]), Company()
    acted = []
    monkeypatch.setattr(company_module, "busy_elsewhere", lambda seconds: next(seen))
    monkeypatch.setattr(company, "see", acted.append)
    company.watch()
    assert acted == [1.0, 0.0, 0.0]


# ---------------------------------------------------------------- the heap

FREED = """
import ctypes, sys
from adb_core.system.heap import keep_heap
if sys.argv[1] == "kept":
    assert keep_heap()
c = ctypes.CDLL("libc.so.6")
c.malloc.restype = c.sbrk.restype = ctypes.c_void_p
c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(3):  # glibc learns where to put chunks of this size
    chunks = [c.malloc(20 << 20) for _ in range(10)]  # the last thing in the heap
    end = c.sbrk(0)
    for chunk in reversed(chunks):
        c.free(chunk)
print((end - c.sbrk(0)) >> 20)
"""


def megabytes_given_back(what: str) -> int:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", FREED, what]
    return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_heap(), reason="not glibc, or malloc's settings are chosen")
def test_memory_that_was_freed_stays_for_the_next_step():
    assert megabytes_given_back("given back") > 150
    assert megabytes_given_back("kept") == 0


def test_who_has_settings_of_the_heap_has_chosen(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_heap()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(heap_module.sys, "platform", "darwin")
    assert not keep_heap()
