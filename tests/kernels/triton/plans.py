"""Plans small enough for the interpreter, of both schedules; the problems here straddle their tiles and chunks."""

from __future__ import annotations

from pcsr_fast.kernels.triton.launch import Plan

FUSED = Plan("fused", 64, 64, 64, group=2)
CHUNKED = FUSED._replace(schedule="chunked", chunk=50)
WIDE = Plan("fused", 32, 128, 32, group=3)  # tiles that are no squares
TALL = Plan("fused", 256, 32, 32)  # of which a thread holds four rows a column, and looks at half of a row
THREE_PASSES = FUSED._replace(precision="tf32x3")
SCHEDULES = {"fused": FUSED, "chunked": CHUNKED}
SEARCHES = SCHEDULES | {"tall": TALL}
