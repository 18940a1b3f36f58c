"""What readings of JSON are called, many at a time: what was met before is known by its bytes, and not read again."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contract import Series

from ..naming import KnownSeries, Named
from .identity import sensor_id_of

__all__ = ["Called", "Identities", "Identity"]

Identity = tuple[str | msgspec.UnsetType, str | msgspec.UnsetType, str | msgspec.UnsetType, bytes]
"""What a reading says of whose value it is: sensor id, name, field, and the text of its labels."""

_labels_of = msgspec.json.Decoder(dict[str, str]).decode

_QUOTES_BITS = 10
"""Of a number these are the quotation marks of a reading, 272 at the most: those of 64 labels, a name and a field."""

_QUOTES = (1 << _QUOTES_BITS) - 1
_QUOTES_OF_VALUE = 6
"""Of the names and texts of timestamp and value."""

_PLAIN = -1 << _QUOTES_BITS | 4 + _QUOTES_OF_VALUE
"""Number and quotation marks of a reading that names a sensor."""


class Called(NamedTuple):
    """What the readings of a body are called.

    Attributes:
        known: the series that were met.
        numbers: of each reading's series among these, -1 where the reading names a sensor.
        quotes: how many quotation marks all readings have, where no name stands twice in one.
    """

    known: KnownSeries
    numbers: NDArray[np.int64]
    quotes: int


class _Known(KnownSeries):
    """Series, and by what identities each is found: its number, with a reading's quotation marks below."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Identity, int] = {}

    def meet(self, identity: Identity) -> None:
        """Work out what an identity is called, and remember that where it is a series.

        Raises:
            ValueError: no sensor can be called so.
        """
        sensor, name, field, raw = identity
        labels = _labels_of(raw) if raw else msgspec.UNSET
        series: dict[Series, str] = {}
        sensor_id_of(sensor, name, field, labels, series)
        for one, sensor_id in series.items():
            quotes = 4 * sum(text is not msgspec.UNSET for text in (name, field)) + _QUOTES_OF_VALUE
            quotes += 0 if labels is msgspec.UNSET else 2 + 4 * len(labels)
            number = self.number(Named(sensor_id, one, len(one.name) + len(raw)), 2 * len(raw))
            self.found[identity] = number << _QUOTES_BITS | quotes


class Identities:
    """Remembers what readings were called. One a process."""

    def __init__(self) -> None:
        self._known = _Known()

    def called(self, identities: Sequence[Identity]) -> Called:
        """Return what each identity is called; those that are not remembered are worked out once.

        Raises:
            ValueError: no sensor can be called so.
        """
        if self._known.full:
            self._known = _Known()
        known = self._known
        found = list(map(known.found.get, identities))
        if None in found:
            for identity in dict.fromkeys(one for one, number in zip(identities, found, strict=True) if number is None):
                known.meet(identity)
            found = [known.found.get(identity, _PLAIN) for identity in identities]
        numbers = np.array(found, np.int64)
        return Called(known, numbers >> _QUOTES_BITS, int((numbers & _QUOTES).sum()))
