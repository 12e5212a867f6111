"""Which layer is the scene before and which the scene after: by words and dates in names. No QGIS in here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher

BEFORE = frozenset({"pre", "before", "predisaster", "preevent", "t0", "antes", "avant", "vorher", "prima", "reference"})
AFTER = frozenset({"post", "after", "postdisaster", "postevent", "t1", "despues", "apres", "nachher", "dopo"})
#: names of results, which are nobody's scene while there are others
RESULT = frozenset({"damage", "confidence", "probabilities", "hillshade", "dem", "dtm", "dsm"})

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATES = (
    re.compile(r"(?<!\d)(?P<y>(?:19|20)\d\d)[-_. ]?(?P<m>0[1-9]|1[0-2])[-_. ]?(?P<d>0[1-9]|[12]\d|3[01])(?!\d)"),
    re.compile(r"(?<!\d)(?P<d>0?[1-9]|[12]\d|3[01])[-_. ](?P<m>0[1-9]|1[0-2])[-_. ](?P<y>(?:19|20)\d\d)(?!\d)"),
    re.compile(r"(?<!\d)(?P<d>0?[1-9]|[12]\d|3[01])[-_. ]?(?P<name>[a-z]{3})[a-z]*[-_. ]?(?P<y>(?:19|20)\d\d)(?!\d)"),
    re.compile(r"(?<!\d)(?P<y>(?:19|20)\d\d)(?:[-_. ](?P<m>0[1-9]|1[0-2]))?(?!\d)"),
)
_WORD = re.compile(r"[a-z]+[01]?(?![a-z0-9])|[a-z]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

Guess = tuple[int | None, int | None]


@dataclass(frozen=True)
class Candidate:
    """A raster layer: its name in the project and the stem of its file."""

    name: str
    stem: str = ""

    @property
    def text(self) -> str:
        """Name and stem, once where they are the same."""
        return self.name if self.name == self.stem else f"{self.name} {self.stem}".strip()


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a file name.

    >>> words("Joplin_PostEvent-2011.tif")
    ['joplin', 'post', 'event', '2011', 'tif']
    """
    return _WORD.findall(_CAMEL.sub(" ", text).lower())


def find_date(text: str) -> date | None:
    """The first date of a name; a month or year alone counts as its first day.

    >>> find_date("capella_20230210T1200")
    datetime.date(2023, 2, 10)
    >>> find_date("scene 22 May 2011")
    datetime.date(2011, 5, 22)
    >>> find_date("pre") is None
    True
    """
    # a time that follows a date directly would hide its end: 20230210T120000
    plain = re.sub(r"(?<=\d)[tT](?=\d)", " ", text).lower()
    for pattern in _DATES:
        for match in pattern.finditer(plain):
            part = match.groupdict()
            if part.get("name"):
                if part["name"] not in _MONTHS:
                    continue
                month = _MONTHS.index(part["name"]) + 1
            else:
                month = int(part.get("m") or 1)
            try:
                return date(int(part["y"]), month, int(part.get("d") or 1))
            except ValueError:
                continue
    return None


def guess_pair(candidates: Sequence[Candidate]) -> tuple[int | None, int | None]:
    """Positions of the scene before and the scene after; never the same position twice.

    Words of the name count first, then dates, then the order of the layers. One layer alone is taken for the scene
    its name says, else for the one before; the other is None.
    """
    places = [i for i, c in enumerate(candidates) if not RESULT & set(words(c.text))] or list(range(len(candidates)))
    before = [i for i in places if _side(candidates[i]) < 0]
    after = [i for i in places if _side(candidates[i]) > 0]
    neutral = [i for i in places if i not in before and i not in after]
    if before and after:
        return max(
            ((a, b) for a in before for b in after),
            key=lambda pair: _likeness(candidates[pair[0]], candidates[pair[1]]),
        )
    if before:
        return before[0], _partner(candidates, before[0], neutral or before[1:], later=True)
    if after:
        return _partner(candidates, after[0], neutral or after[1:], later=False), after[0]
    dated = sorted((d, i) for i in places if (d := find_date(candidates[i].text)))
    if len({d for d, _ in dated}) > 1:
        return dated[0][1], dated[-1][1]
    return (places[0] if places else None), (places[1] if len(places) > 1 else None)


def _side(candidate: Candidate) -> int:
    """-1 before, 1 after, 0 unknown or both; the layer's own name outweighs the file's."""
    for text in (candidate.name, candidate.stem):
        found = set(words(text))
        side = bool(found & AFTER) - bool(found & BEFORE)
        if side:
            return side
    return 0


def _likeness(one: Candidate, other: Candidate) -> float:
    return SequenceMatcher(None, one.text.lower(), other.text.lower()).ratio()


def _partner(candidates: Sequence[Candidate], known: int, others: Sequence[int], *, later: bool) -> int | None:
    """Of ``others`` the one on the right side in time, and of those the most alike in name."""
    if not others:
        return None
    mine = find_date(candidates[known].text)

    def rank(place: int) -> tuple[bool, float]:
        its = find_date(candidates[place].text)
        return bool(mine and its and its != mine and (its > mine) == later), _likeness(
            candidates[known], candidates[place]
        )

    return max(others, key=rank)
