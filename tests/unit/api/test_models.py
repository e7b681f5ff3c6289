"""Requests are strict in every field and at every limit; answers are read whatever is in them."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from airflow_containers.api import (
    Container,
    ContainerPage,
    CreateContainerRequest,
    DeletedContainer,
    DomainSecret,
    ExpiresAfter,
    InlineSkill,
    InlineSkillSource,
    InvalidRequestError,
    NetworkPolicyAllowlist,
    NetworkPolicyDisabled,
    SkillReference,
    validate,
)
from airflow_containers.api.models import (
    MAX_IDLE_MINUTES,
    MAX_INLINE_SKILL_LENGTH,
    MAX_NAME_LENGTH,
    MAX_SECRET_LENGTH,
    MAX_SKILL_ID_LENGTH,
)

CANARY = "canary-5f2e91+/=value"


def short(value: Any) -> str:
    """A test's id that fits on a line."""
    return ascii(value)[:60]


def wire(**fields: Any) -> Any:
    """What a request with these fields sends."""
    return json.loads(validate(CreateContainerRequest, {"name": "n", **fields}).to_wire())


def secret(**fields: Any) -> dict[str, Any]:
    """One domain secret, with some fields changed."""
    return {"domain": "api.example.com", "name": "TOKEN", "value": SecretStr(CANARY), **fields}


def allowlist(*secrets: Any, domains: Any = ("api.example.com",)) -> dict[str, Any]:
    """One allowlist policy."""
    policy: dict[str, Any] = {"type": "allowlist", "allowed_domains": list(domains)}
    return policy | ({"domain_secrets": list(secrets)} if secrets else {})


def inline(**source: Any) -> dict[str, Any]:
    """One inline skill, with some fields of its source changed."""
    whole = {"type": "base64", "media_type": "application/zip", "data": "UEsFBg==", **source}
    return {"type": "inline", "name": "s", "description": "d", "source": whole}


def reference(**fields: Any) -> dict[str, Any]:
    """One skill reference."""
    return {"type": "skill_reference", "skill_id": "skill_1", **fields}


