# SPDX-License-Identifier: MIT
"""The journal loses nothing, survives damage, and says what it could not write."""

import enum
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.runs.best import with_best
from lib.runs.journal import DamagedRow, Journal, read_rows
from lib.runs.stored import last_metrics

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def rows_of(path, **options):
    return [row for row, _ in read_rows(path, **options)]


def metrics_of(path):
    return [row["metrics"] for row in rows_of(path)]


def log_all(path, *rows, warn=lambda text: None):
    journal = Journal(path, warn=warn)
    for step, metrics in enumerate(rows):
        journal.log(metrics, step)
    journal.close()
    return journal


# -- what goes in comes out


def test_a_row_is_one_line_of_json(path):
    before = time.time()
    log_all(path, {"train/loss": 0.5, "lr": 1e-3})
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert row == {"step": 0, "time": row["time"], "metrics": {"train/loss": 0.5, "lr": 1e-3}}
    assert before <= row["time"] <= time.time()


def test_events_and_media(path):
    journal = Journal(path)
    journal.event("start", run_id="abc")
    journal.record({"media": {"val/image": {"type": "image", "path": "media/1.png"}}}, 3)
    journal.close()
    start, media = rows_of(path)
    assert (start["event"], start["run_id"]) == ("start", "abc")
    assert (media["step"], media["media"]["val/image"]["path"]) == (3, "media/1.png")


class Level(enum.IntEnum):
    HIGH = 3


PLAIN = {
    "int": (1, 1),
    "bool": (True, True),
    "smallest": (-(2**63), -(2**63)),
    "IntEnum": (Level.HIGH, 3),
    "float32": (np.float32(0.5), 0.5),
    "float64": (np.float64(math.inf), math.inf),
    "int64": (np.int64(7), 7),
    "bool_": (np.bool_(True), True),
    "0-d array": (np.array(0.25), 0.25),
}


@pytest.mark.parametrize(("value", "read"), PLAIN.values(), ids=PLAIN)
def test_scalars_of_all_kinds(path, value, read):
    log_all(path, {"x": value})
    (metrics,) = metrics_of(path)
    assert metrics == {"x": read}
    assert type(metrics["x"]) is type(read)


def test_cpu_tensors(path):
    torch = pytest.importorskip("torch")
    weight = torch.tensor(2.0, requires_grad=True)
    log_all(path, {"a": torch.tensor(0.5), "b": weight * 2, "c": torch.tensor(3), "d": 1.0})
    assert metrics_of(path) == [{"a": 0.5, "b": 4.0, "c": 3, "d": 1.0}]


names = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=True, allow_infinity=True)
scalars = floats | st.integers(-(2**63), 2**64 - 1) | st.booleans()


@given(st.lists(st.dictionaries(names, scalars, max_size=6), max_size=5))
def test_every_row_is_read_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    journal = log_all(path, *rows)
    assert journal.rows == len(rows)
    assert repr(metrics_of(path)) == repr(rows)  # repr: NaN is not equal to itself
    assert path.read_bytes().count(b"\n") == len(rows)


@pytest.mark.parametrize("step", [1.0, "1", None, True, np.int64(1)])
def test_a_step_is_an_int(path, step):
    journal = Journal(path)
    with pytest.raises(TypeError, match="step must be an int"):
        journal.log({"x": 1.0}, step)
    with pytest.raises(ValueError, match="negative"):
        journal.log({"x": 1.0}, -1)


# -- reading


def test_reading_goes_on_from_an_offset(path):
    journal = Journal(path)
    journal.log({"x": 1}, 0)
    ((_, offset),) = read_rows(path)
    assert list(read_rows(path, offset)) == []
    journal.log({"x": 2}, 1)
    assert [row["step"] for row, _ in read_rows(path, offset)] == [1]


def test_only_lines_containing(path):
    log_all(path, {"train/loss": 1}, {"val/loss": 2})
    assert [row["step"] for row in rows_of(path, containing=b'"val/')] == [1]


def test_no_journal(path):
    with pytest.raises(FileNotFoundError):
        list(read_rows(path))


def test_truncated_at_every_byte(path):
    log_all(path, {"a": 1.5, "é\n": math.nan}, {"b": math.inf}, {"c": 3})
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends)
        assert len(rows_of(path)) == kept
        log_all(path, {"next": 1})
        damages = []
        rows = rows_of(path, on_damage=damages.append)
        assert rows[-1]["metrics"] == {"next": 1}
        # What was cut within is either damage or, cut just before its newline, whole again.
        torn = length not in (0, *ends)
        assert (len(rows), len(damages)) in {(kept + 1, torn), (kept + 1 + torn, 0)}


@given(st.integers(0, 400), st.binary(min_size=1, max_size=30))
def test_damage_costs_only_the_rows_it_hits(tmp_path_factory, at, garbage):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    log_all(path, *({"x": i} for i in range(10)))
    whole = bytearray(path.read_bytes())
    at = min(at, len(whole))
    first, last = whole.count(b"\n", 0, at), whole.count(b"\n", 0, at + len(garbage))
    whole[at : at + len(garbage)] = garbage
    path.write_bytes(whole)
    rows = rows_of(path, on_damage=lambda damage: None)
    steps = [row.get("step") for row in rows]
    assert set(range(10)) - set(range(first, last + 1)) <= set(steps)


