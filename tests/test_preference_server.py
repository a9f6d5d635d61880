"""The page in which people vote: its answers, what survives a kill, three raters at once."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import run
from studies import study

from adb_core.preference.analysis import compare, reveal
from adb_core.preference.server import MOST_BYTES, StudyServer
from adb_core.preference.session import Session
from adb_core.preference.study import PICTURES, QUESTIONS, Design, load_study
from adb_core.preference.votes import FILE, Votes

ROOT = Path(__file__).resolve().parent.parent
LEFT = dict.fromkeys(QUESTIONS, "left")
posix = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is not Windows's")


@pytest.fixture
def served(tmp_path):
    """A study, its votes, and the port of a server of it."""
    made = study(tmp_path / "study", prompts=3, design=Design(raters=6, repeats=1, catches=1))
    with Votes(made) as votes, StudyServer(Session(made, votes)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made, votes, server.server_address[1]
        server.shutdown()
        thread.join()


def ask(port: int, path: str, body=None, **headers) -> tuple[int, bytes]:
    """A GET, or with a body a POST: status and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def said(port: int, path: str, body) -> dict:
    status, data = ask(port, path, body)
    assert status == 200, data
    return json.loads(data)


# ---------------------------------------------------------------- what it answers


def test_a_rater_goes_through_all_trials(served):
    made, votes, port = served
    status, page = ask(port, "/")
    assert status == 200 and b"Which picture?" in page
    start = said(port, "/enroll", {"name": "Ada"})
    trial, seen = start["next"], []
    while trial:
        assert set(trial) == {
            "number", "done", "of", "text", "left", "right", "photos", "questions",
        }  # fmt: skip  # neither kind nor pair nor recipe
        for path in (trial["left"], trial["right"], *trial["photos"]):
            status, data = ask(port, f"/{path}")
            assert status == 200 and data.startswith(b"\x89PNG")
        seen.append(trial["number"])
        vote = {"code": start["code"], "number": trial["number"], "answers": LEFT}
        answer = said(port, "/vote", {**vote, "milliseconds": 7})
        assert answer["stored"] == trial["number"]
        trial = answer["next"]
    assert seen == list(range(8)) and votes.done("Ada") == set(seen)
    assert said(port, "/trial", {"code": start["code"]}) == {"next": None}


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/nothing", None, 404),
        ("/key.json", None, 404),
        ("/votes.sqlite", None, 404),
        (f"/{PICTURES}/../key.json", None, 404),
        ("/%2e%2e/key.json", None, 404),
        ("/vote", b"{", 400),
        ("/vote", b"[1]", 400),
        ("/vote", b"x" * (MOST_BYTES + 1), 400),
        ("/nothing", {}, 409),
        ("/enroll", {}, 409),
        ("/enroll", {"name": 3}, 409),
        ("/trial", {"code": "nobody's"}, 409),
        ("/vote", {"code": "nobody's", "number": 0, "answers": LEFT, "milliseconds": 1}, 409),
        ("/vote", {"code": "x", "number": True, "answers": LEFT, "milliseconds": 1}, 409),
        ("/vote", {"code": "x", "number": 0, "answers": "left", "milliseconds": 1}, 409),
    ],
)
def test_what_is_not_asked_for_is_refused_and_the_server_lives(served, path, body, status):
    _, votes, port = served
    got, data = ask(port, path, body)
    assert got == status and json.loads(data)["error"]
    assert ask(port, "/")[0] == 200 and votes.all() == []


def test_another_sites_name_for_this_machine_is_refused(served):
    _, _, port = served
    assert ask(port, "/", Host="evil.example")[0] == 403
    assert ask(port, "/enroll", {"name": "Ada"}, Host="evil.example:80")[0] == 403
    assert ask(port, "/", Host=f"localhost:{port}")[0] == 200


def test_a_name_is_one_raters(served):
    _, _, port = served
    code = said(port, "/enroll", {"name": "Ada"})["code"]
    status, data = ask(port, "/enroll", {"name": "Ada"})
    assert status == 409 and "is taken" in json.loads(data)["error"]
    assert said(port, "/enroll", {"name": "Ada", "code": code})["code"] == code


def test_a_port_in_use_ends_with_one_line(served, tmp_path):
    made, _, port = served
    done = run("study", "serve", made.folder, "--port", port)
    assert done.exit_code == 2 and f"port {port} is in use" in done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize("where", [("--port", 99999), ("--host", "nowhere.invalid", "--port", 0)])
