"""The OpenAPI description of a body of readings, format by format."""

from typing import Any

from services.contract.codec import MAX_SENSOR_ID, MAX_VALUE
from services.contract.series import MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_NAME
from services.platform.settings import IngestSettings

from ...formats import arrow, csv, json, ndjson, parquet
from ...limits.body import ENCODINGS

__all__ = ["json_body", "readings_body"]


def json_body(settings: IngestSettings) -> dict[str, Any]:
    """Return the description of readings in JSON alone, with the limits that are in force."""
    return _body(settings, {json.MEDIA_TYPE: _JSON})


def readings_body(settings: IngestSettings) -> dict[str, Any]:
    """Return the description of readings in any format, with the limits that are in force."""
    return _body(settings, {json.MEDIA_TYPE: _JSON, **_OTHERS})


def _body(settings: IngestSettings, content: dict[str, Any]) -> dict[str, Any]:
    size = settings.max_body_bytes / (1024 * 1024)
    limits = f"At most {settings.max_rows:,} readings and {size:.4g} MiB as sent"
    return {
        "requestBody": {
            "required": True,
            "description": f"{limits}; `Content-Encoding` {' or '.join(ENCODINGS)} is taken.",
            "content": content,
        }
    }


def _text(longest: int, about: str) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "pattern": "^[^\\u0000]*$",
        "description": about,
    }


def _reading(title: str, required: str, **called: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": title,
        "additionalProperties": False,
        "required": [required, "timestamp", "value"],
        "properties": {
            **called,
            "timestamp": {"type": "string", "format": "date-time", "description": "RFC 3339, with an offset."},
            "value": {"type": "number", "minimum": -MAX_VALUE, "maximum": MAX_VALUE},
        },
    }


_READINGS = [
    _reading("Reading", "sensor_id", sensor_id=_text(MAX_SENSOR_ID, "Whose value it is.")),
    _reading(
        "LabelledReading",
        "name",
        name=_text(MAX_NAME, "What is measured. The sensor's id is made from name, field and labels."),
        field=_text(MAX_NAME, "Which of several values that are measured together."),
        labels={
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": _text(MAX_LABEL_NAME, "Name of a label."),
            "additionalProperties": _text(MAX_LABEL_VALUE, "Its value."),
            "description": "Where and of what, such as room and device.",
        },
    ),
]
_EXAMPLES = {
    "plain": {
        "summary": "A sensor with an id",
        "value": [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}],
    },
    "labelled": {
        "summary": "A series with a name and labels",
        "value": [
            {
                "name": "temperature",
                "labels": {"room": "kitchen", "floor": "1"},
                "timestamp": "2025-10-22T21:00:00Z",
                "value": 25.3,
            }
        ],
    },
}
_JSON = {
    "schema": {"oneOf": [{"type": "array", "minItems": 1, "items": {"oneOf": _READINGS}}, *_READINGS]},
    "examples": _EXAMPLES,
}
_LINES = {
    "schema": {"type": "string", "description": "Readings as in JSON, one a line."},
    "example": '{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}\n',
}
_COLUMNS = {
    "rows": {
        "summary": "A reading in each row",
        "value": "sensor_id: utf8; timestamp: timestamp[us, tz=UTC]; value: double",
    },
    "labelled": {
        "summary": "Series with a name and labels",
        "value": "name: utf8; labels.room: utf8; timestamp: timestamp[us, tz=UTC]; value: double",
    },
    "wide": {
        "summary": "A column for each sensor, with layout=wide",
        "value": "timestamp: timestamp[us, tz=UTC]; sensor-1: double; sensor-2: double",
    },
}
"""Schemas, since a document cannot show the bytes of these formats."""
_OTHERS = {
    **dict.fromkeys(ndjson.MEDIA_TYPES, _LINES),
    csv.MEDIA_TYPE: {
        "schema": {"type": "string", "description": "RFC 4180 in UTF-8, with a header."},
        "examples": {
            "rows": {
                "summary": "A reading in each row",
                "value": "sensor_id,timestamp,value\r\nsensor-1,2025-10-22T21:00:00Z,25.3\r\n",
            },
            "labelled": {
                "summary": "Series with a name and labels",
                "value": "name,labels.room,timestamp,value\r\ntemperature,kitchen,2025-10-22T21:00:00Z,25.3\r\n",
            },
            "wide": {
                "summary": "A column for each sensor, with layout=wide",
                "value": "timestamp,sensor-1,sensor-2\r\n2025-10-22T21:00:00Z,25.3,\r\n",
            },
        },
    },
    arrow.MEDIA_TYPE: {
        "schema": {"type": "string", "format": "binary", "description": "Arrow's IPC stream of these columns."},
        "examples": _COLUMNS,
    },
    parquet.MEDIA_TYPE: {
        "schema": {"type": "string", "format": "binary", "description": "A Parquet file of these columns."},
        "examples": _COLUMNS,
    },
}
