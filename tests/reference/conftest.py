"""Property tests have no deadline here: the first call of an operator is slow, which says nothing about the property."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", parent=settings(), deadline=None)
settings.load_profile("no-deadline")
