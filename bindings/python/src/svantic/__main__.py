"""``python -m svantic``: what is installed, for a report of a fault. Connects to nothing."""

from __future__ import annotations

import importlib.util
import platform
import sys

from . import _library


def main() -> int:
    """Prints it; 1 when the library cannot be loaded."""
    try:
        version = _library.library().svantic_version().decode()
    except ImportError as error:
        print(f"svantic: {error}", file=sys.stderr)
        return 1
    print(f"svantic {version}")
    print(f"library   {_library.library_path()} (ABI {_library.ABI_VERSION})")
    print(f"python    {platform.python_implementation()} {platform.python_version()}, {platform.platform()}")
    for name in ("orjson", "pydantic"):
        print(f"{name:<9} {'found' if importlib.util.find_spec(name) else 'not installed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