def test_an_address_that_is_none_ends_with_one_line(tmp_path, where):
    study(tmp_path / "study")
    done = run("study", "serve", tmp_path / "study", *where)
    assert done.exit_code == 2 and len(done.output.strip().splitlines()) <= 1


def test_only_loopback_is_the_default(served):
    made, votes, _ = served
    with StudyServer(Session(made, votes)) as server:
        assert server.server_address[0] == "127.0.0.1" and not server.is_open
    with StudyServer(Session(made, votes), "0.0.0.0") as server:
        assert server.is_open


def test_an_open_host_is_warned_of(tmp_path, monkeypatch):
    study(tmp_path / "study")

    def stopped(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "serve_forever", stopped)
    alone = run("study", "serve", tmp_path / "study", "--port", 0)
    opened = run("study", "serve", tmp_path / "study", "--port", 0, "--host", "0.0.0.0")
    assert alone.exit_code == opened.exit_code == 130
    assert "WARNING" not in alone.output and "vote at http://127.0.0.1:" in alone.output
    assert "WARNING: 0.0.0.0 lets whoever can reach this machine" in opened.output


# ---------------------------------------------------------------- kills


def start_server(folder: Path) -> tuple[subprocess.Popen, int]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "adb_core", "study", "serve", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    line = server.stdout.readline()
    assert line.startswith("vote at http://127.0.0.1:"), line + server.stdout.read()
    return server, int(line.split("127.0.0.1:")[1].split("/")[0])


class Voter(threading.Thread):
    """Votes without a pause until the server is gone; remembers what was acknowledged."""

    def __init__(self, port: int, name: str, code: str, acknowledged: dict):
        super().__init__()
        self.port, self.name_of_rater, self.code = port, name, code
        self.acknowledged = acknowledged

    def run(self) -> None:
        try:
            start = said(self.port, "/enroll", {"name": self.name_of_rater, "code": self.code})
            self.code, trial = start["code"], start["next"]
            while trial:
                answer = "left" if trial["number"] % 2 else "same"
                vote = {"code": self.code, "number": trial["number"], "milliseconds": 1}
                got = said(
                    self.port, "/vote", {**vote, "answers": dict.fromkeys(QUESTIONS, answer)}
                )
                self.acknowledged[self.name_of_rater, got["stored"]] = answer
                trial = got["next"]
        except (OSError, http.client.HTTPException):
            pass  # killed


def storm(folder: Path, kills: int, pause: float) -> tuple[dict, int]:
    """Raters vote while the server is killed again and again.

    Returns:
        what was acknowledged; how many kills fell in the middle of the storm.
    """
    acknowledged: dict = {}
    codes = {f"rater {k}": "" for k in range(4)}
    amid = 0
    for kill in range(kills):
        server, port = start_server(folder)
        voters = [Voter(port, name, code, acknowledged) for name, code in codes.items()]
        for voter in voters:
            voter.start()
        aim, end = len(acknowledged) + 3 + kill % 5, time.monotonic() + 30
        while len(acknowledged) < aim and time.monotonic() < end:
            time.sleep(pause)
        server.send_signal(signal.SIGKILL)
        amid += any(voter.is_alive() for voter in voters)
        for voter in voters:
            voter.join(40)
            codes[voter.name_of_rater] = voter.code or codes[voter.name_of_rater]
        server.wait(10)
        server.stdout.close()
    return acknowledged, amid


def check_nothing_is_lost(folder: Path, acknowledged: dict) -> None:
    """Every acknowledged vote is stored as it was given, and no trial by halves."""
    with sqlite3.connect(folder / FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT rater, trial, question, answer FROM votes").fetchall()
    stored: dict = {}
    for rater, trial, question, answer in rows:
        stored.setdefault((rater, trial), {})[question] = answer
    assert all(set(answers) == set(QUESTIONS) for answers in stored.values())
    lost = {
        what: answer
        for what, answer in acknowledged.items()
        if set(stored.get(what, {}).values()) != {answer}
    }
    assert not lost


@posix
def test_no_acknowledged_vote_is_lost_when_the_server_is_killed(tmp_path):
    study(tmp_path / "study", prompts=150, seeds=1, design=Design(raters=4))
    acknowledged, amid = storm(tmp_path / "study", kills=3, pause=0.002)
    assert amid and len(acknowledged) >= 9
    check_nothing_is_lost(tmp_path / "study", acknowledged)
    load_study(tmp_path / "study")


@posix
@pytest.mark.slow
def test_no_acknowledged_vote_is_lost_in_200_kills(tmp_path):
    study(tmp_path / "study", prompts=2000, seeds=1, design=Design(raters=4))
    acknowledged, amid = storm(tmp_path / "study", kills=200, pause=0.002)
    assert amid >= 150 and len(acknowledged) >= 600
    check_nothing_is_lost(tmp_path / "study", acknowledged)


# ---------------------------------------------------------------- three raters, three browsers

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OUT = ROOT / "out" / "browser"
CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)


