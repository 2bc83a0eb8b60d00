"""Who may do what: anonymous, htpasswd users, static tokens, registry tokens; what is challenged and how."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher

from smidgen_deltas.errors import Denied, SettingsError, Unauthorized
from smidgen_server.index.base import Index
from smidgen_server.index.repos import ensure_repo
from smidgen_server.services.auth import Auth, CredentialsInvalid, LoginNeeded
from smidgen_server.services.passwords import Passwords
from smidgen_server.services.tokens import Access, Claims, TokenInvalid, TokenIssuer
from smidgen_server.settings import Settings
from support.server import RunningServer, run_server

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
CI = "a static token of the build machine"


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"# users\nalice:{CHEAP.hash('wonderland')}\n\nbob:{CHEAP.hash('builder')}\n")
    return {
        "htpasswd": passwords,
        "users": [{"name": "bob", "repos": ["oci/bob/*"], "actions": ["pull", "push"]}],
        "tokens": [
            {
                "name": "ci",
                "sha256": hashlib.sha256(CI.encode()).hexdigest(),
                "repos": ["oci/ci", "ostree/os"],
                "actions": ["push"],
            }
        ],
    }


@pytest.fixture
def auth(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Auth]:
    data = tmp_path / "data"
    data.mkdir()
    index = Index(f"sqlite:///{data}/index.sqlite")
    index.upgrade()
    with index.session() as session:
        ensure_repo(session, "oci", "open", public=True)
        ensure_repo(session, "oci", "closed", public=False)
        ensure_repo(session, "oci", "bob/closed", public=False)
    yield Auth(Settings(data=data, auth=settings), index)
    index.close()


def allowed(auth: Auth, headers: dict[str, str], repo: str) -> str:
    """What these headers may do on "kind/name", as letters of pull, push, delete and (capital) admin."""
    principal = auth.authenticate(headers)
    kind, _, name = repo.partition("/")
    letters = {"pull": "l", "push": "s", "delete": "d", "admin": "A"}
    return "".join(
        letters[action]
        for action in letters
        if auth.allowed(principal, kind, name, action)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("headers", "repo", "expected"),
    [
        ({}, "oci/open", "l"),
        ({}, "oci/new", "l"),
        ({}, "oci/closed", ""),
        (basic("alice", "wonderland"), "oci/closed", "lsd"),
        (basic("alice", "wonderland"), "ostree/any", "lsd"),
        (basic("bob", "builder"), "oci/closed", ""),
        (basic("bob", "builder"), "oci/open", "l"),
        (basic("bob", "builder"), "oci/bob/closed", "ls"),
        (basic("bob", "builder"), "ostree/bob/x", "l"),
        (bearer(CI), "oci/ci", "ls"),
        (bearer(CI), "oci/ci2", "l"),
        (bearer(CI), "oci/closed", ""),
        (basic("whoever", CI), "ostree/os", "ls"),
    ],
)
def test_rights(auth: Auth, headers: dict[str, str], repo: str, expected: str) -> None:
    assert allowed(auth, headers, repo) == expected


def test_the_admin_token_is_made_once_and_kept_private(auth: Auth, tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    assert len(token) >= 40
    assert allowed(auth, bearer(token), "oci/closed") == "lsdA"
    assert allowed(auth, basic("admin", token), "ostree/x") == "lsdA"


@pytest.mark.parametrize(
    "headers",
    [
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("nobody", "wonderland"),
        bearer("unknown"),
        bearer(""),
        bearer("a.b.c"),
        bearer("é.b.c"),
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"authorization": "Digest x"},
        {"authorization": "Bearer " + "x" * 20_000},
        {"authorization": ""},
    ],
)
def test_wrong_credentials_are_never_taken_for_anonymous(auth: Auth, headers: dict[str, str]) -> None:
    with pytest.raises((CredentialsInvalid, TokenInvalid)) as failure:
        auth.authenticate(headers)
    assert failure.value.status == 401
    assert "wonderland" not in str(failure.value)


def test_what_is_missing_is_said_in_the_right_way(auth: Auth) -> None:
    with pytest.raises(LoginNeeded):
        auth.require(auth.anonymous, "oci", "open", "push")
    with pytest.raises(Denied) as failure:
        auth.require(auth.authenticate(basic("bob", "builder")), "oci", "open", "push")
    assert failure.value.status == 403
    assert failure.value.detail["who"] == "bob"


def test_anonymous_push_only_when_asked_for(tmp_path: Path, auth: Auth) -> None:
    assert allowed(auth, {}, "oci/open") == "l"
    index = Index(f"sqlite:///{tmp_path}/data/index.sqlite")
    open_auth = Auth(Settings(data=tmp_path / "data", auth={"anonymous_push": True}), index)  # type: ignore[arg-type]
    assert allowed(open_auth, {}, "oci/closed") == "lsd"
    index.close()


def test_new_repositories_can_be_private(tmp_path: Path, auth: Auth) -> None:
    index = Index(f"sqlite:///{tmp_path}/data/index.sqlite")
    closed = Auth(Settings(data=tmp_path / "data", auth={"default_public": False}), index)  # type: ignore[arg-type]
    assert allowed(closed, {}, "oci/new") == ""
    assert allowed(closed, {}, "oci/open") == "l"
    index.close()


@pytest.mark.parametrize(
    ("scopes", "access"),
    [
        (["repository:closed:pull,push"], [("closed", ("pull", "push"))]),
        (["repository:a:*"], [("a", ("pull", "push", "delete"))]),
        (["repository:a:admin"], [("a", ())]),
        (["repository:host:5000/a:pull"], [("host:5000/a", ("pull",))]),
        (["repository:a:pull", "repository:b:push"], [("a", ("pull",)), ("b", ("push",))]),
        (["registry:catalog:*", "nonsense", "repository::pull", ""], []),
    ],
)
def test_registry_tokens_carry_what_was_asked_for(auth: Auth, scopes: list[str], access: list[Any]) -> None:
    alice = auth.authenticate(basic("alice", "wonderland"))
    token, claims = auth.issue(alice, scopes)
    assert claims.access == tuple(Access(name, actions) for name, actions in access)
    holder = auth.authenticate(bearer(token))
    assert (holder.name, holder.via) == ("alice", "bearer")
    for name, actions in access:
        for action in ("push", "delete", "admin"):
            assert holder.may(f"oci/{name}", action) == (action in actions)
            assert not holder.may(f"ostree/{name}", action)


def test_registry_tokens_never_exceed_their_holder(auth: Auth) -> None:
    token, claims = auth.issue(auth.anonymous, ["repository:open:pull,push", "repository:closed:pull"])
    assert claims.access == (Access("open", ("pull",)), Access("closed", ()))
    holder = auth.authenticate(bearer(token))
    assert auth.allowed(holder, "oci", "open", "pull")
    assert not auth.allowed(holder, "oci", "closed", "pull")
    with pytest.raises(LoginNeeded):
        auth.require(holder, "oci", "open", "push")


def test_patterns_in_scopes_are_taken_literally(auth: Auth) -> None:
    alice = auth.authenticate(basic("alice", "wonderland"))
    holder = auth.authenticate(bearer(auth.issue(alice, ["repository:*:push", "repository:[ab]:push"])[0]))
    assert not holder.may("oci/anything", "push")
    assert not holder.may("oci/a", "push")


NOW = 1_800_000_000
ISSUER = TokenIssuer("x" * 32, "smidgen")
GOOD = ISSUER.issue(Claims("alice", (Access("a", ("pull",)),), NOW, NOW + 300))


def test_a_good_registry_token() -> None:
    assert ISSUER.check(GOOD, NOW + 100) == Claims("alice", (Access("a", ("pull",)),), NOW, NOW + 300)


def forged(header: dict[str, Any], issuer: TokenIssuer) -> str:
    """A token with another header but a right signature of `issuer` over it."""
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    signed = f"{encoded}.{GOOD.split('.')[1]}"
    return f"{signed}.{base64.urlsafe_b64encode(issuer._signature(signed)).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    ("token", "now"),
    [
        (GOOD, NOW + 300 + 31),
        (GOOD, NOW - 61),
        (GOOD[:-2] + ("AA" if not GOOD.endswith("AA") else "BB"), NOW),
        (GOOD.rsplit(".", 1)[0] + ".", NOW),
        ("." + GOOD.split(".", 1)[1], NOW),
        ("..", NOW),
        (forged({"alg": "none", "typ": "JWT"}, ISSUER), NOW),
        (forged({"alg": "HS256", "typ": "JWT"}, TokenIssuer("y" * 32, "smidgen")), NOW),
        (TokenIssuer("x" * 32, "other").issue(Claims("alice", (), NOW, NOW + 300)), NOW),
        ("a" * 9000 + ".b.c", NOW),
    ],
)
def test_bad_registry_tokens(token: str, now: int) -> None:
    with pytest.raises(TokenInvalid):
        ISSUER.check(token, now)


def test_a_changed_password_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{CHEAP.hash('old')}\n")
    passwords = Passwords(path)
    assert passwords.check("alice", "old")
    assert passwords.check("alice", "old")  # from memory
    assert not passwords.check("alice", "new")
    path.write_text(f"alice:{CHEAP.hash('new')}\n")
    os.utime(path, (1, 1))
    assert not passwords.check("alice", "old")
    assert passwords.check("alice", "new")
    path.write_text("")
    assert not passwords.check("alice", "new")


@pytest.mark.parametrize("line", ["alice:plain", "alice:$apr1$x$y", "alice", ":$argon2id$x", "alice:{SHA}abc="])
def test_weak_and_malformed_lines_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"bob:{CHEAP.hash('x')}\n{line}\n")
    with pytest.raises(SettingsError) as failure:
        Passwords(path)
    assert failure.value.detail["line"] == 2


def test_bcrypt_lines_need_the_package(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("alice:$2b$04$9SBSv9dhDwEiF6wBHwr4kOxPZ2jP2s0DdFJ6JqJ1q8gkWk8tUpQyG\n")
    try:
        import bcrypt
    except ModuleNotFoundError:
        with pytest.raises(SettingsError, match="package `bcrypt`"):
            Passwords(path)
        return
    path.write_text(f"alice:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}\n")
    assert Passwords(path).check("alice", "x")
    assert not Passwords(path).check("alice", "y")


def test_a_missing_password_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="auth.htpasswd"):
        Passwords(tmp_path / "none")


@pytest.fixture
def server(tmp_path: Path, settings: dict[str, Any]) -> Iterator[RunningServer]:
    with run_server(tmp_path / "served", auth=settings) as running:
        yield running


def test_login_over_http(server: RunningServer) -> None:
    with server.anonymous() as client:
        probe = client.get("/v2/")
        assert probe.status_code == 401
        assert probe.headers["www-authenticate"] == f'Bearer realm="{server.url}/v2/token",service="smidgen"'
        assert probe.json()["errors"][0]["code"] == "UNAUTHORIZED"
        answer = client.get(
            "/v2/token", params={"service": "smidgen", "scope": "repository:a:pull,push"}, auth=("alice", "wonderland")
        )
        body = answer.json()
        assert body["token"] == body["access_token"]
        assert body["expires_in"] == 300
        assert abs(time.mktime(time.strptime(body["issued_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 100_000
        assert answer.headers["cache-control"] == "no-store"
        assert client.get("/v2/", headers=bearer(body["token"])).status_code == 200
        assert client.get("/v2/", auth=("alice", "wonderland")).status_code == 200


def test_several_scopes(server: RunningServer) -> None:
    with server.anonymous() as client:
        given = [("scope", "repository:a:pull,push"), ("scope", "repository:b:pull repository:c:push")]
        token = client.get("/v2/token", params=given, auth=("alice", "wonderland")).json()["token"]
    holder = server.services.auth.authenticate(bearer(token))
    assert [holder.may(f"oci/{name}", "push") for name in "abc"] == [True, False, True]


def test_password_grant(server: RunningServer) -> None:
    form = {"grant_type": "password", "username": "alice", "password": "wonderland", "scope": "repository:a:push"}
    with server.anonymous() as client:
        token = client.post("/v2/token", data=form).json()["access_token"]
        assert client.get("/v2/", headers=bearer(token)).status_code == 200
        wrong = client.post("/v2/token", data={**form, "password": "x"})
        assert wrong.status_code == 401
        assert wrong.headers["www-authenticate"].startswith("Basic ")
        assert client.post("/v2/token", data={"grant_type": "refresh_token"}).status_code == 400
        assert client.post("/v2/token", content=b"x" * 20_000).status_code == 413


def test_wrong_password_at_the_token_endpoint(server: RunningServer) -> None:
    with server.anonymous() as client:
        answer = client.get("/v2/token", auth=("alice", "x"))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="smidgen"'


def test_the_address_in_the_challenge_can_be_set(tmp_path: Path) -> None:
    with run_server(tmp_path / "data", public_url="https://images.example") as running, running.anonymous() as client:
        assert 'realm="https://images.example/v2/token"' in client.get("/v2/").headers["www-authenticate"]


def test_forwarded_headers_are_believed_only_from_trusted_proxies(tmp_path: Path) -> None:
    given = {"X-Forwarded-Proto": "https", "Host": "images.example"}
    for number, (trusted, scheme) in enumerate([("", "http"), ("127.0.0.1", "https"), ("192.0.2.1", "http")]):
        with run_server(tmp_path / str(number), trusted_proxies=trusted) as running:
            challenge = httpx2.get(f"{running.url}/v2/", headers=given).headers["www-authenticate"]
        assert f'realm="{scheme}://images.example/v2/token"' in challenge


def test_visibility_is_set_by_admins_only(server: RunningServer) -> None:
    with server.client() as admin, server.anonymous() as client:
        assert client.put("/api/v1/repos/oci/team/app", json={"public": False}).status_code == 401
        denied = client.put("/api/v1/repos/oci/team/app", json={"public": False}, auth=("alice", "wonderland"))
        assert denied.status_code == 403
        assert admin.put("/api/v1/repos/oci/team/app", json={"public": False}).status_code == 204
        assert not server.services.auth.allowed(server.services.auth.anonymous, "oci", "team/app", "pull")
        assert admin.put("/api/v1/repos/oci/team/app", json={"public": True}).status_code == 204
        assert server.services.auth.allowed(server.services.auth.anonymous, "oci", "team/app", "pull")
        for wrong in ({}, {"public": "perhaps"}, {"public": True, "x": 1}):
            answer = admin.put("/api/v1/repos/oci/team/app", json=wrong)
            assert answer.status_code == 400
            assert answer.json()["error"]["detail"]["problems"]


def test_unauthorized_is_one_class_for_all() -> None:
    assert issubclass(LoginNeeded, Unauthorized)
    assert issubclass(CredentialsInvalid, Unauthorized)
    assert issubclass(TokenInvalid, Unauthorized)
