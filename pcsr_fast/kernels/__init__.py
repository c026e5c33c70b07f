"""GPU device code, one folder a language. The files stand in the top-level folder `kernels/` of the checkout.

In a wheel they are installed beside this file; in an editable install and in a bare checkout this package's search path
is extended by that folder. Nothing here imports triton.
"""

from __future__ import annotations

from pcsr_fast.resources import checkout_folder

_checkout = checkout_folder("kernels")
if _checkout is not None:
    __path__.append(str(_checkout))
