"""What a docstring says about each parameter: Google's, NumPy's and Sphinx's way of writing it."""

from __future__ import annotations

import inspect
import re

_SPHINX = re.compile(r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_SECTION = re.compile(
    r"^(?:Args|Arguments|Parameters|Keyword Args|Keyword Arguments|Other Parameters)\s*:\s*$"
)
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_SECTION = re.compile(r"^(?:Parameters|Other Parameters)\s*$")
_NUMPY = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


def parameter_descriptions(docstring: str | None) -> dict[str, str]:
    """The description of every parameter that the docstring describes, on one line each."""
    if not docstring:
        return {}
    lines = inspect.cleandoc(docstring).splitlines()
    found: dict[str, list[str]] = {}
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        sphinx = _SPHINX.match(line)
        if sphinx:
            text = found[sphinx[1]] = [sphinx[2]]
            while index < len(lines) and lines[index].strip() and not lines[index].lstrip().startswith(":"):
                text.append(lines[index])
                index += 1
        elif _SECTION.match(line):
            index = _google(lines, index, found)
        elif _NUMPY_SECTION.match(line) and index < len(lines) and re.match(r"^-{3,}\s*$", lines[index]):
            index = _numpy(lines, index + 1, found)
    joined = {name: " ".join(" ".join(text).split()) for name, text in found.items()}
    return {name: text for name, text in joined.items() if text}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _google(lines: list[str], index: int, found: dict[str, list[str]]) -> int:
    depth = 0
    text: list[str] | None = None
    while index < len(lines):
        line = lines[index]
        if line.strip():
            if _indent(line) == 0:
                break
            depth = depth or _indent(line)
            entry = _GOOGLE.match(line.strip()) if _indent(line) <= depth else None
            if entry:
                text = found[entry[1]] = [entry[2]]
            elif text is not None:
                text.append(line)
        index += 1
    return index


def _numpy(lines: list[str], index: int, found: dict[str, list[str]]) -> int:
    text: list[str] | None = None
    while index < len(lines):
        line = lines[index]
        if line.strip():
            if _indent(line) == 0:
                entry = _NUMPY.match(line)
                underlined = index + 1 < len(lines) and re.match(r"^-{3,}\s*$", lines[index + 1])
                if not entry or underlined:
                    break
                text = []
                for name in entry[1].split(","):
                    found[name.strip().lstrip("*")] = text
            elif text is not None:
                text.append(line)
        index += 1
    return index