def test_damage_is_reported_with_its_place(path):
    path.write_bytes(b'{"step":1}\n\x00\x00\n[1]\n{"step":2}\n')
    with pytest.warns(DamagedRow, match="damaged row skipped at byte") as seen:
        assert [row["step"] for row in rows_of(path)] == [1, 2]
    assert [(w.message.offset, w.message.end) for w in seen] == [(11, 14), (14, 18)]


# -- what cannot be written


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"x": "text"}, "metric 'x' is not a number but str"),
        ({"x": None}, "NoneType"),
        ({"x": [1.0]}, "list"),
        ({"x": np.zeros(3)}, "ndarray of shape (3,)"),
        ({"x": 1j}, "complex"),
        ({1: 1.0}, "str"),
        ({"x": 2**64}, "64-bit"),
        ({"\ud800": 1.0}, "surrogates"),
    ],
)
def test_what_is_no_scalar_is_refused_and_counted(path, metrics, reason):
    said = []
    journal = log_all(path, {"x": 1}, metrics, metrics, {"x": 2}, warn=said.append)
    assert metrics_of(path) == [{"x": 1}, {"x": 2}]
    assert (journal.rows, journal.refused.total()) == (2, 2)
    assert len(said) == 1
    assert reason in said[0]


def test_a_full_disk_is_counted_and_said_once():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    said = []
    journal = Journal("/dev/full", warn=said.append)
    for step in range(100):
        journal.log({"x": 1.0}, step)
    assert journal.refused.total() == 100
    assert len(said) == 1
    assert "No space left" in said[0]


def test_rows_cut_by_a_full_disk_are_not_glued_to_later_ones(path):
    """The limit on the size of a file stands in for the disk: it too takes a part of a row."""
    code = """
import resource, sys
from lib.runs.journal import Journal
journal = Journal(sys.argv[1], warn=lambda text: print(text))
journal.log({"x": 0}, 0)
for limit in (150, 151, 190, 230, 231, 232, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for step in range(limit, limit + 9):
        journal.log({"x": 0.123456789}, step)
journal.close()
print(journal.rows, journal.refused.total())
"""
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    warning, counts = done.stdout.splitlines()
    assert "File too large" in warning
    written, refused = map(int, counts.split())
    assert written + refused == 1 + 7 * 9
    rows = rows_of(path, on_damage=lambda damage: None)
    assert len(rows) == written
    assert [row["step"] for row in rows][-9:] == list(range(1_000_000, 1_000_009))


def test_logging_after_close_is_counted(path):
    journal = log_all(path, {"x": 1})
    journal.log({"x": 2}, 1)
    journal.close()
    assert journal.refused.total() == 1
    assert len(rows_of(path)) == 1


# -- kill -9


KILLED = """
import sys
from lib.runs.journal import Journal
journal = Journal(sys.argv[1])
step = 0
while True:
    journal.log({"train/loss": 1.0 / (1 + step), "lr": 1e-3, "a": 1.0, "b": float("nan")}, step)
    print(step, flush=True)
    step += 1
"""


def test_kill_9_loses_no_row_that_log_returned_from(tmp_path):
    chance = random.Random(0)
    for attempt in range(12):
        path = tmp_path / f"{attempt}.jsonl"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()  # it has begun
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split("\n")  # the last line may be cut
        process.wait()
        acknowledged = int(said[-2]) + 1 if len(said) > 1 else 1
        steps = [row["step"] for row in rows_of(path)]
        assert steps == list(range(len(steps)))
        assert acknowledged <= len(steps) <= acknowledged + 1


# -- values on a device


class FakeCuda:
    """Stands in for torch.cuda: copies arrive only when `done` says so."""

    def __init__(self):
        self.done = False
        self.waits = 0
        self.Event = lambda: SimpleNamespace(
            record=lambda stream: None, query=lambda: self.done, synchronize=self.wait
        )

    def current_stream(self, device):
        return f"stream of {device}"

    def wait(self):
        self.waits += 1
        self.done = True


class FakeCudaTensor:
    """Records every call that would make the host wait for the device."""

    is_cuda, ndim, device = True, 0, "cuda:0"

    def __init__(self, value, synchronised):
        self.value, self.synchronised = value, synchronised

    def detach(self):
        return self

    def to(self, device, non_blocking=False):
        if not non_blocking:
            self.synchronised.append("to")
        return np.float64(self.value)

    def __getattr__(self, name):
        if name in ("item", "cpu", "tolist", "numpy"):
            self.synchronised.append(name)
        raise AttributeError(name)

    def __float__(self):
        self.synchronised.append("float")
        return self.value


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake))
    return fake


