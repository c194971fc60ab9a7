"""TOML with lines: tomllib reads the values, and here is where each key of them stands.

Lines are for text that tomllib has accepted: nothing is validated a second time, and no value is
decided on. A parser with positions (tomlkit) would be a second opinion on the text.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from sallyport.errors import ConfigError, ConfigErrors

# Keys are strings, elements of arrays are integers: ("access_rules", 0, "from").
KeyPath = tuple[str | int, ...]

_TOKEN = re.compile(
    r'''
      (?P<string> """(?:[^\\]|\\.)*?"{3,5}    # a multi-line string may end in two quotes of its own
                | \'\'\'.*?'{3,5}
                | "(?:[^"\\]|\\.)*"
                | '[^']*' )
    | (?P<comment> \#[^\n]* )
    | (?P<word> [A-Za-z0-9_-]+ )
    | (?P<mark> [\n\[\]{}=,.] )
    ''',
    re.VERBOSE | re.DOTALL,
)


def read_toml(text: str, file_name: str) -> dict[str, Any]:
    """Return what `text` says; raises ConfigErrors with the line where it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigErrors([_syntax_error(error, text, file_name)]) from None


def _syntax_error(error: Exception, text: str, file_name: str) -> ConfigError:
    """Turn what tomllib says, "Invalid value (at line 3, column 5)", into our form."""
    if isinstance(error, RecursionError):
        return ConfigError(file_name, 1, "arrays are nested too deeply; write flat lists")
    reason, _, position = str(error).partition(" (at ")
    numbers = re.findall(r"\d+", position)
    # Without numbers tomllib means the end of the document; int() of 5000 digits has no place.
    line = int(numbers[0]) if numbers else text.rstrip("\n").count("\n") + 1
    # tomllib names a table by a tuple of Python: ('gateway',).
    reason = re.sub(r"\(('[^)]*)\)", lambda found: _dotted(found[1]), reason)
    where = f" at column {numbers[1]}" if numbers else ""
    return ConfigError(file_name, line, f"not TOML: {reason}{where}; check quotes and brackets")


def _dotted(names: str) -> str:
    """Return the names of a Python tuple as TOML writes them: `a.b`."""
    return ".".join(re.findall(r"'([^']*)'", names))


def line_map(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, where each key, table and array element of `text` begins.

    `text` is TOML that tomllib reads. Tables written more than once have their first line.
    """
    return _Scanner(text).document()


class _Scanner:
    """One pass over the tokens, a method for each construct of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int]] = []
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._tables_in: dict[KeyPath, int] = {}
        line, end = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            end = match.start()
            if match.lastgroup != "comment":
                self._tokens.append((match[0], line))
        self._tokens.append(("\n", line))

    def document(self) -> Mapping[KeyPath, int]:
        table: KeyPath = ()
        while self._at < len(self._tokens):
            if self._take("\n"):
                continue
            table = self._header() if self._take("[") else self._pair(table)
        return self._lines

    def _take(self, token: str) -> bool:
        found = self._tokens[self._at][0] == token
        self._at += found
        return found

    def _header(self) -> KeyPath:
        is_array, line = self._take("["), self._tokens[self._at][1]
        *parents, last = self._key()
        path: KeyPath = (*self._resolve((), parents, line), last)
        if is_array:
            self._note(path, line)
            index = self._tables_in[path] = self._tables_in.get(path, -1) + 1
            path += (index,)
        self._note(path, line)
        while self._take("]"):
            pass
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        line = self._tokens[self._at][1]
        path = self._resolve(table, self._key(), line)
        self._take("=")
        self._value(path)
        return table

    def _key(self) -> list[str]:
        parts: list[str] = []
        while not parts or self._take("."):
            part = self._tokens[self._at][0]
            # Escapes in quoted keys are tomllib's to read.
            quoted = part[0] in "\"'"
            parts.append(tomllib.loads(f"key = {part}")["key"] if quoted else part)
            self._at += 1
        return parts

    def _resolve(self, path: KeyPath, parts: list[str], line: int) -> KeyPath:
        for part in parts:
            path += (part,)
            self._note(path, line)
            if path in self._tables_in:
                # Below an array of tables a name means its last table.
                path += (self._tables_in[path],)
        return path

    def _value(self, path: KeyPath) -> None:
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            while not self._take("}"):
                if not (self._take(",") or self._take("\n")):
                    self._pair(path)
        else:
            while self._tokens[self._at][0] not in {",", "]", "}", "\n"}:
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        index = 0
        while not self._take("]"):
            if self._take(",") or self._take("\n"):
                continue
            self._note((*path, index), self._tokens[self._at][1])
            self._value((*path, index))
            index += 1

    def _note(self, path: KeyPath, line: int) -> None:
        self._lines.setdefault(path, line)
