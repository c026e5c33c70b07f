"""What a run looks like: a self-contained HTML page, and tables for the terminal and for Markdown."""

from __future__ import annotations

from pcsr_fast.report.build import build_report
from pcsr_fast.report.comparison import comparison_table
from pcsr_fast.report.tables import metrics_table

__all__ = ["build_report", "comparison_table", "metrics_table"]
