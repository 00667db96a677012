"""verify_dispatch_auth with the real library. The tokens are made here, by hmac, hashlib and base64."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import svantic.dispatch_auth
from svantic.dispatch_auth import DispatchAuth, verify_dispatch_auth
from svantic.errors import AuthError, DispatchAuthVerifyError, InvalidArgumentError

SECRET = "hush: schlüssel"
_ids = (f"d{number}" for number in itertools.count())


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": "svantic-mesh",
        "aud": "agent:i1",
        "tenant_id": "t1",
        "agent_type": "desk",
        "instance_id": "i1",
        "dispatch_id": next(_ids),
        "exp": int(time.time()) + 300,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def part(value: Mapping[str, Any] | str) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(
    payload: Mapping[str, Any] | str, header: Mapping[str, Any] | None = None, secret: str = SECRET
) -> str:
    parts = f"{part({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{part(payload)}"
    mac = hmac.new(secret.encode(), parts.encode(), hashlib.sha256).digest()
    return f"{parts}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def data(token: Any, scheme: Any = "svantic_jwt") -> dict[str, Any]:
    return {"skill_id": "find_order", "args": {}, "svantic_auth": {"scheme": scheme, "token": token}}


def verify(part_of_request: Any, **more: Any) -> DispatchAuth:
    options: dict[str, Any] = {
        "instance_id": "i1",
        "signing_secret": SECRET,
        "shared_secret": "hush-shared",
        **more,
    }
    return verify_dispatch_auth(part_of_request, **options)


def refusal(part_of_request: Any, **more: Any) -> DispatchAuthVerifyError:
    with pytest.raises(DispatchAuthVerifyError) as raised:
        verify(part_of_request, **more)
    return raised.value


def test_a_good_token_says_whose_dispatch_it_is() -> None:
    good = claims()
    assert verify(data(signed(good)), agent_type="desk", tenant_id="t1") == DispatchAuth(
        scheme="svantic_jwt",
        instance_id="i1",
        tenant_id="t1",
        agent_type="desk",
        dispatch_id=good["dispatch_id"],
        expires_at=good["exp"],
    )


def test_the_context_is_frozen_and_holds_no_secret() -> None:
    context = verify(data(signed(claims())))
    with pytest.raises(AttributeError):
        context.tenant_id = "t2"  # type: ignore[misc]
    assert "hush" not in repr(context) and "eyJ" not in repr(context)


@pytest.mark.parametrize("form", ["mapping", "text", "bytes"])
def test_the_data_part_may_be_a_mapping_a_text_or_bytes(form: str) -> None:
    dispatch = {**data(signed(claims())), "args": {"ä": [1.5, None]}}
    text = json.dumps(dispatch, ensure_ascii=False)
    forms: dict[str, Any] = {"mapping": dispatch, "text": text, "bytes": text.encode()}
    assert verify(forms[form]).scheme == "svantic_jwt"


def test_a_shared_secret_says_nothing_and_stops_no_replay() -> None:
    dispatch = {**data("hush-shared", "shared_secret"), "dispatch_id": "d"}
    expected = DispatchAuth("shared_secret", "i1", None, None, "d", None)
    assert [verify(dispatch), verify(dispatch)] == [expected, expected]


@pytest.mark.parametrize(
    ("code", "dispatch"),
    [
        ("missing_envelope", {}),
        ("missing_envelope", {"svantic_auth": None}),
        ("malformed_envelope", "no JSON"),
        ("malformed_envelope", b"\xff"),
        ("malformed_envelope", "\ud800"),
        ("malformed_envelope", json.dumps(data("hush-shared", "shared_secret")) + "\0"),
        ("malformed_envelope", json.dumps(data("hush-shared", "shared_secret")).encode() + b"\0{"),
        (
            "malformed_envelope",
            '{"svantic_auth":{"scheme":"svantic_jwt","scheme":"shared_secret","token":"hush-shared"}}',
        ),
        ("malformed_envelope", {"svantic_auth": [1]}),
        ("malformed_envelope", data(None)),
        ("malformed_envelope", data("\ud800")),
        ("malformed_envelope", data("hush")),
        ("malformed_envelope", data(signed(claims()) + "=")),
        ("malformed_envelope", data(signed(claims()) + ".")),
        ("malformed_envelope", data(signed(claims(exp=1e9 + 0.5)))),
        ("malformed_envelope", data(signed(claims(exp=...)))),
        ("malformed_envelope", data(signed(claims(dispatch_id=...)))),
        ("malformed_envelope", data(signed(json.dumps(claims())[:-1] + ',"aud":"agent:i1"}'))),
        ("malformed_envelope", {**data(signed(claims())), "args": float("nan")}),
        ("unsupported_scheme", data("hush", "none")),
        ("bad_signature", data(signed(claims(), {"alg": "none"}))),
        ("bad_signature", data(signed(claims(), {"alg": "RS256"}))),
        ("bad_signature", data(signed(claims(), {"alg": "hs256"}))),
        ("bad_signature", data(signed(claims(), secret="hush"))),
        ("expired", data(signed(claims(exp=int(time.time()) - 60)))),
        ("expired", data(signed(claims(exp=int(time.time()) + 3600)))),
        ("expired", data(signed(claims(exp=2**64 - 1)))),
        ("wrong_issuer", data(signed(claims(iss="svаntic-mesh")))),  # noqa: RUF001  (the а is Cyrillic)
        ("wrong_audience", data(signed(claims(aud="agent:i2")))),
        ("wrong_audience", data(signed(claims(aud=["agent:i1", "agent:i2"])))),
        ("wrong_audience", data(signed(claims(instance_id="i2")))),
        ("wrong_audience", {**data(signed(claims(dispatch_id="mine"))), "dispatch_id": "other"}),
        ("secret_mismatch", data("hush-share", "shared_secret")),
        ("secret_mismatch", data("", "shared_secret")),
    ],
)
def test_what_must_not_be_run_is_refused_by_its_code_without_quoting_it(code: str, dispatch: Any) -> None:
    error = refusal(dispatch)
    assert error.code == code
    assert (error.status, error.retryable, isinstance(error, AuthError)) == (24, False, True)
    shown = f"{error} {error!r}"
    assert "hush" not in shown and "eyJ" not in shown


def test_names_that_are_given_are_compared() -> None:
    assert refusal(data(signed(claims())), tenant_id="t2").code == "wrong_audience"
    assert refusal(data(signed(claims())), agent_type="clerk").code == "wrong_audience"
    assert verify(data(signed(claims(tenant_id=...))), tenant_id="t2").tenant_id is None


def test_the_clock_skew_is_in_seconds() -> None:
    late = int(time.time()) - 100
    assert refusal(data(signed(claims(exp=late))), clock_skew_s=30).code == "expired"
    assert verify(data(signed(claims(exp=late))), clock_skew_s=300).expires_at == late


def test_a_scheme_without_its_secret_is_refused() -> None:
    assert refusal(data("hush-shared", "shared_secret"), shared_secret=None).code == "unsupported_scheme"
    assert refusal(data(signed(claims())), signing_secret=None).code == "unsupported_scheme"


def test_a_token_is_good_once() -> None:
    dispatch = data(signed(claims()))
    verify(dispatch)
    assert refusal(dispatch).code == "replayed"
    error = pickle.loads(pickle.dumps(refusal(dispatch)))
    assert (type(error), error.code) == (DispatchAuthVerifyError, "replayed")


def test_of_many_threads_with_one_token_one_is_told_that_it_is_good() -> None:
    dispatch, barrier = data(signed(claims())), threading.Barrier(32)
    outcomes: list[str] = []

    def show() -> None:
        barrier.wait(60)
        try:
            outcomes.append(verify(dispatch).scheme)
        except DispatchAuthVerifyError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=show) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["replayed"] * 31 + ["svantic_jwt"]


def _outcome(dispatch: dict[str, Any]) -> str:
    try:
        return verify(dispatch).scheme
    except DispatchAuthVerifyError as error:
        return error.code


def _outcomes_in_a_fork() -> list[str]:
    known, fresh = data(signed(claims())), data(signed(claims()))
    verify(known)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return [pool.apply_async(_outcome, [dispatch]).get(60) for dispatch in (known, fresh, fresh)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_worker_knows_what_its_parent_accepted_and_remembers_its_own() -> None:
    # Forked from a process without connectors, which this one is not after other tests: there it would be refused.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as parent:
        outcomes = parent.submit(_outcomes_in_a_fork).result(60)
    assert outcomes == ["replayed", "svantic_jwt", "replayed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signing_secret": None, "shared_secret": None}, "`signing_secret` is missing"),
        ({"signing_secret": ""}, "`signing_secret`"),
        ({"instance_id": ""}, "`instance_id`"),
        ({"clock_skew_s": 301}, "`clock_skew_s`"),
        ({"clock_skew_s": -1}, "`clock_skew_s`"),
    ],
)
def test_other_arguments_are_the_callers_mistake(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as raised:
        verify({}, **options)
    assert isinstance(raised.value, ValueError) and "hush" not in str(raised.value)


def test_no_bit_of_a_good_token_can_be_flipped() -> None:
    good = signed(claims())
    for index in range(len(good)):
        for bit in range(8):
            token = bytearray(good.encode())
            token[index] ^= 1 << bit
            code = refusal(data(token.decode("latin-1"))).code
            assert code in ("bad_signature", "malformed_envelope"), (index, bit)
    assert verify(data(good)).scheme == "svantic_jwt"


def test_the_issuer_is_public() -> None:
    assert svantic.dispatch_auth.MESH_DISPATCH_JWT_ISSUER == "svantic-mesh"