def whole(text: str) -> re.Pattern:
    return re.compile(f"^{re.escape(text)}$")


def seen(locator) -> None:
    """Wait for it, without a script that would be asked again: the page allows none."""
    from playwright.sync_api import expect

    expect(locator).to_be_visible()


def by_keyboard(page, keys: list[str]) -> None:
    """Answer a trial's three questions, and go on."""
    before = page.locator("#progress").inner_text()
    for key in (*keys, "Enter"):
        page.keyboard.press(key)
    after = page.locator("#progress").filter(has_not_text=whole(before), visible=True)
    seen(after.or_(page.locator("#end:not([hidden])")))


def begin(page, address: str, name: str) -> None:
    page.goto(address)
    page.locator("#name").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.locator("#trial").wait_for()


@pytest.mark.browser
def test_three_raters_vote_at_once_by_keyboard_on_a_phone_and_in_the_dark(served):
    """Their turns are interleaved; one reloads on the way, one has a phone's width."""
    from playwright.sync_api import sync_playwright

    made, votes, port = served
    OUT.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}/"
    looks = {
        "Ada": {"viewport": {"width": 1200, "height": 1000}},
        "Bob": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
        "Eve": {"viewport": {"width": 900, "height": 1000}, "color_scheme": "dark"},
    }
    keys = {"Ada": "ArrowLeft", "Bob": "ArrowRight", "Eve": "ArrowDown"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        asked: list[str] = []
        pages = {name: browser.new_context(**look).new_page() for name, look in looks.items()}
        for name, page in pages.items():
            page.on("request", lambda request: asked.append(request.url))
            begin(page, address, name)
            page.wait_for_timeout(200)
            page.screenshot(path=OUT / f"study-{name}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for turn in range(8):
            for name, page in pages.items():
                if turn == 4 and name == "Ada":
                    page.reload()
                    page.locator("#trial").wait_for()
                by_keyboard(page, [keys[name]] * 3)
        for page in pages.values():
            page.locator("#end").wait_for()
        browser.close()
    assert all(url.startswith(address) for url in asked)
    everything = votes.all()
    assert len(everything) == 3 * 8 * len(QUESTIONS)
    for name, answer in (("Ada", "left"), ("Bob", "right"), ("Eve", "same")):
        assert {v.answer for v in everything if v.rater == name} == {answer}
    votes.seal()
    found = compare(made, reveal(made, votes), everything)
    assert [c.ties for c in found] == [6, 6, 6]


@pytest.mark.browser
def test_answers_by_touch_can_be_changed_and_errors_are_said(served):
    from playwright.sync_api import sync_playwright

    made, votes, port = served
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        begin(page, f"http://127.0.0.1:{port}/", "Ada")
        chosen = {"subject": "left", "text": "same", "overall": "right"}
        page.locator("[data-question=subject] [data-answer=right]").click()
        for question, answer in chosen.items():
            page.locator(f"[data-question={question}] [data-answer={answer}]").click()
        page.locator("#next").click()
        seen(page.locator("#progress").filter(has_text=re.compile("^2 ")))
        assert {v.question: v.answer for v in votes.all()} == chosen
        other = browser.new_context().new_page()
        other.goto(f"http://127.0.0.1:{port}/")
        other.locator("#name").fill("Ada")
        other.get_by_role("button", name="Begin").click()
        other.get_by_role("alert").wait_for()
        assert "is taken" in other.get_by_role("alert").inner_text()
        votes.seal()
        for _ in range(3):
            page.keyboard.press("ArrowDown")
        page.locator("#next").click()
        page.get_by_role("alert").wait_for()
        assert "closed" in page.get_by_role("alert").inner_text()
        browser.close()
    assert len(votes.all()) == len(QUESTIONS)
