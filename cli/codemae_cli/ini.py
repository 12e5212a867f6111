"""Change single values of a Qt settings file (INI) and keep every other byte.

Qt writes values with its own escapes; files of QGIS 3 (Qt 5) and QGIS 4 (Qt 6) are both read right when everything
beyond ASCII is escaped.
"""

from __future__ import annotations

import re

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\", "\0": "\\0"}


def escape(value: str) -> str:
    r"""A text as Qt writes it after ``key=``.

    >>> escape("C:\\Users\\M\u00fcller\\env;1")
    '"C:\\\\Users\\\\M\\xfcller\\\\env;1"'
    """
    out: list[str] = []
    after_hex = False  # a hex digit after \xNN would be read as part of it
    value = f"@{value}" if value.startswith("@") else value
    units = value.encode("utf-16-le")
    for i in range(0, len(units), 2):
        number = int.from_bytes(units[i : i + 2], "little")
        char = chr(number)
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
            after_hex = False
        elif number <= 0x1F or number >= 0x7F or (after_hex and char in "0123456789abcdefABCDEF"):
            out.append(f"\\x{number:x}")
            after_hex = True
        else:
            out.append(char)
            after_hex = False
    text = "".join(out)
    return f'"{text}"' if any(c in value for c in ";,=") or value != value.strip(" ") else text


def set_value(data: bytes, section: str, key: str, value: str) -> bytes:
    """The file with ``value`` (already escaped) under ``section`` and ``key``; ASCII all three."""
    lines = data.splitlines(keepends=True)
    end = b"\r\n" if b"\r\n" in data else b"\n"
    line = f"{key}={value}".encode("ascii")
    body = _section(lines, section)
    if body is None:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += end
        lines += [*([end] if lines else []), f"[{section}]".encode("ascii") + end, line + end]
        return b"".join(lines)
    at = _find(lines, body, key)
    if at is not None:
        lines[at] = line + _ending(lines[at])
        return b"".join(lines)
    last = max((i for i in body if lines[i].strip()), default=body.start - 1)
    if not _ending(lines[last]):
        lines[last] += end
    lines.insert(last + 1, line + end)
    return b"".join(lines)


def remove_value(data: bytes, section: str, key: str) -> bytes:
    """The file without ``key``, and without the section if that leaves it empty."""
    lines = data.splitlines(keepends=True)
    body = _section(lines, section)
    at = None if body is None else _find(lines, body, key)
    if body is None or at is None:
        return data
    del lines[at]
    rest = range(body.start, body.stop - 1)
    if not any(lines[i].strip() for i in rest):
        first = body.start - 1
        if first > 0 and not lines[first - 1].strip():
            first -= 1
        # blank lines that stood between this section and the next one are now the previous section's
        last = body.start if first > 0 and rest.stop < len(lines) else rest.stop
        del lines[first:last]
    return b"".join(lines)


def _section(lines: list[bytes], section: str) -> range | None:
    """Indexes of the lines below a section's header."""
    header = f"[{section}]".encode("ascii")
    start = next((i + 1 for i, line in enumerate(lines) if line.strip() == header), None)
    if start is None:
        return None
    stop = next((i for i in range(start, len(lines)) if re.match(rb"\s*\[.*\]\s*$", lines[i])), len(lines))
    return range(start, stop)


def _find(lines: list[bytes], body: range, key: str) -> int | None:
    pattern = re.compile(rb"\s*" + re.escape(key.encode("ascii")) + rb"\s*=")
    return next((i for i in body if pattern.match(lines[i])), None)


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]
