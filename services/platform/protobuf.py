"""Protobuf messages described in Python: what is not named is skipped, and nothing is generated."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "BOOL",
    "BYTES",
    "DOUBLE",
    "FIXED64",
    "INT32",
    "INT64",
    "SFIXED64",
    "STRING",
    "UINT32",
    "Field",
    "messages",
]

_Proto = descriptor_pb2.FieldDescriptorProto
BYTES, DOUBLE, INT32, INT64 = _Proto.TYPE_BYTES, _Proto.TYPE_DOUBLE, _Proto.TYPE_INT32, _Proto.TYPE_INT64
STRING, UINT32, BOOL = _Proto.TYPE_STRING, _Proto.TYPE_UINT32, _Proto.TYPE_BOOL
FIXED64, SFIXED64 = _Proto.TYPE_FIXED64, _Proto.TYPE_SFIXED64


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: its own.
        kind: a type of this module, or the name of a message.
        repeated: whether it may come more than once.
        oneof: of which fields only one is there; one alone in it is there or not, whatever its value.
    """

    number: int
    kind: Any
    repeated: bool = False
    oneof: str | None = None


def messages(name: str, described: Mapping[str, Mapping[str, Field]]) -> Mapping[str, Any]:
    """Return the classes of messages by their names.

    Args:
        name: of the file that would describe them, unlike any other's.
        described: the fields of each message by their names.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"millrace/{name}.proto", package="millrace", syntax="proto3")
    for message, fields in described.items():
        made = file.message_type.add(name=message)
        oneofs = list(dict.fromkeys(field.oneof for field in fields.values() if field.oneof is not None))
        for oneof in oneofs:
            made.oneof_decl.add(name=oneof)
        for field_name, field in fields.items():
            label = _Proto.LABEL_REPEATED if field.repeated else _Proto.LABEL_OPTIONAL
            of_message = isinstance(field.kind, str)
            kind = _Proto.TYPE_MESSAGE if of_message else field.kind
            added = made.field.add(name=field_name, number=field.number, type=kind, label=label)
            if of_message:
                added.type_name = f".millrace.{field.kind}"
            if field.oneof is not None:
                added.oneof_index = oneofs.index(field.oneof)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"millrace.{message}") for message in described)
    return {each.name: message_factory.GetMessageClass(each) for each in found}
