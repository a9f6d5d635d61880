"""Votes in SQLite: one row a vote, on the disk before anybody is told that it counts.

The write-ahead log with full synchronisation survives a kill of the process and of the machine;
a trial's votes are one transaction, so that there are all or none of them.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .study import ANSWERS, QUESTIONS, Study, StudyError
from .trials import Trial, trials_of

FILE = "votes.sqlite"
NAME = re.compile(r"[\w][\w .'-]{0,39}")
SIMULATED = "simulated "  # how the name of every simulated rater begins, and no person's may

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS raters (
    name TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, simulated INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS votes (
    rater TEXT NOT NULL REFERENCES raters (name), trial INTEGER NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN {ANSWERS}), kind TEXT NOT NULL, pair TEXT NOT NULL,
    left_picture TEXT NOT NULL, right_picture TEXT NOT NULL, milliseconds INTEGER NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (rater, trial, question)
);
"""


@dataclass(frozen=True)
class Vote:
    """One row: an answer to one question of one trial.

    Attributes:
        left, right: the SHA-256 of the pictures' files; milliseconds: from the trial's showing to
            its answers; at: seconds since 1970; simulated: 1 if a program's, 0 if a person's.
    """

    rater: str
    trial: int
    question: str
    answer: str
    kind: str
    pair: str
    left: str
    right: str
    milliseconds: int
    at: float
    simulated: int


class Votes:
    """A study's votes; may be used by several threads, and by several programs at once.

    Raises:
        StudyError: ``votes.sqlite`` is of another study, or is no database.
    """

    def __init__(self, study: Study):
        self.study, self.path = study, study.folder / FILE
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('study', ?)", (study.id,))
        except sqlite3.DatabaseError as error:
            raise StudyError(f"{self.path} cannot be used ({error}): copy it again") from error
        if self._fact("study") != study.id:
            self.close()
            raise StudyError(f"{self.path} holds the votes of another study: move it away")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Votes:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _fact(self, name: str) -> str | None:
        with self._lock:
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when the block ends, undone if it fails."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # ------------------------------------------------------------ raters

    def enroll(self, name: str, code: str = "", *, simulated: bool = False) -> str:
        """Begin as a rater, or go on as one with the code of then; returns the code.

        Raises:
            StudyError: a name that is none, or is somebody's; a closed study; or enough raters.
        """
        name = " ".join(name.split())
        if not NAME.fullmatch(name) or name.startswith(SIMULATED) != simulated:
            raise StudyError(
                f"{name!r} is no name for a rater: use 1 to 40 letters, digits, spaces or .'-"
            )
        with self._writing() as db:
            row = db.execute("SELECT code FROM raters WHERE name = ?", (name,)).fetchone()
            if row and secrets.compare_digest(row[0].encode(), code.encode()):
                return code
            if row:
                raise StudyError(
                    f"the name {name!r} is taken: choose another, or go on with the code that "
                    "came with it"
                )
            if self._fact("closed"):
                raise StudyError("this study is closed: its votes have been counted")
            kinds = set(self.raters().values())
            if kinds - {simulated}:
                raise StudyError(
                    "people and simulated raters are never counted together: make another study"
                )
            (present,) = db.execute("SELECT count(*) FROM raters").fetchone()
            if present >= self.study.design.raters:
                raise StudyError(f"this study has its {present} raters: thank you all the same")
            code = secrets.token_hex(4)
            db.execute("INSERT INTO raters VALUES (?, ?, ?)", (name, code, int(simulated)))
        return code

    def rater(self, code: str) -> str:
        """The name that a code belongs to.

        Raises:
            StudyError: nobody's code.
        """
        with self._lock:
            row = self._db.execute("SELECT name FROM raters WHERE code = ?", (code,)).fetchone()
        if row is None:
            raise StudyError("this code belongs to no rater: give your name again")
        return row[0]

    def raters(self) -> dict[str, bool]:
        """Name -> whether it is simulated."""
        with self._lock:
            rows = self._db.execute("SELECT name, simulated FROM raters ORDER BY rowid").fetchall()
        return {name: bool(simulated) for name, simulated in rows}

    # ------------------------------------------------------------ votes

    def add(self, rater: str, number: int, answers: Mapping[str, str], milliseconds: int) -> None:
        """Store a trial's answers; when this returns they are on the disk.

        The same answers a second time change nothing, as after a lost acknowledgement.

        Raises:
            StudyError: no such rater or trial, an answer missing or unknown, another answer than
                before, or a closed study.
        """
        trials = trials_of(self.study, rater)
        if not 0 <= number < len(trials):
            raise StudyError(f"there is no trial {number} for {rater}: reload the page")
        if set(answers) != set(QUESTIONS) or not set(answers.values()) <= set(ANSWERS):
            raise StudyError(
                f"a trial needs an answer to each of {', '.join(QUESTIONS)}: {', '.join(ANSWERS)}"
            )
        self.add_all(rater, [(trials[number], answers, milliseconds)])

    def add_all(self, rater: str, answered: Sequence[tuple[Trial, Mapping[str, str], int]]) -> None:
        """:meth:`add` for trials that are known to be this rater's, in one transaction."""
        if rater not in self.raters():
            raise StudyError(f"there is no rater {rater!r} in this study: give your name first")
        with self._writing() as db:
            for trial, answers, milliseconds in answered:
                before = self._answers(rater, trial.number)
                if before and before != dict(answers):
                    raise StudyError(f"trial {trial.number} has its votes already: go on")
                if before:
                    continue
                if self._fact("closed"):
                    raise StudyError("this study is closed: its votes have been counted")
                what = (trial.kind, trial.pair.id, _digest(trial.left), _digest(trial.right))
                db.executemany(
                    "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (rater, trial.number, q, answers[q], *what, milliseconds, time.time())
                        for q in QUESTIONS
                    ],
                )

    def _answers(self, rater: str, number: int) -> dict[str, str]:
        where = "SELECT question, answer FROM votes WHERE rater = ? AND trial = ?"
        return dict(self._db.execute(where, (rater, number)).fetchall())

    def done(self, rater: str) -> set[int]:
        """The numbers of the trials that a rater has answered."""
        with self._lock:
            rows = self._db.execute("SELECT DISTINCT trial FROM votes WHERE rater = ?", (rater,))
            return {number for (number,) in rows}

    def all(self) -> list[Vote]:
        """Every vote, rater by rater, trial by trial."""
        columns = "rater, trial, question, answer, kind, pair, left_picture, right_picture"
        with self._lock:
            rows = self._db.execute(
                f"SELECT {columns}, milliseconds, at, simulated FROM votes "
                "JOIN raters ON rater = name ORDER BY raters.rowid, trial, votes.rowid"
            ).fetchall()
        return [Vote(*row) for row in rows]

    # ------------------------------------------------------------ the end

    def seal(self) -> None:
        """Take no more votes: whoever counts early ends the study."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES ('closed', ?)", (str(time.time()),))

    def missing(self) -> int:
        """How many trials are still to be answered; 0 in a closed study."""
        if self._fact("closed"):
            return 0
        each = len(trials_of(self.study, ""))
        with self._lock:
            (done,) = self._db.execute(
                "SELECT count(*) FROM (SELECT DISTINCT rater, trial FROM votes)"
            ).fetchone()
        return each * self.study.design.raters - done


def _digest(file: str) -> str:
    return file.partition(".")[0]
