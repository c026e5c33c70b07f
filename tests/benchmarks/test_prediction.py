"""The cost model: limits of a multiprocessor, what binds a phase, and the committed table it reads."""

from __future__ import annotations

import pytest

from benchmarks.comparison import ROOT
from benchmarks.prediction.device import H100
from benchmarks.prediction.loop import launches_a_caption, loop_seconds
from benchmarks.prediction.phase import Phase, Resources
from benchmarks.prediction.phases import cuda_resources, resources
from benchmarks.prediction.predictions import Tables, prediction_table, predictions

SMALL = Resources(warps=4, registers=32, shared=0)


@pytest.mark.parametrize(
    ("warps", "registers", "shared", "blocks"),
    [
        (8, 255, 0, 1),
        (8, 128, 0, 2),
        (8, 64, 0, 4),
        (4, 32, 0, 16),
        (1, 16, 0, 32),
        (4, 32, 100 * 1024, 2),
        (8, 32, 227 * 1024, 1),
        (8, 32, 228 * 1024, 0),
    ],
)
def test_blocks_of_a_multiprocessor(warps, registers, shared, blocks):
    assert H100.resident(warps, registers, shared) == blocks


def test_peaks_are_those_of_the_data_sheet():
    assert H100.peak("wgmma half") == pytest.approx(989e12, rel=1e-3)
    assert H100.peak("float64") == pytest.approx(33.5e12, rel=0.1)


def test_the_slowest_part_binds():
    tiles = 132 * 16
    products = Phase("p", SMALL, tiles, products={"wgmma half": 1e12}, moved=1e6)
    memory = Phase("m", SMALL, tiles, products={"wgmma half": 1e9}, moved=1e10)
    assert (products.bound(H100), memory.bound(H100)) == ("products", "memory")
    assert products.seconds(H100) == pytest.approx(1e12 / H100.reached("wgmma half") + H100.launch)
    assert memory.seconds(H100) == pytest.approx(1e10 / H100.memory_bandwidth + H100.launch)


def test_a_block_alone_does_not_hide_what_follows_its_products():
    work = {"products": {"wgmma half": 1e12}, "others": {"instruction": 1e10}}
    alone = Phase("a", Resources(8, 255, 0), 132, **work).seconds(H100)
    several = Phase("s", Resources(8, 64, 0), 132 * 4, **work).seconds(H100)
    assert alone - several == pytest.approx(1e10 / H100.reached("instruction"))


def test_units_beside_the_others_hide_behind_them_unless_a_block_is_alone():
    work = {"others": {"instruction": 1e10}, "beside": {"special": 1e9}}
    alone = Phase("a", Resources(8, 255, 0), 132, **work).seconds(H100)
    several = Phase("s", Resources(8, 64, 0), 132 * 4, **work).seconds(H100)
    assert several - H100.launch == pytest.approx(1e10 / H100.reached("instruction"))
    assert alone - several == pytest.approx(1e9 / H100.reached("special"))


def test_few_tiles_leave_multiprocessors_idle():
    work = {"products": {"wgmma half": 1e12}}
    one, half = (Phase("p", SMALL, tiles, **work).seconds(H100) - H100.launch for tiles in (1, 66))
    assert one == pytest.approx(66 * half)


def test_few_bytes_in_flight_do_not_fill_the_memory():
    fast, slow = (Phase("m", SMALL, 10**6, moved=1e10, in_flight=size).seconds(H100) for size in (64, 1))
    assert slow > 2 * fast


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"big: a block of .* does not fit"):
        Phase("big", Resources(8, 32, 2**20), 1).seconds(H100)


def test_rows_are_found_by_kernel_type_and_constants():
    row = {
        "kernel": "k",
        "target": "sm_90",
        "dtypes": ["bf16"],
        "constants": {"A": 1},
        "warps": 8,
        "registers": 9,
        "shared": 7,
    }
    rows = [row | {"target": "sm_80", "warps": 1}, row | {"constants": {"A": 2}, "warps": 2}, row]
    assert resources(rows, "k", "bf16", A=1) == Resources(8, 9, 7)
    with pytest.raises(KeyError, match=r"no k for sm_90 with {'A': 1} of fp32"):
        resources(rows, "k", "fp32", A=1)


def test_cuda_kernels_are_found_by_their_name():
    row = {"kernel": "k<a>", "target": "sm_90a", "threads": 288, "registers": 9, "shared": 7}
    assert cuda_resources([row | {"target": "sm_80"}, row], "k<a>") == Resources(9, 9, 7)
    with pytest.raises(KeyError, match="no k for sm_90a in the table"):
        cuda_resources([row], "k")


def test_predictions_stand_beside_floors_and_are_called_so():
    tables = Tables.read(ROOT)
    for one in predictions(tables):
        assert one.seconds >= one.floor
        assert one.seconds == sum(phase.seconds(H100) for phase in one.phases)
        assert one.target is None or one.seconds <= one.target
    text = prediction_table(tables)
    assert text.startswith("PREDICTED")
    assert "nobody has measured" in text


def test_the_loop_launches_more_with_every_step():
    two, three = launches_a_caption(2), launches_a_caption(3)
    assert 5 <= three - two <= 20  # three linear maps, two products, a softmax, a ReLU
    assert three > 3 * (three - two)
    assert loop_seconds(H100, 100, 3) == pytest.approx(100 * three * H100.launch)
