"""Remote write to columns: the messages of both versions, and a walk through the bytes as Prometheus writes them.

Prometheus sends one sample a series, in 18 bytes behind the labels. The walk looks for just that, and takes what
stands before these bytes as the name of the series, which has come before in nearly all cases; a body in which
anything is otherwise is read as messages. Both come to the same readings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from services.contract import Columns, SeriesError
from services.contract.instants import micros_in
from services.contract.series import MAX_NAME, unit_of
from services.platform.http.errors import Problem

from ...naming import Dictionary, KnownSeries, Named, SeriesDictionary, identified
from ...readings import AGENT_ROWS, Decoded, Fault
from .messages import LABEL, LABELS, REQUEST_1, REQUEST_2

__all__ = ["SamplesDecoder"]

_STALE = np.uint64(0x7FF0000000000002)
"""Bits of the NaN that marks where a series ends."""
_NAME = "__name__"
_SERIES, _SAMPLE, _VALUE, _TIME = 0x0A, 0x12, 0x09, 0x10
"""Tags: of a request's series, of its sample, and of a sample's value and time."""
_KINDS = (None, "counter", "gauge", "histogram", "histogram", "summary", "info", "stateset")
"""Of series, by a metric's type; the second histogram is that of gauges."""
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")
"""By which names of series are longer than those of their metrics."""
_MOST_TOLD = 100_000
_TAIL = 18
"""Bytes of a sample in its series: tag, length, tag, eight of the value, tag, six of a time from 2004 to 2248."""


class _Samples(NamedTuple):
    """Samples as columns; a code is a series of the dictionary."""

    codes: NDArray[np.uint32]
    millis: NDArray[np.int64]
    values: NDArray[np.float64]


Said = tuple[str | None, str | None]
"""Kind and unit of a series."""
Told = Mapping[str, Said]
"""The same by the names of metrics."""


class _Known(KnownSeries):
    """Series, and their numbers by the bytes of their labels.

    Attributes:
        told: what metadata said of metrics.
        heads: numbers by bytes of labels.
    """

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told
        self.heads: dict[bytes, int] = {}

    def found(self, head: bytes) -> int | None:
        """Return the number of labels, known or new; None where they have a fault, which messages name better."""
        number = self.heads.get(head)
        if number is None and (named := _named_by(head, self.told)) is not None:
            number = self.heads[head] = self.number(named, len(head))
        return number


class SamplesDecoder:
    """Decodes requests, and remembers what their series are called. One a process."""

    def __init__(self) -> None:
        self._known = _Known({})

    def decode(self, body: bytes, version: int) -> Decoded:
        """Return the samples of a request of version 1 or 2; positions are of series.

        Raises:
            Problem: `malformed_body` or `too_many_rows`.
        """
        if self._known.full:
            self._known = _Known(self._known.told)
        skipped, faults = Counter[str](), list[Fault]()
        walked = _walked(body, self._known) if version == 1 else None
        if walked is not None:
            samples, dictionary = walked
            positions = np.arange(len(samples.values))
        else:
            growing = SeriesDictionary()
            try:
                if version == 1:
                    request = REQUEST_1.FromString(body)
                    self._hear(request.metadata)
                    samples, positions = _version_1(request, self._known.told, growing, skipped, faults)
                else:
                    samples, positions = _version_2(body, growing, skipped, faults)
                dictionary = growing.done()
            except DecodeError:
                detail = f"the body is no protobuf message of remote write {version}"
                raise Problem("malformed_body", detail) from None
        if len(samples.values) > AGENT_ROWS:
            raise Problem(
                "too_many_rows", f"{len(samples.values)} samples in one request; at most {AGENT_ROWS} are taken"
            )
        return _kept(samples, positions, dictionary, skipped, faults)

    def _hear(self, metadata: Iterable[Any]) -> None:
        """Remember what metadata say of metrics, whose series come in other requests; most say what is known."""
        heard = {
            one.metric_family_name: (_kind_of(one.type), unit_of(one.unit))
            for one in metadata
            if len(one.metric_family_name) <= MAX_NAME
        }
        told = self._known.told
        if any(told.get(name) != said for name, said in heard.items()):
            self._known = _Known(heard if len(told) >= _MOST_TOLD else {**told, **heard})


def _kind_of(number: int) -> str | None:
    return _KINDS[number] if 0 <= number < len(_KINDS) else None


def _said_of(told: Told, name: str) -> Said:
    """Return kind and unit of a series by its name, which may be longer than its metric's."""
    names = (name, *(name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)))
    return next((told[one] for one in names if one in told), (None, None))


def _walked(body: bytes, known: _Known) -> tuple[_Samples, Dictionary] | None:
    """Return the samples of a body that holds nothing but series of one sample each; None of another one."""
    heads, tails, at, end = [], [], 0, len(body)
    while at + 2 < end:
        length, start = body[at + 1], at + 2
        if length > 0x7F:
            length, start = length & 0x7F | body[start] << 7, start + 1
        if body[at] != _SERIES or length > 0x3FFF or length < _TAIL:
            return None
        at = start + length
        heads.append(body[start : at - _TAIL])
        tails.append(body[at - _TAIL : at])
    if at != end or not heads:
        return None
    block = np.frombuffer(b"".join(tails), np.uint8)
    if len(block) != _TAIL * len(tails):
        return None
    return _sampled(heads, block.reshape(-1, _TAIL), known)


