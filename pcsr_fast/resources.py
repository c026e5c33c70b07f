"""Files that are installed with the package, found in a wheel, an editable install and a bare checkout alike."""

from __future__ import annotations

from pathlib import Path

from pcsr_fast.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent


def checkout_folder(name: str) -> Path | None:
    """Top-level folder `name` of the checkout this package is imported from; None in an installed wheel."""
    root = PACKAGE.parent
    folder = root / name
    # In a wheel the parent is site-packages, where a folder of that name belongs to somebody else.
    return folder if (root / "CMakeLists.txt").is_file() and folder.is_dir() else None


def config_folder() -> Path:
    """Folder of the YAML configurations that come with the package."""
    return checkout_folder("configs") or PACKAGE / "configs"


def config_names() -> list[str]:
    """Names that `config_path` takes, sorted, without `.yaml`."""
    return sorted(path.stem for path in config_folder().glob("*.yaml"))


def config_path(name: str) -> Path:
    """Path of a configuration that comes with the package, such as `demo` or `demo.yaml`.

    Raises:
        ConfigError: no configuration has this name; the message lists those there are.
    """
    path = config_folder() / f"{name.removesuffix('.yaml')}.yaml"
    if Path(name).name != name or not path.is_file():
        known = ", ".join(config_names()) or "(none found)"
        raise ConfigError(f"{name}: no such configuration; expected one of {known}")
    return path
