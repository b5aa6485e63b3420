# SPDX-License-Identifier: MIT
"""The tables of the index: writing an entry, and reading values as they were.

`runs` has a row for each run, with its lasting fields, metadata and settings as JSON. `metrics` has
one for each metric of a run, ordered by metric, so that one metric of all runs is read at once.
"""

import json
import math
import os
import sqlite3
from dataclasses import astuple
from typing import Any

import orjson

from .entry import Entry

VERSION = 1
SCHEMA = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, name BLOB UNIQUE, stamp TEXT, status TEXT, started REAL, size INTEGER,
  head TEXT, metadata TEXT, settings TEXT, changed TEXT, mark TEXT, best TEXT);
CREATE TABLE metrics (
  name TEXT, run INTEGER, place INTEGER, at_best, last, min, max, total, numbers, count,
  first_step, last_step, min_step, max_step, PRIMARY KEY (name, run)) WITHOUT ROWID;
CREATE INDEX metrics_of_run ON metrics (run)"""
TALLY = "last, min, max, total, numbers, count, first_step, last_step, min_step, max_step"


def put(connection: sqlite3.Connection, name: str, entry: Entry | None) -> None:
    """Replace what the database has of a run."""
    key = os.fsencode(name)
    connection.execute(
        "DELETE FROM metrics WHERE run = (SELECT id FROM runs WHERE name = ?)", [key]
    )
    if entry is None:
        connection.execute("DELETE FROM runs WHERE name = ?", [key])
        return
    run, best, final = entry.run, entry.numbers.best.found, entry.run.part("final_metrics")
    started = run.started()
    values = {
        "name": key,
        "stamp": entry.stamp,
        "status": run.status,
        "started": started.timestamp() if started else None,
        "size": entry.size,
        "head": json.dumps({"fields": entry.fields(), "final": final}),
        "metadata": json.dumps(run.metadata),
        "settings": json.dumps(run.settings),
        "changed": json.dumps(run.changed_settings),
        "mark": json.dumps(entry.mark and astuple(entry.mark)),
        "best": json.dumps(best and {"step": best.step, "metrics": best.metrics}),
    }
    changes = ", ".join(f"{column} = excluded.{column}" for column in values)
    connection.execute(
        f"INSERT INTO runs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))}) "
        f"ON CONFLICT (name) DO UPDATE SET {changes}",
        list(values.values()),
    )
    ((id_,),) = connection.execute("SELECT id FROM runs WHERE name = ?", [key])
    at_best = best.metrics if best else {}
    connection.executemany(
        f"INSERT INTO metrics (name, run, place, at_best, {TALLY}) VALUES ({'?, ' * 13}?)",
        [
            [metric, id_, place, *map(stored, [at_best.get(metric), *astuple(tally)])]
            for place, (metric, tally) in enumerate(entry.numbers.tallies.items())
        ],
    )


def stored(value: float | None) -> Any:
    """A number as SQLite can hold it: it has no NaN, and integers of 63 bits."""
    if value is None or (value == value and -(2**63) <= value < 2**63) or math.isinf(value):
        return float(value) if isinstance(value, bool) else value
    return str(value)


def number(value: Any) -> Any:
    """What `stored` has stored."""
    if isinstance(value, str):
        return float(value) if value == "nan" or "." in value or "e" in value else int(value)
    return value


def loads(text: str) -> Any:
    """JSON, also with NaN and Infinity in it, which orjson refuses and json, slower, takes."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


_DECODER = json.JSONDecoder()


def value_in(text: str, name: str) -> Any:
    """The value of `name` in the text of a JSON object of scalars; None if it has none.

    Without decoding the others, which takes ten times as long. In a value, quotes are escaped.
    """
    key = f'"{name}": '
    place = text.find(key)
    return None if place < 0 else _DECODER.raw_decode(text, place + len(key))[0]
