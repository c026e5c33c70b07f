"""Instructions after the products of a kernel, read from what nvdisasm prints."""

from __future__ import annotations

from tests.tools.sass import Code

TILES = """
.L_x_0:
        /*0000*/                   IADD3 R0, R0, 0x1, RZ ;
.L_x_1:
        /*0010*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24, gsb0 ;
        /*0020*/              @!P6 BRA `(.L_x_1) ;
        /*0030*/                   FMNMX.NAN R1, R2, R3, !PT ;
        /*0040*/              @!P0 BRA `(.L_x_2) ;
        /*0050*/                   FSEL R1, R2, R3, P1 ;
        /*0060*/                   STL [R1], R2 ;
.L_x_2:
        /*0070*/               @P1 EXIT ;
        /*0080*/                   BRA `(.L_x_0) ;
"""


def test_what_stands_behind_branches_is_not_counted() -> None:
    assert Code(TILES).epilogue() == 4


def test_branches_that_are_always_taken_do_not_fall_through() -> None:
    assert Code(TILES.replace("@!P0 BRA", "BRA")).epilogue() == 4
    assert Code(TILES.replace("@!P0 BRA `(.L_x_2)", "MOV R3, R4")).epilogue() == 6


def test_there_may_be_no_products() -> None:
    assert Code(TILES.replace("HGMMA", "FFMA")).epilogue() is None


def test_opcodes_of_interest_are_counted() -> None:
    assert Code(TILES).counted() == {"HGMMA": 1, "STL": 1}
