"""Type hints to JSON Schema (draft 2020-12, the one that the library's validator follows).

Named types (dataclasses, TypedDicts, NamedTuples, pydantic models, aliases) go to `$defs`, so a type may
contain itself. `format` is told to whoever writes the arguments; the library does not check it, the reader
of the value does.
"""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import typing
import uuid
from typing import Any

from . import _hints, _json
from ._hints import MISSING, Field, Scope, Unsupported

__all__ = ["SchemaWriter"]

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}]},
    bytes: {"type": "string", "contentEncoding": "base64"},
}

_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


class SchemaWriter:
    """Writes the schemas of one handler's parameters and collects the definitions that they refer to."""

    def __init__(self, scope: Scope) -> None:
        self.definitions: dict[str, Any] = {}
        self._scope = scope
        self._names: dict[Any, str] = {}

    def describe(
        self, hint: Any, *, default: Any = MISSING, description: str | None = None
    ) -> dict[str, Any]:
        """The schema of one hint, with a default where JSON can say it. Raises Unsupported."""
        schema = dict(self._schema(hint))
        description = _hints.description_of(hint) or description
        if description:
            schema["description"] = description
        if default is None and not self._takes_null(schema):
            default = MISSING  # `def f(x: int = None)`: null itself would be refused
        if default is not MISSING:
            try:
                said = _json.loads(_json.dumps(default))
            except TypeError:
                pass  # no JSON, so only Python knows it
            else:
                if said is not None or default is None:  # not NaN
                    schema["default"] = said
        return schema

    def _takes_null(self, schema: dict[str, Any]) -> bool:
        return not schema.keys() - {"description"} or {"type": "null"} in [schema, *schema.get("anyOf", ())]

    def _schema(self, hint: Any) -> dict[str, Any]:
        if _hints.is_pydantic(hint):
            return self._pydantic(hint)
        hint = _hints.stripped(hint)
        if _hints.is_pydantic(hint):
            return self._pydantic(hint)
        try:
            if hint in _PLAIN:
                return _PLAIN[hint]
        except TypeError:
            pass
        form = _hints.form_of(hint)
        if form in ("Union", "Optional"):
            return self._union(typing.get_args(hint))
        if form == "Literal":
            return self._values(_literal_values(hint))
        if hasattr(hint, "__value__") and hasattr(hint, "__type_params__"):
            return self._named(hint, hint.__name__)
        container = _hints.container_of(hint)
        if container is not None:
            return self._container(hint, container)
        if isinstance(hint, type):
            if issubclass(hint, enum.Enum):
                return self._values([value for _kind, value in _hints.enum_values(hint)])
            if issubclass(hint, pathlib.PurePath):
                return {"type": "string", "format": "path"}
            record = _hints.is_typed_dict(hint) or _hints.is_named_tuple(hint)
            if record or dataclasses.is_dataclass(hint):
                return self._named(hint, hint.__name__)
        raise Unsupported(f"{_hints.hint_text(hint)} has no JSON Schema")

    def _union(self, members: tuple[Any, ...]) -> dict[str, Any]:
        schemas: list[dict[str, Any]] = []
        for member in members:
            schema = self.describe(member)
            if not schema:
                return {}
            if schema not in schemas:
                schemas.append(schema)
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _values(self, values: list[Any]) -> dict[str, Any]:
        types = {_JSON_TYPES[type(value)] for value in values}
        return {"type": types.pop(), "enum": values} if len(types) == 1 else {"enum": values}

    def _container(self, hint: Any, container: type) -> dict[str, Any]:
        members = _hints.members_of(hint)
        if container is dict:
            values = self.describe(members[0])
            return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
        if container is tuple and (len(members) != 2 or members[1] is not ...):
            size = len(members)
            fixed: dict[str, Any] = {"type": "array", "minItems": size, "maxItems": size}
            return {**fixed, "prefixItems": [self.describe(member) for member in members]} if size else fixed
        items = self.describe(members[0])
        schema = {"type": "array", "items": items} if items else {"type": "array"}
        return {**schema, "uniqueItems": True} if container in (set, frozenset) else schema

    def _named(self, hint: Any, name: str) -> dict[str, Any]:
        if hint not in self._names:
            name = self._free_name(name)
            self._names[hint] = name
            self.definitions[name] = {}  # taken: what follows may refer to it
            if hasattr(hint, "__value__"):
                body = self.describe(hint.__value__)
            elif _hints.is_named_tuple(hint):
                body = self._named_tuple(_hints.record_fields(hint, self._scope))
            else:
                body = self.object_of(_hints.record_fields(hint, self._scope))
                text = _class_description(hint)
                if text:
                    body = {"type": "object", "description": text, **body}
            self.definitions[name] = body
        return {"$ref": f"#/$defs/{self._names[hint]}"}

    def object_of(self, fields: tuple[Field, ...]) -> dict[str, Any]:
        """A closed object of these fields."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {
                field.name: self.describe(field.hint, default=field.default, description=field.description)
                for field in fields
            },
        }
        required = [field.name for field in fields if field.required]
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False
        return schema

    def _named_tuple(self, fields: tuple[Field, ...]) -> dict[str, Any]:
        items = [
            {"title": field.name, **self.describe(field.hint, default=field.default)} for field in fields
        ]
        required = sum(field.required for field in fields)
        return {"type": "array", "prefixItems": items, "minItems": required, "maxItems": len(items)}

    def _free_name(self, name: str) -> str:
        # What stands in a reference as it is, without escapes of JSON Pointer or of URIs.
        name = "".join(char if char.isascii() and (char.isalnum() or char in "_-.") else "_" for char in name)
        free, count = name, 1
        while free in self.definitions:
            count += 1
            free = f"{name}_{count}"
        return free

    def _pydantic(self, hint: Any) -> dict[str, Any]:
        if isinstance(hint, type) and hint in self._names:
            return {"$ref": f"#/$defs/{self._names[hint]}"}
        import pydantic

        try:
            schema = pydantic.TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
        except Exception as error:
            raise Unsupported(f"pydantic makes no schema of it: {error}") from error
        definitions: dict[str, Any] = schema.pop("$defs", {})
        names: dict[str, str] = {}
        for name, body in definitions.items():
            # Equal bodies may still refer to others that differ, so only what pydantic made in one go
            # shares a name.
            names[name] = self._free_name(name)
            self.definitions[names[name]] = body
        for name in names.values():
            self.definitions[name] = _renamed(self.definitions[name], names)
        schema = _renamed(schema, names)
        if isinstance(hint, type):
            reference = schema.get("$ref", "")
            if schema.keys() == {"$ref"} and reference.startswith("#/$defs/"):
                self._names[hint] = reference[len("#/$defs/") :]
            else:
                self._names[hint] = name = self._free_name(hint.__name__)
                self.definitions[name] = schema
            return {"$ref": f"#/$defs/{self._names[hint]}"}
        return typing.cast("dict[str, Any]", schema)


def _literal_values(hint: Any) -> list[Any]:
    values: list[Any] = []
    for value in typing.get_args(hint):
        plain = value.value if isinstance(value, enum.Enum) else value
        if type(plain) not in _JSON_TYPES:
            raise Unsupported(f"the literal {value!r} is no text, number, bool or None")
        values.append(plain)
    return values


def _class_description(cls: Any) -> str | None:
    text = cls.__doc__
    # dataclass() writes the signature where there is no docstring, and TypedDict inherits that of dict.
    if not text or text.startswith(f"{cls.__name__}(") or text == dict.__doc__:
        return None
    return inspect.cleandoc(text).split("\n\n")[0].replace("\n", " ")


def _renamed(schema: Any, names: dict[str, str], key: str = "") -> Any:
    """A copy with the references (also those of a discriminator's mapping) to the new names of
    definitions."""
    if isinstance(schema, dict):
        return {
            name: _renamed(item, names, key if key == "mapping" else name) for name, item in schema.items()
        }
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if key in ("$ref", "mapping") and isinstance(schema, str) and schema.startswith("#/$defs/"):
        name = schema[len("#/$defs/") :]
        return f"#/$defs/{names.get(name, name)}"
    return schema
