"""Measurements: results are committed as JSON, and every table of the README is made from them."""
