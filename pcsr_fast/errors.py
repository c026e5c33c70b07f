"""Errors a user can cause and mend. The command line prints them as one line and exits with 2; a traceback means a bug."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input; the message names what, where and what was expected, in one line."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used."""


class DataError(UserError):
    """A data file, picture or array that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or belongs to another run."""


class BackendError(UserError):
    """A backend was asked for by name and cannot run these inputs."""


class DeviceError(RuntimeError):
    """CUDA refused to launch a kernel, or an earlier one failed; the message is CUDA's own."""


class InUse(UserError):
    """Another process is writing to the folder."""
