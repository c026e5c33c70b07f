"""Tables and plots of kept results: written, found up to date, found stale."""

from __future__ import annotations

import copy

import pytest

from benchmarks import __main__ as command
from benchmarks import plots
from benchmarks.readme import update
from benchmarks.tables import growth_table
from pcsr_fast.errors import DataError
from pcsr_fast.files import write_json, write_text

BLOCK = "# Title\n\n<!-- table: {} -->\n<!-- end -->\n\nThe end.\n"


@pytest.fixture
def root(tmp_path, result):
    write_text(tmp_path / "README.md", BLOCK.format("speed"))
    write_text(tmp_path / "benchmarks/README.md", BLOCK.format("benchmarks"))
    write_json(tmp_path / "benchmarks/results/triplet.json", result)
    return tmp_path


def test_written_once_then_up_to_date(root):
    assert update(root, check=True)
    assert update(root)
    assert not update(root, check=True)
    assert not update(root)
    front, rest = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "benchmarks/README.md"))
    assert "](benchmarks/results/triplet.png)" in front
    assert "| Tiny: R=16 |" in front
    assert "](results/triplet.png)" in rest
    assert "R=8 (float32" in rest
    assert front.endswith("The end.\n")
    assert (root / "benchmarks/results/triplet.png").read_bytes().startswith(b"\x89PNG")


def test_a_changed_result_makes_table_and_plot_stale(root, result):
    update(root)
    changed = copy.deepcopy(result)
    changed["cases"][1]["rows"][0]["cpu"]["median"] *= 3
    write_json(root / "benchmarks/results/triplet.json", changed)
    before = (root / "README.md").read_bytes()
    assert update(root, check=True)
    assert (root / "README.md").read_bytes() == before
    picture = root / "benchmarks/results/triplet.png"
    assert plots.up_to_date(result, picture)
    assert not plots.up_to_date(changed, picture)


@pytest.mark.parametrize("name", ["README.md", "benchmarks/README.md"])
def test_a_touched_table_is_stale(root, name):
    update(root)
    right = (root / name).read_text(encoding="utf-8")
    write_text(root / name, right.replace("MiB", "GiB"))
    assert update(root, check=True)
    assert update(root)
    assert (root / name).read_text(encoding="utf-8") == right


def test_a_lost_plot_is_stale(root):
    update(root)
    (root / "benchmarks/results/triplet.png").unlink()
    assert update(root, check=True)


def test_one_case_makes_no_curve(result):
    assert plots.curves({**result, "cases": result["cases"][:1]}) == []


def test_growth_is_fitted_where_there_are_three_sizes(result):
    assert growth_table(result) == ""
    cases = []
    for size in (8, 16, 64):
        case = copy.deepcopy(result["cases"][0])
        for row in (row for row in case["rows"] if row["reason"] is None):
            row["cpu"]["median"], row["memory"] = 1e-3 * size**2, {"extra": 5 * size}
        cases.append({**case, "size": size})
    text = growth_table({**result, "cases": cases})
    assert "| forward | cpu | 2.00 | 1.00 |" in text
    assert "slow" not in text


def test_a_table_without_its_result(root):
    write_text(root / "README.md", BLOCK.format("missing"))
    with pytest.raises(DataError, match=r"missing\.json: no such file"):
        update(root)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--op", "sort"], "error: --op: got 'sort', expected one of triplet"),
        (["run"], "error: the following arguments are required: --op"),
        (["run", "--op", "triplet", "--repeats", "x"], "error: argument --repeats"),
        (["dance"], "error: argument command: invalid choice: 'dance'"),
        ([], "error: the following arguments are required: command"),
        (["comparison", "/nonexistent", "x"], "error: /nonexistent/comparison.json: no such file"),
    ],
)
def test_bad_words_are_one_line(words, message, capsys):
    assert command.main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_check_speaks_up(root, monkeypatch, capsys):
    monkeypatch.setattr(command, "update", lambda *, check: update(root, check=check))
    assert command.main(["report", "--check"]) == 2
    assert "run `python -m benchmarks report`" in capsys.readouterr().err
    assert command.main(["report"]) == 0
    assert command.main(["report", "--check"]) == 0


def test_a_run_is_printed_and_written(result, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "run_op", lambda op, size, repeats, device: result)
    monkeypatch.setattr(command, "KEPT", {"full": tmp_path, "gpu": tmp_path / "gpu"})
    assert command.main(["run", "--op", "triplet", "--size", "small"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert command.main(["run", "--op", "triplet"]) == 0
    assert (tmp_path / "triplet.json").is_file()
    assert command.main(["run", "--op", "triplet", "--size", "gpu"]) == 0
    assert (tmp_path / "gpu" / "triplet.json").is_file()
    assert "| **cpu** |" in capsys.readouterr().out