def test_a_device_value_is_not_waited_for_and_rows_keep_their_order(path, cuda):
    synchronised = []
    journal = Journal(path)
    journal.log({"x": 0.0}, 0)
    journal.log({"x": FakeCudaTensor(math.nan, synchronised), "y": 1}, 1)
    plain = {"x": 2.0}
    journal.log(plain, 2)
    plain["x"] = "changed by the caller afterwards"
    journal.event("pause")
    assert [row["step"] for row in rows_of(path)] == [0]
    cuda.done = True
    journal.log({"x": 3.0}, 3)
    rows = rows_of(path)
    assert [row.get("step") for row in rows] == [0, 1, 2, None, 3]
    assert repr(rows[1]["metrics"]) == "{'x': nan, 'y': 1}"
    assert rows[2]["metrics"] == {"x": 2.0}
    assert (synchronised, cuda.waits) == ([], 0)


def test_flush_and_close_wait_for_the_device(path, cuda):
    journal = Journal(path)
    journal.log({"x": FakeCudaTensor(1.0, [])}, 0)
    journal.flush()
    assert (metrics_of(path), cuda.waits) == ([{"x": 1.0}], 1)
    cuda.done = False
    journal.log({"x": FakeCudaTensor(2.0, [])}, 1)
    journal.close()
    assert (metrics_of(path), cuda.waits) == ([{"x": 1.0}, {"x": 2.0}], 2)


def test_the_position_is_behind_all_that_was_logged(path, cuda):
    journal = Journal(path)
    assert journal.position() == 0
    journal.log({"x": FakeCudaTensor(1.0, [])}, 0)
    journal.log({"x": 2.0}, 1)
    assert path.stat().st_size == 0
    at = journal.position()
    assert (metrics_of(path), cuda.waits) == ([{"x": 1.0}, {"x": 2.0}], 1)
    assert at == path.stat().st_size
    journal.log({"x": 3.0}, 2)
    journal.close()
    assert [row["step"] for row, _ in read_rows(path, at)] == [2]
    assert journal.position() == path.stat().st_size


def test_a_failed_device_costs_its_rows_only(path, cuda):
    def fail():
        raise RuntimeError("CUDA error: device-side assert\nlong advice")

    said = []
    journal = Journal(path, warn=said.append)
    journal.log({"x": FakeCudaTensor(1.0, [])}, 0)
    cuda.wait = fail
    journal._waiting[0][0][0].synchronize = fail
    journal.log({"x": 2.0}, 1)
    journal.close()
    assert metrics_of(path) == [{"x": 2.0}]
    assert journal.refused == {"CUDA error: device-side assert": 1}
    assert len(said) == 1


@pytest.mark.gpu
def test_a_real_device(path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    value = torch.zeros((), device="cuda")
    journal = Journal(path)
    journal.log({"x": value}, 0)  # the first pinned allocation may wait
    journal.flush()
    torch.cuda._sleep(2_000_000_000)  # cycles: about a second
    begin = time.perf_counter()
    for step in range(1, 100):
        value += 1
        journal.log({"x": value}, step)
    assert time.perf_counter() - begin < 0.5
    journal.close()
    assert [m["x"] for m in metrics_of(path)] == list(range(100))


# -- readers may rely on the types of what they get

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
NAMES = ["train/loss", "val/loss", "val/accuracy", "lr", "sparsity"]
mostly_rows = st.fixed_dictionaries(
    {},
    optional={
        "step": st.integers(-1, 2**70) | json_values,
        "time": st.floats() | json_values,
        "event": st.sampled_from(["start", "resume"]) | json_values,
        "metrics": st.dictionaries(st.sampled_from(NAMES), st.floats() | json_values) | json_values,
        "media": st.dictionaries(st.text(), json_values) | json_values,
    },
)


@pytest.mark.parametrize("row", [
    '{"step": "1", "metrics": {"val/loss": 1}}', '{"step": true, "metrics": {"val/loss": 1}}',
    '{"step": -1}', '{"step": 1.0}', '{"step": null}', '{"metrics": [1]}', '{"metrics": null}',
    '{"metrics": {"val/loss": "low"}}', '{"metrics": {"val/loss": [1]}}', '{"media": "x"}',
    '{"metrics": {"val/loss": null}}', '{"media": {"x": 1}}', '{"time": "noon"}', "[]", "1", "{",
])  # fmt: skip
def test_a_row_of_the_wrong_type_is_damage(path, row):
    path.write_text('{"step": 1, "metrics": {"val/loss": 1}}\n' + row + "\n")
    damage = []
    assert len(rows_of(path, on_damage=damage.append)) == 1
    assert [d.end for d in damage] == [path.stat().st_size]


@given(st.lists(mostly_rows | json_values, max_size=5))
def test_whatever_a_journal_holds_its_readers_get_rows_of_the_right_types(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        lines = [json.dumps(row).encode() for row in rows]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        damage = []
        good = rows_of(path, on_damage=damage.append)
        assert len(good) + len(damage) == len(rows)
        for row in good:
            assert row.get("step", 0) >= 0
            assert {*map(type, row.get("metrics", {}).values())} <= {int, float, bool}
            assert {*map(type, row.get("media", {}).values())} <= {dict}
        with_best(path, {})
        last_metrics(path)
