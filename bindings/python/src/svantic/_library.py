"""Finds and loads the shared library, once a process, and declares the functions that this package calls."""

from __future__ import annotations

import os
import sys
from typing import Any

ABI_VERSION = 1
"""The version of the C interface that this package is written for."""

_FILE_NAMES = {"darwin": "libsvantic.dylib", "win32": "svantic.dll"}


def _refuse_subinterpreters() -> None:
    """The library's state, its exit handler and its daemon threads belong to the process, not to one
    interpreter."""
    from importlib import import_module

    for name in ("_interpreters", "_xxsubinterpreters"):  # the first from 3.13 on
        try:
            interpreters: Any = import_module(name)
            break
        except ImportError:
            pass
    else:
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "svantic cannot be used in a subinterpreter: its library has one state for the process. "
            "Use it in the main interpreter, or in a process of its own (multiprocessing with spawn)"
        )


_refuse_subinterpreters()

import ctypes  # noqa: E402  (in a subinterpreter it fails with a text that explains nothing)

_handle, _ms, _tag = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p
_out_string = ctypes.POINTER(ctypes.c_void_p)
_status = ctypes.c_int32

# Owned strings are c_void_p: a c_char_p would be turned into bytes, and the pointer to free would be lost.
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "svantic_abi_version": (ctypes.c_uint32, []),
    "svantic_version": (ctypes.c_char_p, []),
    "svantic_status_name": (ctypes.c_char_p, [ctypes.c_int32]),
    "svantic_last_error": (ctypes.c_char_p, []),
    "svantic_string_free": (None, [ctypes.c_void_p]),
    "svantic_shutdown": (_status, [_ms]),
    "svantic_create": (_status, [ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]),
    "svantic_free": (None, [_handle]),
    "svantic_define_capability": (_status, [_handle, ctypes.c_char_p, *[ctypes.c_void_p] * 3]),
    "svantic_network_changed": (_status, [_handle]),
    "svantic_connect_async": (_status, [_handle, _ms, ctypes.c_void_p, _tag]),
    "svantic_disconnect_async": (_status, [_handle, _ms, ctypes.c_void_p, _tag]),
    "svantic_refresh_token": (_status, [_handle, ctypes.c_char_p, _ms]),
    "svantic_refresh_token_async": (_status, [_handle, ctypes.c_char_p, _ms, ctypes.c_void_p, _tag]),
    "svantic_re_register_async": (_status, [_handle, _ms, ctypes.c_void_p, _tag]),
    "svantic_create_session_async": (_status, [_handle, ctypes.c_char_p, _ms, ctypes.c_void_p, _tag]),
    "svantic_close_session_async": (_status, [_handle, ctypes.c_char_p, _ms, ctypes.c_void_p, _tag]),
    "svantic_get_state": (_status, [_handle, ctypes.POINTER(ctypes.c_int32)]),
    "svantic_get_connected": (_status, [_handle, ctypes.POINTER(ctypes.c_bool)]),
    "svantic_get_svantic_url": (_status, [_handle, _out_string]),
    "svantic_get_token": (_status, [_handle, _out_string]),
    "svantic_get_deployment_mode": (_status, [_handle, _out_string]),
    "svantic_get_instance_id": (_status, [_handle, _out_string]),
    "svantic_get_agent_card": (_status, [_handle, _out_string]),
    "svantic_get_snapshot": (_status, [_handle, _out_string]),
    # All that it writes is one structure on this side, so its parts are addresses.
    "svantic_next_flat": (
        _status,
        [_handle, ctypes.c_uint32, _ms, *[ctypes.c_void_p] * 5],
    ),
    "svantic_notify_fd": (_status, [_handle, ctypes.POINTER(ctypes.c_int)]),
    "svantic_answer_batch": (
        _status,
        [_handle, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint32)],
    ),
    "svantic_cancel": (_status, [_handle, _tag]),
    "svantic_serve_async": (
        _status,
        [_handle, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, _tag],
    ),
    "svantic_last_error_json": (ctypes.c_char_p, []),
    "svantic_verify_dispatch_auth": (_status, [ctypes.c_char_p, ctypes.c_char_p, _out_string]),
    "svantic_parse_traceparent": (_status, [ctypes.c_char_p, _out_string]),
    "svantic_parse_baggage": (_status, [ctypes.c_char_p, _out_string]),
}

_loaded: ctypes.CDLL | None = None


def library_path() -> str:
    """Where the shared library is: ``SVANTIC_LIBRARY``, else beside this package."""
    chosen = os.environ.get("SVANTIC_LIBRARY")
    if chosen:
        return os.path.abspath(chosen)
    return os.path.join(
        os.path.dirname(os.path.realpath(__file__)), _FILE_NAMES.get(sys.platform, "libsvantic.so")
    )


def library() -> ctypes.CDLL:
    """The loaded library, with every function that this package calls declared.

    Any thread. Raises ImportError when there is none, or none that fits this package.
    """
    return _loaded if _loaded is not None else _load()


def take_string(pointer: ctypes.c_void_p) -> bytes:
    """The bytes of a string that the library handed out, which is freed."""
    address = pointer.value
    if not address:
        return b""
    try:
        return ctypes.string_at(address)
    finally:
        library().svantic_string_free(address)


def _load() -> ctypes.CDLL:
    global _loaded
    path = library_path()
    try:
        loaded = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(
            f"libsvantic cannot be loaded from {path}: {error}. "
            "Install the package for this platform, or set SVANTIC_LIBRARY to the library's path"
        ) from error
    if not hasattr(loaded, "svantic_abi_version"):
        raise ImportError(
            f"{path} is another library than libsvantic: it has no svantic_abi_version. Set SVANTIC_LIBRARY to the right path"
        )
    declare(loaded)
    found = loaded.svantic_abi_version()
    if found != ABI_VERSION:
        raise ImportError(
            f"{path} has the ABI version {found}, and this package needs {ABI_VERSION}. "
            "Install the package and the library of one release"
        )
    _loaded = loaded
    _end_at_exit(loaded)
    return loaded


def declare(loaded: ctypes.CDLL) -> None:
    """Sets argument and result types, without which ctypes would cut pointers to 32 bits."""
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name, None)
        if (
            function is not None
        ):  # one that an older library of this ABI lacks is an AttributeError where it is called
            function.restype, function.argtypes = result, arguments


def _end_at_exit(loaded: ctypes.CDLL) -> None:
    import atexit

    loader = os.getpid()

    def end() -> None:
        # A forked child runs this handler too, and the library is not its own.
        if os.getpid() == loader:
            loaded.svantic_shutdown(2000)

    atexit.register(end)
