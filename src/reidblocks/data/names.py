"""The values of a table's column: which are missing, numbers, or one name in two spellings."""

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from reidblocks.data.numbers import LIMIT
from reidblocks.data.samples import JUNK

# As pandas, NumPy, Excel (its #N/A in other languages too), R, SQL and Python write a gap. Other
# spellings may be names: Nan, Na and Null are.
MISSING = {
    *("", "nan", "NaN", "NAN", "-nan", "-NaN", "NaT", "NA", "N/A", "n/a", "<NA>", "None", "none"),
    *("NONE", "null", "NULL", "#N/A", "#N/A N/A", "#NA", "#NV", "#N/D", "#N/B", "#I/T"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
_SHEET_ERROR = re.compile(r"#[^\W\d_][^ ]*[!?]")  # #REF!, #DIV/0!, #NAME?
_NO_NAMES = {"true", "false", "inf", "+inf", "-inf", "infinity", "-infinity"}  # after `fold`
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def fold(name: str) -> str:
    """Return what names have in common that differ in case, spaces or Unicode form alone.

    >>> fold("Till ") == fold("till"), fold("Till") == fold("Tilo")
    (True, False)
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    # Cf: signs that cannot be seen, as the zero-width space and the byte order mark
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


class Numbering(NamedTuple):
    """Numbers for the values of a column, and the names of these numbers, if they are names."""

    numbers: dict[str, int]
    names: dict[int, str]


def number_values(table: str, column: str, places: Mapping[str, str]) -> Numbering:
    """Return a number for each value of a column of identities or cameras.

    If all are integers, also written as floats, it is the value's own; else its place among
    the names in alphabetical order, but for -1, which stays. One name in two Unicode forms is one.

    Args:
        table, column: what to call them in errors.
        places: for each value that is not missing, where it comes first: "line 3".

    Raises:
        ValueError: a value is an error of a spreadsheet; all are numbers, and one is not whole or
            too large for int64; one number or name is written in two ways.
    """
    for value, place in places.items():
        if _SHEET_ERROR.fullmatch(value):
            raise ValueError(
                f"{table} {place} has the {column} {value}, an error of a spreadsheet; mend it "
                "there"
            )
        if fold(value) in _NO_NAMES:
            raise ValueError(
                f"{table} {place} has the {column} {value}, which is neither a whole number nor a "
                "name; number them from 0 on"
            )
    read = {value: _number(value) for value in places}
    # "1 2" is a name, but one that must not stand beside 12
    numbers = {
        value: number
        for value, number in read.items()
        if number is not None and not any(map(str.isspace, value))
    }
    spelled = {value: _spelling(value) for value in places}
    seen: dict[int | str, str] = {}
    for value in places:
        number = read[value]
        key = fold(value) if number is None or number != int(number) else int(number)
        first = seen.setdefault(key, value)
        if spelled[first] != spelled[value]:
            raise ValueError(
                f"{table} writes one {column} as {first} ({places[first]}) and as {value} "
                f"({places[value]}); write it in one way, or two in ways that differ in more "
                "than case, spaces and zeros"
            )
    if len(numbers) < len(places):
        names = sorted(set(spelled.values()) - {f"{JUNK}"})
        order = {name: place for place, name in enumerate(names)} | {f"{JUNK}": JUNK}
        return Numbering(
            {value: order[spelling] for value, spelling in spelled.items()}, dict(enumerate(names))
        )
    result = {}
    for value, number in numbers.items():
        what = f"{table} {places[value]} has the {column} {value}"
        if number != int(number):
            raise ValueError(f"{what}, which is no whole number; number them from 0 on")
        if not -LIMIT <= number < LIMIT:
            raise ValueError(f"{what}, which int64 cannot hold; number them from 0 on")
        result[value] = int(number)
    return Numbering(result, {})


def is_junk(value: str) -> bool:
    r"""Return whether a value is a spelling of -1, which is no identity and no camera.

    >>> is_junk("-1.0"), is_junk("\u22121"), is_junk("-10")
    (True, True, False)
    """
    return _number(value) == JUNK


def read_time(value: str) -> float:
    """Return a time as a number: as it is written, or of an ISO date the seconds since 1970.

    A date without a time zone is taken as UTC: only differences matter.

    Raises:
        ValueError: it is neither.

    >>> read_time("31.5"), read_time("1970-01-02T00:00:01")
    (31.5, 86401.0)
    """
    if _NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"the time {value}, which is neither a number nor a date and time as "
            "2026-01-31T14:15:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: str) -> Decimal | None:
    """The number that a value shows, in whatever digits and minus sign, or None."""
    plain = fold(value).replace("\N{MINUS SIGN}", "-")
    return Decimal(plain) if _NUMBER.fullmatch(plain) else None


def _spelling(value: str) -> str:
    """A value as it is told from others: 12.0 as 12, a name in Unicode's composed form."""
    if is_junk(value):
        return f"{JUNK}"
    if _NUMBER.fullmatch(value):
        return re.sub(r"\.0*$", "", value)
    return unicodedata.normalize("NFC", value)