class TestLimits:
    """Each limit, from both sides."""

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "n" * MAX_NAME_LENGTH},
            {"name": "é 漢字 🦆"},
            {"expires_after": {"anchor": "last_active_at", "minutes": 1}},
            {"expires_after": {"minutes": MAX_IDLE_MINUTES}},
            {"file_ids": []},
            {"file_ids": ["file-1", "file-2"]},
            {"memory_limit": "1g"},
            {"memory_limit": "64g"},
            {"network_policy": {"type": "disabled"}},
            {"network_policy": allowlist()},
            {"network_policy": allowlist(secret(value=SecretStr("v")))},
            {"network_policy": allowlist(secret(value=SecretStr("v" * MAX_SECRET_LENGTH)))},
            {"network_policy": allowlist(secret(name="_"), secret(name="a9_Z"))},
            {"skills": []},
            {"skills": [reference(skill_id="s" * MAX_SKILL_ID_LENGTH)]},
            {"skills": [reference(version="1"), reference(version="latest"), reference(version=10**20)]},
            {"skills": [inline(data="AAAA" * (MAX_INLINE_SKILL_LENGTH // 4))]},
        ],
        ids=short,
    )
    def test_the_edge_is_inside(self, fields: dict[str, Any]) -> None:
        """A value exactly at a limit is sent."""
        assert {"name", *fields} == set(wire(**fields))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"name": ""}, "name: got an empty text, expected 1 or more characters"),
            (
                {"name": "n" * (MAX_NAME_LENGTH + 1)},
                "name: got a text of 257 characters, expected at most 256 characters",
            ),
            (
                {"expires_after": {"minutes": 0}},
                "expires_after.minutes: got the number 0, expected 1 or more",
            ),
            (
                {"expires_after": {"minutes": MAX_IDLE_MINUTES + 1}},
                "expires_after.minutes: got the number 21, expected 20 or less",
            ),
            (
                {"network_policy": allowlist(domains=[])},
                "network_policy.allowed_domains: got an empty list, expected 1 or more entries",
            ),
            (
                {"network_policy": {"type": "allowlist", "allowed_domains": ["a.b"], "domain_secrets": []}},
                "network_policy.domain_secrets: got an empty list, expected 1 or more entries",
            ),
            (
                {"network_policy": allowlist(secret(name=""))},
                "network_policy.domain_secrets[0].name: got an empty text, expected 1 or more characters",
            ),
            (
                {"network_policy": allowlist(secret(domain=""))},
                "network_policy.domain_secrets[0].domain: got an empty text, expected 1 or more characters",
            ),
            (
                {"network_policy": allowlist(secret(value=SecretStr("")))},
                "network_policy.domain_secrets[0].value: got an empty secret, expected 1 or more characters",
            ),
            (
                {"network_policy": allowlist(secret(value=SecretStr("v" * (MAX_SECRET_LENGTH + 1))))},
                (
                    "network_policy.domain_secrets[0].value: got a secret of 10485761 characters, "
                    "expected at most 10485760 characters"
                ),
            ),
            (
                {"skills": [reference(skill_id="")]},
                "skills[0].skill_id: got an empty text, expected 1 or more characters",
            ),
            (
                {"skills": [reference(skill_id="s" * (MAX_SKILL_ID_LENGTH + 1))]},
                "skills[0].skill_id: got a text of 65 characters, expected at most 64 characters",
            ),
            (
                {"skills": [inline(data="")]},
                "skills[0].source.data: got an empty text, expected 1 or more characters",
            ),
            (
                {"skills": [inline(data="AAAA" * (MAX_INLINE_SKILL_LENGTH // 4 + 1))]},
                (
                    "skills[0].source.data: got a text of 70254596 characters, "
                    "expected at most 70254592 characters"
                ),
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_one_beyond_is_refused(self, fields: dict[str, Any], message: str) -> None:
        """A value one beyond a limit is refused, with the field's path, its shape and the limit."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(**fields)
        assert message == str(caught.value)

    @pytest.mark.parametrize("version", ["0", "01", "-1", "1.0", "1 ", " latest", "Latest", "", "٣", 0, -1])
    def test_versions_are_positive_integers_or_latest(self, version: Any) -> None:
        """A skill's version that is neither is refused."""
        with pytest.raises(InvalidRequestError, match=r"skills\[0\]\.version: .*expected|is not a version"):
            wire(skills=[reference(version=version)])

    def test_an_integer_version_is_sent_as_text(self) -> None:
        """The document types the version as a text, so an integer becomes one."""
        assert "2" == wire(skills=[reference(version=2)])["skills"][0]["version"]

    @pytest.mark.parametrize("data", ["AAA", "AA=A", "====", "AA==\n", "AA-_", "AAAA AAAA", "é===", "A==="])
    def test_inline_data_is_base64(self, data: str) -> None:
        """Text that no Base64 decoder takes is refused."""
        with pytest.raises(InvalidRequestError, match=r"skills\[0\].source.data: it is not Base64 text"):
            wire(skills=[inline(data=data)])

    @pytest.mark.parametrize("name", ["1A", "A-B", "A B", "A.B", "Ä", "A\n", "$A", "A=B", "A\0"])
    def test_a_secrets_name_can_be_an_environment_variable(self, name: str) -> None:
        """The name of a domain secret that no shell could use is refused, without quoting it."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(network_policy=allowlist(secret(name=name)))
        expected = (
            "network_policy.domain_secrets[0].name: it cannot name an environment variable: "
            "use letters, digits and underscores, and no digit in front"
        )
        assert expected == str(caught.value)

    @pytest.mark.parametrize("text", [" ", "\t", "a\nb", "a\0b", "a\u2028b", "a\u200eb", "\x7f"])
    @pytest.mark.parametrize("field", ["name", "file_ids", "skill_id"])
    def test_names_and_ids_are_printable(self, field: str, text: str) -> None:
        """Blank texts and control characters are refused in names and ids."""
        fields: dict[str, dict[str, Any]] = {
            "name": {"name": text},
            "file_ids": {"file_ids": [text]},
            "skill_id": {"skills": [reference(skill_id=text)]},
        }
        with pytest.raises(InvalidRequestError, match=r"it is blank|cannot be printed"):
            wire(**fields[field])


class TestUnknownFields:
    """A field that the API does not know is refused where it is."""

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"metadata": {}}, "metadata"),
            ({"expires_after": {"minutes": 1, "seconds": 2}}, "expires_after.seconds"),
            (
                {"network_policy": {"type": "disabled", "allowed_domains": []}},
                "network_policy.allowed_domains",
            ),
            ({"network_policy": allowlist() | {"domains": []}}, "network_policy.domains"),
            ({"network_policy": allowlist(secret(header="x"))}, "network_policy.domain_secrets[0].header"),
            ({"skills": [reference(name="x")]}, "skills[0].name"),
            ({"skills": [inline() | {"inline": 1}]}, "skills[0].inline"),
            ({"skills": [inline(path="x")]}, "skills[0].source.path"),
            ({"disabled": True}, "disabled"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_it_is_named(self, fields: dict[str, Any], path: str) -> None:
        """The message has the path of the unknown field and the fields that exist there."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(**fields)
        assert str(caught.value).startswith(f"{path}: unknown field, expected one of: ")

    def test_the_fields_that_exist_are_those_of_that_place(self) -> None:
        """A wrong member of a domain secret is answered with the members of a domain secret."""
        with pytest.raises(InvalidRequestError, match=r"expected one of: domain, name, value$"):
            wire(network_policy=allowlist(secret(header="x")))

    def test_an_unknown_field_never_travels(self) -> None:
        """No request model has a place to keep an unknown field."""
        for model in (ExpiresAfter, NetworkPolicyDisabled, SkillReference, CreateContainerRequest):
            assert "forbid" == model.model_config["extra"]


class TestWire:
    """What is sent, and what is not."""

    def test_what_was_not_set_is_not_sent(self) -> None:
        """A request with a name has a name, and nothing else."""
        assert {"name": "n"} == wire()

    def test_none_is_not_sent(self) -> None:
        """``None`` means "not set": the API's fields are not nullable."""
        fields = dict.fromkeys(("expires_after", "file_ids", "memory_limit", "network_policy", "skills"))
        assert {"name": "n"} == wire(**fields)
        policy = {**allowlist(), "domain_secrets": None}
        assert allowlist() == wire(network_policy=policy)["network_policy"]

    def test_constants_are_sent(self) -> None:
        """The fields with one possible value need not be written and are sent all the same."""
        request = CreateContainerRequest(
            name="n",
            expires_after=ExpiresAfter(minutes=5),
            network_policy=NetworkPolicyDisabled(),
            skills=[
                SkillReference(skill_id="skill_1"),
                InlineSkill(name="s", description="d", source=InlineSkillSource(data="AAAA")),
            ],
        )
        expected = {
            "name": "n",
            "expires_after": {"anchor": "last_active_at", "minutes": 5},
            "network_policy": {"type": "disabled"},
            "skills": [
                {"type": "skill_reference", "skill_id": "skill_1"},
                {
                    "type": "inline",
                    "name": "s",
                    "description": "d",
                    "source": {"type": "base64", "media_type": "application/zip", "data": "AAAA"},
                },
            ],
        }
        assert expected == json.loads(request.to_wire())

    def test_domains_are_sent_in_their_normal_form_once(self) -> None:
        """Duplicates are removed after the names were made lower-case ASCII; the order stays."""
        policy = allowlist(domains=["B.example.com", "a.example.com", "b.EXAMPLE.com.", "bücher.example.com"])
        expected = ["b.example.com", "a.example.com", "xn--bcher-kva.example.com"]
        assert expected == wire(network_policy=policy)["network_policy"]["allowed_domains"]

    def test_a_secrets_domain_matches_in_its_normal_form(self) -> None:
        """A secret for ``API.example.com.`` belongs to the allowed ``api.example.com``."""
        sent = wire(network_policy=allowlist(secret(domain="API.example.com.")))
        expected = [{"domain": "api.example.com", "name": "TOKEN", "value": CANARY}]
        assert expected == sent["network_policy"]["domain_secrets"]

    def test_tuples_are_lists(self) -> None:
        """A tuple is taken where a list is meant."""
        policy = {"type": "allowlist", "allowed_domains": ("a.example.com",)}
        assert ["file-1"] == wire(file_ids=("file-1",), network_policy=policy)["file_ids"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": 5},
            {"name": b"n"},
            {"name": None},
            {"expires_after": 5},
            {"expires_after": {"minutes": "5"}},
            {"expires_after": {"minutes": 5.0}},
            {"expires_after": {"minutes": True}},
            {"expires_after": {"anchor": "created_at", "minutes": 5}},
            {"file_ids": "file-1"},
            {"file_ids": {"file-1": 1}},
            {"file_ids": [1]},
            {"memory_limit": 4},
            {"memory_limit": "4G"},
            {"network_policy": "disabled"},
            {"network_policy": {}},
            {"network_policy": {"type": "open"}},
            {"network_policy": {"type": "allowlist"}},
            {"network_policy": allowlist(secret(value=5))},
            {"skills": "skill_1"},
            {"skills": ["skill_1"]},
            {"skills": [{}]},
            {"skills": [reference(version=1.0)]},
            {"skills": [reference(version=True)]},
            {"skills": [inline(media_type="application/gzip")]},
            {"skills": [inline(data=b"AAAA")]},
        ],
        ids=short,
    )
    def test_nothing_is_converted(self, fields: dict[str, Any]) -> None:
        """A value of another type is refused, not made to fit."""
        with pytest.raises(InvalidRequestError, match="expected"):
            wire(**fields)

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "a\ud800b"},
            {"file_ids": ["\udfff"]},
            {"skills": [reference(skill_id="\ud83e")]},
            {"skills": [inline() | {"description": "\ud800"}]},
            {"network_policy": allowlist(domains=["\ud800.example.com"])},
            {"network_policy": allowlist(secret(value=SecretStr("\ud800" + CANARY)))},
            {"network_policy": allowlist(secret(name="\ud800"))},
        ],
        ids=short,
    )
    def test_text_that_utf_8_cannot_encode_is_refused(self, fields: dict[str, Any]) -> None:
        """Half of a surrogate pair, which no JSON body can carry, is refused before anything is sent."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(**fields)
        assert CANARY not in str(caught.value)

    def test_a_version_of_absurd_length_is_refused_in_plain_words(self) -> None:
        """An integer that Python does not turn into text is refused like any other wrong version."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(skills=[reference(version=10**5000)])
        expected = (
            "skills[0].version: an integer of that many digits is no version: "
            "use a positive integer or 'latest'"
        )
        assert expected == str(caught.value)

    def test_many_errors_are_cut(self) -> None:
        """A list full of wrong entries does not fill a task's log."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(file_ids=[1] * 500)
        message = str(caught.value)
        assert message.startswith("file_ids[0]: got the number 1, expected a text; file_ids[1]: ")
        assert message.endswith("; and 490 more")


class TestSecretsStayInside:
    """The value of a domain secret leaves a request through ``to_wire`` and ``secret_values`` only."""

    @pytest.fixture
    def request_with_secret(self) -> CreateContainerRequest:
        """A request that holds the canary."""
        return validate(CreateContainerRequest, {"name": "n", "network_policy": allowlist(secret())})

    def test_no_view_shows_it(self, request_with_secret: CreateContainerRequest) -> None:
        """Not ``repr``, ``str``, ``model_dump`` in either mode, JSON, or formatting of any of them."""
        request = request_with_secret
        policy = request.network_policy
        assert isinstance(policy, NetworkPolicyAllowlist)
        assert policy.domain_secrets is not None
        item = policy.domain_secrets[0]
        views = [
            view
            for model in (request, policy, item)
            for view in (
                repr(model),
                str(model),
                f"{model!r:>500}",
                repr(model.model_dump()),
                repr(model.model_dump(mode="json")),
                model.model_dump_json(),
                repr(dict(model)),
                repr(model.model_dump(context={})),
                repr(list(model.__repr_args__())),
            )
        ]
        assert [] == [view for view in views if CANARY in view or "canary" in view]
        assert "**********" in views[0]

    def test_only_the_wire_has_it(self, request_with_secret: CreateContainerRequest) -> None:
        """The body of the request has it, and ``secret_values`` for masking."""
        assert CANARY in request_with_secret.to_wire().decode()
        assert [CANARY] == request_with_secret.secret_values()

    def test_copies_keep_it_hidden(self, request_with_secret: CreateContainerRequest) -> None:
        """A deep copy and a pickled copy still send it, and still do not show it."""
        for clone in (
            copy.deepcopy(request_with_secret),
            pickle.loads(pickle.dumps(request_with_secret)),
            request_with_secret.model_copy(deep=True),
        ):
            assert request_with_secret.to_wire() == clone.to_wire()
            assert CANARY not in repr(clone)

    @pytest.mark.parametrize(
        "fields",
        [
            secret(name="not a name"),
            secret(domain="no domain"),
            secret(domain="other.example.com"),
            secret(extra="x"),
            secret(domain=CANARY),
            secret(name=CANARY),
            secret(domain=f"{CANARY}@api.example.com"),
            {"domain": "api.example.com", "name": "TOKEN", "value": [CANARY]},
            {"domain": "api.example.com", "name": "TOKEN", "value": {"canary": CANARY}},
            {"domain": "api.example.com", "value": CANARY},
            {"domain": CANARY, "name": CANARY, "value": 5},
        ],
        ids=short,
    )
    def test_no_error_shows_it(self, fields: dict[str, Any]) -> None:
        """Whatever is wrong, and wherever the value was put by mistake, the error does not quote it."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(network_policy=allowlist(fields))
        assert CANARY not in f"{caught.value!r} {caught.value} {caught.value.args} {vars(caught.value)}"

    def test_pydantics_own_errors_hide_it_too(self) -> None:
        """Somebody who builds the models directly gets an error without the input."""
        with pytest.raises(ValidationError) as caught:
            DomainSecret(domain="api.example.com", name="not a name", value=SecretStr(CANARY))
        assert CANARY not in str(caught.value)

    def test_a_secret_for_a_domain_that_is_not_allowed_is_refused(self) -> None:
        """A secret is only put into requests to allowed domains, so another domain is a mistake."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(network_policy=allowlist(secret(), secret(domain="other.example.com")))
        expected = (
            "network_policy.domain_secrets[1].domain: 'other.example.com' is not one of the allowed domains. "
            "A secret is only put into requests to an allowed domain, so allow the domain too"
        )
        assert expected == str(caught.value)

    def test_a_repeated_secret_is_refused(self) -> None:
        """Two values for one name and one domain cannot both be meant."""
        with pytest.raises(InvalidRequestError) as caught:
            wire(network_policy=allowlist(secret(), secret(domain="API.example.com")))
        expected = (
            "network_policy.domain_secrets[1]: it repeats the name 'TOKEN' for 'api.example.com'; "
            "give each name once per domain"
        )
        assert expected == str(caught.value)

    def test_one_name_for_two_domains_is_taken(self) -> None:
        """The same environment variable may stand for a value at two hosts."""
        policy = allowlist(
            secret(), secret(domain="data.example.org"), domains=["api.example.com", "data.example.org"]
        )
        assert 2 == len(wire(network_policy=policy)["network_policy"]["domain_secrets"])


CONTAINER = {
    "id": "cntr_682e30645a488191b6363a0cbefc0f0a025ec61b66250591",
    "object": "container",
    "created_at": 1747857508,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 1747857508,
    "network_policy": {"type": "allowlist", "allowed_domains": ["api.buildkite.com"]},
    "memory_limit": "4g",
    "name": "My Container",
}
JUNK: list[Any] = [
    None,
    True,
    0,
    -1.5,
    1e308,
    float("nan"),
    "",
    "text",
    "\ud800",
    [],
    [None, 1],
    {},
    {"a": [None]},
]


class TestAnswers:
    """Answers are read leniently: a container that exists must not be lost over a field."""

    def test_every_field_of_the_reference(self) -> None:
        """The documented example keeps all its fields."""
        container = Container.model_validate(CONTAINER)
        assert CONTAINER == container.to_json()
        assert datetime(2025, 5, 21, 20, 18, 28, tzinfo=UTC) == container.expires_at
        assert container.network_policy is not None
        assert ["api.buildkite.com"] == container.network_policy.allowed_domains

    @pytest.mark.parametrize("value", JUNK, ids=short)
    @pytest.mark.parametrize("field", [field for field in CONTAINER if field != "id"] + ["added_later"])
    def test_any_value_in_any_field(self, field: str, value: Any) -> None:
        """A null or a value of the wrong type in one field leaves the id and the others readable."""
        container = Container.model_validate({**CONTAINER, field: value})
        assert CONTAINER["id"] == container.id
        assert container.is_alive
        _ = container.expires_at
        json.dumps(container.to_json())
        others = {name: kept for name, kept in CONTAINER.items() if name != field}
        assert others == {name: container.to_json()[name] for name in others}

    @pytest.mark.parametrize("outer", ["expires_after", "network_policy"])
    @pytest.mark.parametrize("value", JUNK, ids=short)
    def test_any_value_inside_a_mapping(self, outer: str, value: Any) -> None:
        """The same one level down."""
        inner = {"anchor": value, "minutes": value, "type": value, "allowed_domains": value, "new": value}
        container = Container.model_validate({**CONTAINER, outer: inner})
        assert CONTAINER["id"] == container.id
        _ = container.expires_at
        json.dumps(container.to_json())

    @pytest.mark.parametrize(
        "answer", [{}, {"id": None}, {"id": ""}, {"id": 5}, {"id": ["cntr_1"]}], ids=short
    )
    def test_only_the_id_must_be_there(self, answer: dict[str, Any]) -> None:
        """Without an id nothing can be done with a container."""
        with pytest.raises(ValidationError):
            Container.model_validate(answer)

    def test_unknown_fields_are_kept(self) -> None:
        """What a service adds later, or a gateway of its own, reaches XCom."""
        answer = {
            "id": "cntr_1",
            "region": "eu",
            "expires_after": {"minutes": 5, "grace": 1},
            "price": {"a": 1},
        }
        assert answer == Container.model_validate(answer).to_json()

    def test_absent_fields_are_not_made_up(self) -> None:
        """``to_json`` has what was sent and nothing else."""
        assert {"id": "cntr_1", "name": None} == Container.model_validate(
            {"id": "cntr_1", "name": None}
        ).to_json()

    @pytest.mark.parametrize(
        ("status", "alive"),
        [
            ("running", True),
            ("active", True),
            ("expired", False),
            ("deleted", False),
            ("Expired", False),
            ("frozen", True),
            ("", True),
            (None, True),
            (5, True),
        ],
    )
    def test_is_alive(self, status: Any, alive: bool) -> None:
        """Only a status that says so ends a container; an unknown one may still cost money."""
        assert alive is Container.model_validate({"id": "cntr_1", "status": status}).is_alive

    @pytest.mark.parametrize(
        "answer",
        [
            {"last_active_at": None, "expires_after": {"minutes": 20}},
            {"last_active_at": 1, "expires_after": None},
            {"last_active_at": 1, "expires_after": {}},
            {"last_active_at": 1, "expires_after": {"minutes": None}},
            {"last_active_at": 10**30, "expires_after": {"minutes": 20}},
            {"last_active_at": -(10**30), "expires_after": {"minutes": 20}},
            {"last_active_at": 1, "expires_after": {"minutes": 10**30}},
            {"last_active_at": 253402300799, "expires_after": {"minutes": 20}},
        ],
        ids=short,
    )
    def test_expires_at_is_none_when_it_cannot_be_told(self, answer: dict[str, Any]) -> None:
        """Missing or impossible times give ``None``, not an error."""
        assert Container.model_validate({"id": "cntr_1", **answer}).expires_at is None

    def test_a_page(self) -> None:
        """A page keeps its envelope; entries without an id are left out."""
        page = ContainerPage.model_validate(
            {
                "object": "list",
                "data": [CONTAINER, None, "x", {}, {"id": None}, {"id": "cntr_2", "status": 5}],
                "first_id": None,
                "last_id": "container_123",
                "has_more": "yes",
                "total": 7,
            }
        )
        assert [CONTAINER["id"], "cntr_2"] == [container.id for container in page.data]
        assert (None, "container_123", None) == (page.first_id, page.last_id, page.has_more)

    @pytest.mark.parametrize("value", JUNK, ids=short)
    @pytest.mark.parametrize("field", ["object", "data", "first_id", "last_id", "has_more", "new"])
    def test_any_value_in_a_page(self, field: str, value: Any) -> None:
        """No value in a page's envelope is an error."""
        ContainerPage.model_validate({field: value})

    @pytest.mark.parametrize("value", JUNK, ids=short)
    @pytest.mark.parametrize("field", ["id", "object", "deleted", "new"])
    def test_any_value_in_a_delete_answer(self, field: str, value: Any) -> None:
        """No value in the answer to a delete is an error: the container is gone by then."""
        DeletedContainer.model_validate({field: value})