def _sampled(heads: list[bytes], tails: NDArray[np.uint8], known: _Known) -> tuple[_Samples, Dictionary] | None:
    """Return samples whose heads are labels and whose tails are samples; None where one is not."""
    right = (tails[:, [0, 1, 2, 11]] == (_SAMPLE, 16, _VALUE, _TIME)).all()
    more = tails[:, 12:] >> 7
    if not right or not (more[:, :5] == 1).all() or more[:, 5].any():
        return None
    found = list(map(known.heads.get, heads))
    if None in found:
        found = list(map(known.found, heads))
    numbers = [one for one in found if one is not None]
    if len(numbers) < len(heads):
        return None
    dictionary, codes = known.dictionary(np.array(numbers, np.int64))
    digits = (tails[:, 12:] & 0x7F).astype(np.int64)
    millis = (digits << np.arange(0, 42, 7)).sum(axis=1)
    values = np.ascontiguousarray(tails[:, 3:11]).view("<f8").ravel()
    return _Samples(codes, millis, values), dictionary


def _version_1(
    request: Any, told: Told, dictionary: SeriesDictionary, skipped: Counter[str], faults: list[Fault]
) -> tuple[_Samples, NDArray[np.intp]]:
    def named_of(series: Any) -> Named:
        return _named(_labels(series), partial(_said_of, told))

    return _read(request.timeseries, named_of, dictionary, skipped, faults)


def _version_2(
    body: bytes, dictionary: SeriesDictionary, skipped: Counter[str], faults: list[Fault]
) -> tuple[_Samples, NDArray[np.intp]]:
    request = REQUEST_2.FromString(body)
    symbols = list(request.symbols)
    if symbols[:1] not in ([], [""]):
        raise Problem("malformed_body", "the first symbol is not the empty string")

    def named_of(series: Any) -> Named:
        refs, unit = list(series.labels_refs), series.metadata.unit_ref
        if len(refs) % 2 or max(refs, default=0) >= max(len(symbols), 1):
            raise SeriesError("labels", "malformed", "labels_refs are of odd number or point past the symbols")
        labels = [(symbols[name], symbols[value]) for name, value in zip(refs[::2], refs[1::2], strict=True)]
        said = _kind_of(series.metadata.type), unit_of(symbols[unit]) if unit < len(symbols) else None
        return _named(labels, lambda _: said)

    # This version's senders are told of all that is not written; the first knows no way to.
    for position, series in enumerate(request.timeseries):
        if series.exemplars:
            faults.append(Fault(position, "exemplars", "not_kept", "exemplars are not kept: leave send_exemplars off"))
    return _read(request.timeseries, named_of, dictionary, skipped, faults)


def _read(
    timeseries: Iterable[Any],
    named_of: Callable[[Any], Named],
    dictionary: SeriesDictionary,
    skipped: Counter[str],
    faults: list[Fault],
) -> tuple[_Samples, NDArray[np.intp]]:
    """Return the samples of series, and the position of the series of each; what is wrong with one joins `faults`."""
    codes, millis, values, positions = list[int](), list[int](), list[float](), list[int]()
    for position, series in enumerate(timeseries):
        try:
            code = dictionary.code(named_of(series))
        except DecodeError:
            faults.append(Fault(position, "labels", "malformed", "a label is no protobuf message"))
            continue
        except SeriesError as error:
            faults.append(Fault(position, error.part, error.code, str(error)))
            continue
        skipped["exemplars"] += len(series.exemplars)
        if series.histograms:
            faults.append(
                Fault(position, "histograms", "not_kept", "native histograms are not kept: send classic ones")
            )
        for sample in series.samples:
            codes.append(code)
            millis.append(sample.timestamp)
            values.append(sample.value)
            positions.append(position)
    found = _Samples(np.array(codes, np.uint32), np.array(millis, np.int64), np.array(values, np.float64))
    return found, np.array(positions, np.intp)


def _named_by(head: bytes, told: Told) -> Named | None:
    """Return the series that the bytes before a sample name; None where they are not labels alone, or wrong ones."""
    try:
        found = LABELS.FromString(head)
        if found.samples or found.exemplars or found.histograms:
            return None
        return _named(_labels(found), partial(_said_of, told))
    except (DecodeError, SeriesError):
        return None


def _labels(series: Any) -> list[tuple[str, str]]:
    return [(label.name, label.value) for label in map(LABEL.FromString, series.labels)]


def _named(labels: Sequence[tuple[str, str]], said_of: Callable[[str], Said]) -> Named:
    """Return the series of labels, with what is said of its name; labels without a value are none.

    Raises:
        SeriesError: there is no name, a label stands twice, or one breaks the limits.
    """
    given = dict(labels)
    if len(given) < len(labels):
        raise SeriesError("labels", "duplicate", "a label stands more than once")
    name = given.pop(_NAME, "")
    if not name:
        raise SeriesError("name", "missing", f"the label {_NAME} is missing: each series needs a name")
    kind, unit = said_of(name)
    return identified(name, {label: value for label, value in given.items() if value}, kind=kind, unit=unit)


def _kept(
    samples: _Samples,
    positions: NDArray[np.intp],
    dictionary: Dictionary,
    skipped: Counter[str],
    faults: list[Fault],
) -> Decoded:
    """Return the samples that are readings; those that are no number are counted and left out."""
    codes, millis, values = samples
    finite = np.isfinite(values)
    if not finite.all():
        stale = int(np.count_nonzero(values.view(np.uint64) == _STALE))
        skipped["stale_markers"] += stale
        skipped["not_finite"] += int(np.count_nonzero(~finite)) - stale
        codes, millis, values, positions = codes[finite], millis[finite], values[finite], positions[finite]
    columns = Columns(dictionary.sensor_ids, codes, micros_in(millis, 1000), values, dictionary.series)
    return Decoded(columns, positions, faults, skipped=+skipped, label_bytes=dictionary.size)
