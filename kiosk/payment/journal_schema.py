"""The journal's tables, their version, and how an older one is brought up.

Within a major version changes only add (tables, columns with a default), so that the version
before can still read and write the journal after an update was taken back.
"""

import sqlite3

from kiosk.errors import JournalDamagedError, JournalNewerError

APPLICATION_ID = 0x50474B4A  # "PGKJ"
MAJOR = 1
MINOR = 1
VERSION = MAJOR * 1000 + MINOR

_TABLES = """
CREATE TABLE device (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    mac_key BLOB NOT NULL,
    made_at TEXT NOT NULL,
    probed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE row (
    seq INTEGER PRIMARY KEY,
    intent TEXT NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    boot TEXT NOT NULL,
    boot_s REAL NOT NULL,
    amount_sum INTEGER,
    reference TEXT,
    payment_id TEXT,
    body TEXT NOT NULL
);
CREATE INDEX row_of_intent ON row (intent, kind);
CREATE INDEX row_of_payment ON row (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX row_of_reference ON row (reference) WHERE reference IS NOT NULL;
CREATE INDEX row_in_doubt ON row (intent)
    WHERE kind IN ('unknown', 'resolved_approved', 'resolved_declined');
CREATE TRIGGER row_is_never_edited BEFORE UPDATE ON row
    BEGIN SELECT RAISE(ABORT, 'rows are append-only'); END;
CREATE TRIGGER row_is_never_deleted BEFORE DELETE ON row
    BEGIN SELECT RAISE(ABORT, 'rows are append-only'); END;
CREATE TABLE secret (
    intent TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    code TEXT,
    phone TEXT,
    answer BLOB
) WITHOUT ROWID;
CREATE TABLE spent (
    mac BLOB PRIMARY KEY,
    intent TEXT NOT NULL
) WITHOUT ROWID;
"""

_ADDITIONS: dict[int, str] = {
    # Spent codes of an earlier journal, each under the key of the journal that spent it.
    1: """
CREATE TABLE imported (
    mac_key BLOB NOT NULL,
    mac BLOB NOT NULL,
    intent TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (mac_key, mac)
) WITHOUT ROWID;
""",
}
"""Minor version -> what it added. The next one goes here."""


def create(db: sqlite3.Connection, mac_key: bytes, at: str) -> None:
    """Make the tables of an empty database, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    for statement in _statements(_TABLES + "".join(_ADDITIONS.values())):
        db.execute(statement)
    db.execute("INSERT INTO device (id, mac_key, made_at) VALUES (1, ?, ?)", (mac_key, at))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def check(db: sqlite3.Connection) -> int:
    """The version found, once it is one that this kiosk can write.

    Raises:
        JournalDamagedError: It is no journal.
        JournalNewerError: A later major version made it.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalDamagedError("this database is not a kiosk's journal")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version // 1000 > MAJOR:
        raise JournalNewerError(
            f"a later kiosk wrote this journal (format {version // 1000}, this one knows {MAJOR}); "
            "install that version again"
        )
    return version


def bring_up(db: sqlite3.Connection, version: int) -> None:
    """Add what came since `version`; nothing where it is current or a later minor one."""
    for minor, script in sorted(_ADDITIONS.items()):
        if MAJOR * 1000 + minor > version:
            db.execute("BEGIN IMMEDIATE")
            for statement in _statements(script):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {MAJOR * 1000 + minor}")
            db.execute("COMMIT")


def _statements(script: str) -> list[str]:
    # Not executescript: it commits, and the tables must come into being all at once.
    found, rest = [], ""
    for line in script.splitlines():
        rest += line + "\n"
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return found
