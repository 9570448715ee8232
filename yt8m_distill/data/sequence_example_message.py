"""`tf.train.SequenceExample` as a protocol buffer message, without TensorFlow, whose import takes long."""

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_PACKAGE = "yt8m_distill.example"
_Field = descriptor_pb2.FieldDescriptorProto
_ONE, _REPEATED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED


@functools.cache
def message_class() -> type[Message]:
    """The class of the message.

    Source: `tensorflow/core/example/example.proto` and `feature.proto`.

    Example:
        >>> message_class()().SerializeToString()
        b''
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.SequenceExample"))


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="yt8m_distill/example.proto", package=_PACKAGE, syntax="proto3")
    kinds = {"Bytes": _Field.TYPE_BYTES, "Float": _Field.TYPE_FLOAT, "Int64": _Field.TYPE_INT64}
    for name, kind in kinds.items():
        _add(file, f"{name}List").field.add(name="value", number=1, label=_REPEATED, type=kind)
    feature = _add(file, "Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(kinds, 1):
        _add_message(feature, f"{name.lower()}_list", number, f"{name}List").oneof_index = 0
    _add_map(_add(file, "Features"), "feature", "Feature")
    _add_message(_add(file, "FeatureList"), "feature", 1, "Feature", _REPEATED)
    _add_map(_add(file, "FeatureLists"), "feature_list", "FeatureList")
    whole = _add(file, "SequenceExample")
    _add_message(whole, "context", 1, "Features")
    _add_message(whole, "feature_lists", 2, "FeatureLists")
    return file


def _add(file: descriptor_pb2.FileDescriptorProto, name: str) -> descriptor_pb2.DescriptorProto:
    return file.message_type.add(name=name)


def _add_message(owner: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str, label: int = _ONE) -> _Field:
    """Adds a field that is a message itself."""
    type_name = f".{_PACKAGE}.{kind}"
    return owner.field.add(name=name, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=type_name)


def _add_map(owner: descriptor_pb2.DescriptorProto, name: str, kind: str):
    """Adds a map of texts to messages."""
    entry = owner.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_ONE, type=_Field.TYPE_STRING)
    _add_message(entry, "value", 2, kind)
    _add_message(owner, name, 1, f"{owner.name}.{entry.name}", _REPEATED)
