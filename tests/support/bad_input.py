"""Wrong arguments of a create task, and what each is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import SecretStr

LITERAL = "s3cret-in-the-dag-file"
"""The value of a secret that somebody wrote into a DAG file; no message may hold it."""

LIST = "a list, or a template that renders to a JSON list or a Python list literal"
NOTHING = "; if a template made it, the template rendered to nothing"
NAME = "a text of one character or more, or None for a name made from dag, task and run"
MINUTES = "minutes from 1 to 20, a timedelta of whole minutes, or a mapping {'minutes': …}"
SKILL = (
    "an id such as 'skill_123', 'skill_123@2' or 'skill_123@latest', a folder as {'path': …}, or a mapping "
    "in the API's shape"
)
FOLDER = "the path of a folder with a SKILL.md in it, absolute or relative to the DAG file"
SKILL_TYPE = "expected 'skill_reference' or 'inline'; or a folder as {'path': …}"
ENVIRONMENT = (
    "it cannot name an environment variable: use letters, digits and underscores, and no digit in front"
)
REFUSED = "is not a host name that can be allowed:"
ADDRESS = "it is an IP address; only host names can be allowed"
LABEL = "is not made of letters, digits and inner hyphens only"
ALONE = "give the host name alone, such as 'api.example.com'"
HOW_TO = (
    "; name where the value is instead: {'domain': …, 'name': …, 'conn_id': 'my_connection'} for the "
    "password of a connection (with 'field' for a key of its extra), {…, 'variable': 'my_variable'} for an "
    "Airflow Variable, or {…, 'env': 'MY_VARIABLE'} for the environment of the worker"
)


def secret(**members: Any) -> dict[str, Any]:
    """One domain secret by reference, with some members changed, or left out where they are ``...``."""
    whole = {"domain": "api.example.com", "name": "TOKEN", "env": "EXAMPLE_TOKEN", **members}
    return {member: value for member, value in whole.items() if value is not ...}


def secrets(*entries: Any) -> dict[str, Any]:
    """Domain secrets beside the domain that they are for."""
    return {"domains": ["api.example.com"], "domain_secrets": list(entries)}


def reference(**members: Any) -> dict[str, Any]:
    """One skill by reference, in the API's shape."""
    return {"type": "skill_reference", "skill_id": "skill_1", **members}


def inline(members: dict[str, Any] | None = None, **source: Any) -> dict[str, Any]:
    """One inline skill, with some members of it and of its source changed."""
    archive = {"type": "base64", "media_type": "application/zip", "data": "UEsFBg==", **source}
    return {"type": "inline", "name": "s", "description": "d", "source": archive, **(members or {})}


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, f"name: got an empty text, expected {NAME}{NOTHING}"),
    ({"name": "  "}, f"name: got '  ', expected {NAME}{NOTHING}"),
    ({"name": "None"}, f"name: got 'None', expected {NAME}{NOTHING}"),
    ({"name": "null"}, f"name: got 'null', expected {NAME}{NOTHING}"),
    ({"name": "undefined"}, f"name: got 'undefined', expected {NAME}{NOTHING}"),
    ({"name": "n" * 257, "unique_name": False}, "name: got a text of 257 characters, expected at most 256"),
    (
        {"name": "n" * 233},
        "name: got a text of 233 characters, expected at most 232 (the owner token takes 24 of 256)",
    ),
    ({"name": "first\nsecond"}, "name: it has a line break or another character that cannot be printed"),
    ({"name": "a\x00b"}, "name: it has a line break or another character that cannot be printed"),
    ({"name": "half \ud800"}, "name: got 'half \\ud800', expected a text that can be encoded as UTF-8"),
    ({"name": 1.5}, "name: got the number 1.5, expected a text"),
    ({"name": True}, "name: got the truth value True, expected a text"),
    ({"name": 10**5000}, "name: got a large number, expected a text"),
    ({"name": b"report"}, "name: got an object of type bytes, expected a text"),
    ({"name": ["report"]}, "name: got a list of 1, expected a text"),
    ({"name": {"report": 1}}, "name: got a mapping, expected a text"),
    ({"memory_limit": "16G"}, "memory_limit: got '16G', expected '1g', '4g', '16g' or '64g'"),
    ({"memory_limit": "1g "}, "memory_limit: got '1g ', expected '1g', '4g', '16g' or '64g'"),
    ({"memory_limit": ""}, f"memory_limit: got an empty text, expected '1g', '4g', '16g' or '64g'{NOTHING}"),
    ({"memory_limit": "None"}, f"memory_limit: got 'None', expected '1g', '4g', '16g' or '64g'{NOTHING}"),
    ({"memory_limit": 1}, "memory_limit: got the number 1, expected '1g', '4g', '16g' or '64g'"),
    ({"memory_limit": True}, "memory_limit: got the truth value True, expected '1g', '4g', '16g' or '64g'"),
    ({"memory_limit": ["1g"]}, "memory_limit: got a list of 1, expected '1g', '4g', '16g' or '64g'"),
    (
        {"memory_limit": "g" * 41},
        "memory_limit: got a text of 41 characters, expected '1g', '4g', '16g' or '64g'",
    ),
    ({"expires_after": 0}, "expires_after.minutes: got the number 0, expected 1 or more"),
    ({"expires_after": -1}, "expires_after.minutes: got the number -1, expected 1 or more"),
    ({"expires_after": 21}, "expires_after.minutes: got the number 21, expected 20 or less"),
    ({"expires_after": 10**5000}, "expires_after.minutes: got a large number, expected 20 or less"),
    ({"expires_after": True}, f"expires_after: got the truth value True, expected {MINUTES}"),
    ({"expires_after": 1.5}, f"expires_after: got the number 1.5, expected {MINUTES}"),
    ({"expires_after": float("nan")}, f"expires_after: got the number nan, expected {MINUTES}"),
    ({"expires_after": ""}, f"expires_after: got an empty text, expected {MINUTES}{NOTHING}"),
    ({"expires_after": "null"}, f"expires_after: got 'null', expected {MINUTES}{NOTHING}"),
    ({"expires_after": "0"}, "expires_after.minutes: got the number 0, expected 1 or more"),
    ({"expires_after": "1.5"}, f"expires_after: got '1.5', expected {MINUTES}"),
    ({"expires_after": "20 minutes"}, f"expires_after: got '20 minutes', expected {MINUTES}"),
    ({"expires_after": "True"}, f"expires_after: got 'True', expected {MINUTES}"),
    ({"expires_after": "[5]"}, f"expires_after: got '[5]', expected {MINUTES}"),
    ({"expires_after": '{"minutes": 21}'}, "expires_after.minutes: got the number 21, expected 20 or less"),
    (
        {"expires_after": timedelta(seconds=90)},
        "expires_after: got a timedelta of 0:01:30, expected whole minutes from 1 to 20",
    ),
    (
        {"expires_after": timedelta(minutes=-5)},
        "expires_after.minutes: got the number -5, expected 1 or more",
    ),
    ({"expires_after": timedelta(days=1)}, "expires_after.minutes: got the number 1440, expected 20 or less"),
    ({"expires_after": {}}, "expires_after.minutes: it is missing, expected a value"),
    (
        {"expires_after": {"minutes": 5, "seconds": 1}},
        "expires_after.seconds: unknown field, expected one of: anchor, minutes",
    ),
    (
        {"expires_after": {"minutes": "five"}},
        "expires_after.minutes: got 'five', expected an integer from 1 to 20",
    ),
    (
        {"expires_after": {"minutes": "None"}},
        f"expires_after.minutes: got 'None', expected an integer from 1 to 20{NOTHING}",
    ),
    ({"expires_after": {"minutes": None}}, "expires_after.minutes: got None, expected an integer"),
    (
        {"expires_after": {"minutes": 5, "anchor": "created_at"}},
        "expires_after.anchor: got 'created_at', expected 'last_active_at'",
    ),
    ({"expires_after": [5]}, f"expires_after: got a list of 1, expected {MINUTES}"),
    ({"file_ids": "file-1"}, f"file_ids: got 'file-1', expected {LIST}; for one entry write ['file-1']"),
    (
        {"file_ids": "file-1,file-2"},
        (f"file_ids: got 'file-1,file-2', expected {LIST}; for several entries write ['file-1', 'file-2']"),
    ),
    ({"file_ids": ""}, f"file_ids: got an empty text, expected {LIST} ('[]' for an empty one){NOTHING}"),
    ({"file_ids": "None"}, f"file_ids: got 'None', expected {LIST} ('[]' for an empty one){NOTHING}"),
    ({"file_ids": "{}"}, f"file_ids: got '{{}}', expected {LIST}"),
    ({"file_ids": '["file-1"'}, f"file_ids: got '[\"file-1\"', expected {LIST}"),
    ({"file_ids": "x" * 61}, f"file_ids: got a text of 61 characters, expected {LIST}"),
    ({"file_ids": 5}, f"file_ids: got the number 5, expected {LIST}"),
    ({"file_ids": b"file-1"}, f"file_ids: got an object of type bytes, expected {LIST}"),
    (
        {"file_ids": {"id": "file-1"}},
        f"file_ids: got a mapping, expected {LIST}",
    ),
    ({"file_ids": ["file-1", 2]}, "file_ids[1]: got the number 2, expected a text"),
    ({"file_ids": ["file-1", None]}, "file_ids[1]: got None, expected a text"),
    ({"file_ids": [["file-1"]]}, "file_ids[0]: got a list of 1, expected a text"),
    ({"file_ids": [""]}, f"file_ids[0]: got an empty text, expected the id of a file{NOTHING}"),
    ({"file_ids": ["None"]}, f"file_ids[0]: got 'None', expected the id of a file{NOTHING}"),
    (
        {"file_ids": ["file-1\n"]},
        "file_ids[0]: it has a line break or another character that cannot be printed",
    ),
    ({"file_ids": ["\udfff"]}, "file_ids[0]: got '\\udfff', expected a text that can be encoded as UTF-8"),
    ({"skills": "skill_1"}, f"skills: got 'skill_1', expected {LIST}; for one entry write ['skill_1']"),
    ({"skills": [""]}, f"skills[0]: got an empty text, expected {SKILL}"),
    ({"skills": ["None"]}, f"skills[0]: got 'None', expected {SKILL}"),
    ({"skills": ["@2"]}, f"skills[0]: got '@2', expected {SKILL}"),
    ({"skills": ["skill_1@"]}, f"skills[0]: got 'skill_1@', expected {SKILL}"),
    ({"skills": ["skill_1@2@3"]}, f"skills[0]: got 'skill_1@2@3', expected {SKILL}"),
    (
        {"skills": ["skill_1@0"]},
        "skills[0].version: '0' is not a version: use a positive integer or 'latest'",
    ),
    (
        {"skills": ["skill_1@-1"]},
        "skills[0].version: '-1' is not a version: use a positive integer or 'latest'",
    ),
    (
        {"skills": ["skill_1@1.5"]},
        "skills[0].version: '1.5' is not a version: use a positive integer or 'latest'",
    ),
    (
        {"skills": ["skill_1@\u0662"]},
        "skills[0].version: '\u0662' is not a version: use a positive integer or 'latest'",
    ),
    (
        {"skills": ["s" * 65]},
        "skills[0].skill_id: got a text of 65 characters, expected at most 64 characters",
    ),
    ({"skills": [5]}, f"skills[0]: got the number 5, expected {SKILL}"),
    ({"skills": [None]}, f"skills[0]: got None, expected {SKILL}"),
    ({"skills": [{}]}, f"skills[0].type: it is missing, {SKILL_TYPE}"),
    ({"skills": [{"type": "zip"}]}, f"skills[0].type: got 'zip', {SKILL_TYPE}"),
    ({"skills": [{"type": ["inline"]}]}, f"skills[0].type: got a list of 1, {SKILL_TYPE}"),
    ({"skills": [{"path": " "}]}, f"skills[0].path: got ' ', expected {FOLDER}{NOTHING}"),
    ({"skills": [{"path": "None"}]}, f"skills[0].path: got 'None', expected {FOLDER}{NOTHING}"),
    ({"skills": [{"path": None}]}, f"skills[0].path: got None, expected {FOLDER}"),
    ({"skills": [{"path": 5}]}, f"skills[0].path: got the number 5, expected {FOLDER}"),
    ({"skills": [{"path": "a\0b"}]}, f"skills[0].path: got 'a\\x00b', expected {FOLDER}"),
    (
        {"skills": ["skill_1", {"path": "report", "name": "report"}]},
        (
            "skills[1]: got a path and 'name', expected a path alone; name and description are those of "
            "SKILL.md"
        ),
    ),
    (
        {"skills": [{"path": "/nowhere/skills/report"}]},
        "skills[0].path: /nowhere/skills/report: there is no such folder; check the path",
    ),
    (
        {"skills": [reference(skill_id="")]},
        f"skills[0].skill_id: got an empty text, expected the id of a skill{NOTHING}",
    ),
    ({"skills": [{"type": "skill_reference"}]}, "skills[0].skill_id: it is missing, expected a value"),
    (
        {"skills": [reference(version=0)]},
        "skills[0].version: '0' is not a version: use a positive integer or 'latest'",
    ),
    (
        {"skills": [reference(version=True)]},
        "skills[0].version: got the truth value True, expected a positive integer or 'latest'",
    ),
    (
        {"skills": [reference(version=1.5)]},
        "skills[0].version: got the number 1.5, expected a positive integer or 'latest'",
    ),
    (
        {"skills": [reference(version=10**5000)]},
        (
            "skills[0].version: an integer of that many digits is no version: use a positive integer "
            "or 'latest'"
        ),
    ),
    (
        {"skills": [reference(id="skill_1")]},
        "skills[0].id: unknown field, expected one of: type, skill_id, version",
    ),
    (
        {"skills": [reference() | {1: 2}]},
        "skills[0][1]: got the number 1, expected a text as the name of a field",
    ),
    (
        {"skills": [{"type": "inline"}]},
        (
            "skills[0].name: it is missing, expected a value; skills[0].description: it is missing, "
            "expected a value; skills[0].source: it is missing, expected a value"
        ),
    ),
    (
        {"skills": [inline(data="%%%%")]},
        "skills[0].source.data: it is not Base64 text (RFC 4648, with padding and without line breaks)",
    ),
    (
        {"skills": [inline(data="UEs")]},
        "skills[0].source.data: it is not Base64 text (RFC 4648, with padding and without line breaks)",
    ),
    (
        {"skills": [inline(data="")]},
        "skills[0].source.data: got an empty text, expected 1 or more characters",
    ),
    (
        {"skills": [inline(data="AAAA" * (70254592 // 4 + 1))]},
        "skills[0].source.data: got a text of 70254596 characters, expected at most 70254592 characters",
    ),
    (
        {"skills": [inline(data=b"UEsFBg==")]},
        "skills[0].source.data: got an object of type bytes, expected a text",
    ),
    (
        {"skills": [inline(media_type="application/gzip")]},
        "skills[0].source.media_type: got a text of 16 characters, expected 'application/zip'",
    ),
    (
        {"skills": [inline(type="url")]},
        "skills[0].source.type: got a text of 3 characters, expected 'base64'",
    ),
    (
        {"skills": [inline(encoding="utf-8")]},
        "skills[0].source.encoding: unknown field, expected one of: type, media_type, data",
    ),
    ({"skills": [inline({"name": ""})]}, "skills[0].name: got an empty text, expected 1 or more characters"),
    (
        {"skills": [inline({"name": "a\nb"})]},
        "skills[0].name: it has a line break or another character that cannot be printed",
    ),
    ({"skills": [inline({"description": None})]}, "skills[0].description: got None, expected a text"),
    (
        {"skills": [inline({"source": "UEsFBg=="})]},
        "skills[0].source: got a text of 8 characters, expected a mapping",
    ),
    (
        {"domains": "api.example.com"},
        f"domains: got 'api.example.com', expected {LIST}; for one entry write ['api.example.com']",
    ),
    (
        {"domains": "api.example.com, data.example.org"},
        (
            f"domains: got 'api.example.com, data.example.org', expected {LIST}; for several entries "
            "write ['api.example.com', 'data.example.org']"
        ),
    ),
    ({"domains": ""}, f"domains: got an empty text, expected {LIST} ('[]' for an empty one){NOTHING}"),
    ({"domains": " "}, f"domains: got ' ', expected {LIST} ('[]' for an empty one){NOTHING}"),
    ({"domains": "None"}, f"domains: got 'None', expected {LIST} ('[]' for an empty one){NOTHING}"),
    ({"domains": "[1"}, f"domains: got '[1', expected {LIST}"),
    ({"domains": 5}, f"domains: got the number 5, expected {LIST}"),
    ({"domains": [5]}, "domains[0]: got the number 5, expected a text"),
    ({"domains": [None]}, "domains[0]: got None, expected a text"),
    ({"domains": [b"api.example.com"]}, "domains[0]: got an object of type bytes, expected a text"),
    ({"domains": [["api.example.com"]]}, "domains[0]: got a list of 1, expected a text"),
    ({"domains": [""]}, f"domains[0]: got an empty text, expected a host name{NOTHING}"),
    ({"domains": ["None"]}, f"domains[0]: got 'None', expected a host name{NOTHING}"),
    ({"domains": ["api.example.com", "null"]}, f"domains[1]: got 'null', expected a host name{NOTHING}"),
    (
        {"domains": ["https://api.example.com"]},
        f"domains[0]: 'https://api.example.com' {REFUSED} it has a scheme; {ALONE}",
    ),
    (
        {"domains": ["api.example.com:443"]},
        (
            f"domains[0]: 'api.example.com:443' {REFUSED} it has a port; give the host name alone, "
            "which covers every port"
        ),
    ),
    (
        {"domains": ["api.example.com/v1"]},
        f"domains[0]: 'api.example.com/v1' {REFUSED} it has a path or query; give the host name alone",
    ),
    (
        {"domains": ["api.example.com?page=1"]},
        (f"domains[0]: 'api.example.com?page=1' {REFUSED} it has a path or query; give the host name alone"),
    ),
    (
        {"domains": [f"me:{LITERAL}@api.example.com"]},
        f"domains[0]: '***@api.example.com' {REFUSED} it has user information; give the host name alone",
    ),
    (
        {"domains": ["*.example.com"]},
        (
            f"domains[0]: '*.example.com' {REFUSED} it has a wildcard, which the service does not "
            "document; list each host name"
        ),
    ),
    ({"domains": ["192.0.2.1"]}, f"domains[0]: '192.0.2.1' {REFUSED} {ADDRESS}"),
    ({"domains": ["127.1"]}, f"domains[0]: '127.1' {REFUSED} {ADDRESS}"),
    ({"domains": ["0x7f.0.0.1"]}, f"domains[0]: '0x7f.0.0.1' {REFUSED} {ADDRESS}"),
    (
        {"domains": ["\uff11\uff12\uff17.0.0.1"]},
        f"domains[0]: '\uff11\uff12\uff17.0.0.1' {REFUSED} {ADDRESS}",
    ),
    (
        {"domains": ["127\u30020\u30020\u30021"]},
        f"domains[0]: '127\u30020\u30020\u30021' {REFUSED} {ADDRESS}",
    ),
    ({"domains": ["2001:db8::1"]}, f"domains[0]: '2001:db8::1' {REFUSED} {ADDRESS}"),
    ({"domains": ["[::1]"]}, f"domains[0]: '[::1]' {REFUSED} {ADDRESS}"),
    (
        {"domains": ["localhost"]},
        (
            f"domains[0]: 'localhost' {REFUSED} it is a single label; give the full host name, such as"
            " 'api.example.com'"
        ),
    ),
    (
        {"domains": [f"{'a' * 64}.com"]},
        (
            f"domains[0]: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' {REFUSED} its"
            " label 1 has 64 characters, a label has at most 63"
        ),
    ),
    (
        {"domains": ["a." * 127 + "com"]},
        (
            f"domains[0]: 'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a...' {REFUSED} it "
            "has 257 characters, a host name has at most 253"
        ),
    ),
    (
        {"domains": ["my_host.example.com"]},
        f"domains[0]: 'my_host.example.com' {REFUSED} its label 1 {LABEL}",
    ),
    ({"domains": ["-api.example.com"]}, f"domains[0]: '-api.example.com' {REFUSED} its label 1 {LABEL}"),
    ({"domains": ["api-.example.com"]}, f"domains[0]: 'api-.example.com' {REFUSED} its label 1 {LABEL}"),
    (
        {"domains": ["api..example.com"]},
        (
            f"domains[0]: 'api..example.com' {REFUSED} it has an empty label (two dots in a row, or a "
            "dot in front)"
        ),
    ),
    (
        {"domains": ["xn--a.example.com"]},
        (f"domains[0]: 'xn--a.example.com' {REFUSED} its label 1 is not a valid encoded international label"),
    ),
    (
        {"domains": ["api.example.com data.example.org"]},
        (
            f"domains[0]: 'api.example.com data.example.org' {REFUSED} it has white space inside; give"
            " one host name per entry"
        ),
    ),
    (
        {"domains": ["api.example.com", "\ud800.example.com"]},
        "domains[1]: got '\\ud800.example.com', expected a text that can be encoded as UTF-8",
    ),
    (
        {"domain_secrets": [secret()]},
        (
            "domain_secrets: it is given without domains, expected the domain of each secret in "
            "domains; a secret is only put into requests to an allowed domain"
        ),
    ),
    (
        {"domains": [], "domain_secrets": [secret()]},
        (
            "domain_secrets: it is given without domains, expected the domain of each secret in "
            "domains; a secret is only put into requests to an allowed domain"
        ),
    ),
    (
        {"domains": ["data.example.org"], "domain_secrets": [secret()]},
        (
            "domain_secrets[0].domain: 'api.example.com' is not one of the allowed domains. A secret "
            "is only put into requests to an allowed domain, so allow the domain too"
        ),
    ),
    ({"domain_secrets": LITERAL}, f"domain_secrets: got a text of 22 characters, expected {LIST}"),
    (
        {"domain_secrets": secret()},
        f"domain_secrets: got a mapping, expected {LIST}; for one entry write [{{…}}]",
    ),
    (
        {"domain_secrets": "None"},
        f"domain_secrets: got 'None', expected {LIST} ('[]' for an empty one){NOTHING}",
    ),
    (secrets(LITERAL), f"domain_secrets[0]: got a text of 22 characters, expected a mapping{HOW_TO}"),
    (secrets(None), f"domain_secrets[0]: got None, expected a mapping{HOW_TO}"),
    (
        secrets({}),
        (
            "domain_secrets[0].domain: it is missing, expected a value; domain_secrets[0].name: it is"
            " missing, expected a value"
        ),
    ),
    (
        secrets(secret(env=..., value=LITERAL)),
        (
            "domain_secrets[0].value: got a text of 22 characters as a literal, which Airflow would "
            f"store in clear{HOW_TO}"
        ),
    ),
    (
        secrets(secret(env=..., value="{{ var.value.token }}")),
        (
            "domain_secrets[0].value: got a text of 21 characters as a literal, which Airflow would "
            f"store in clear{HOW_TO}"
        ),
    ),
    (
        secrets(secret(env=..., value=5)),
        (
            "domain_secrets[0].value: got the number 5 as a literal, which Airflow would store in "
            f"clear{HOW_TO}"
        ),
    ),
    (
        secrets(secret(env=..., value=SecretStr(""))),
        "domain_secrets[0].value: got an empty secret, expected 1 or more characters",
    ),
    (
        secrets(secret(env=..., value=SecretStr("v" * 10485761))),
        (
            "domain_secrets[0].value: got a secret of 10485761 characters, expected at most 10485760 "
            "characters"
        ),
    ),
    (
        secrets(secret(env=..., value=SecretStr("\ud800"))),
        (
            "domain_secrets[0].value: it has half of a surrogate pair, expected a text that can be "
            "encoded as UTF-8"
        ),
    ),
    (
        secrets(secret(name="api.example.com", domain="TOKEN")),
        (
            f"domain_secrets[0].domain: it {REFUSED} it is a single label; give the full host name, "
            f"such as 'api.example.com'; domain_secrets[0].name: {ENVIRONMENT}"
        ),
    ),
    (secrets(secret(name=LITERAL)), f"domain_secrets[0].name: {ENVIRONMENT}"),
    (
        secrets(secret(domain=f"https://me:{LITERAL}@api.example.com")),
        f"domain_secrets[0].domain: it {REFUSED} it has a scheme; {ALONE}",
    ),
    (
        secrets(secret(env=...)),
        (
            "domain_secrets[0]: it has no source, expected exactly one of conn_id, variable, env, "
            f"value{HOW_TO}"
        ),
    ),
    (
        secrets(secret(variable="token")),
        (
            "domain_secrets[0]: it has variable and env, expected exactly one of conn_id, variable, "
            f"env, value{HOW_TO}"
        ),
    ),
    (
        secrets(secret(env="", variable="token")),
        (
            "domain_secrets[0].env: got an empty text, expected the name of an environment variable "
            f"of the worker{NOTHING}"
        ),
    ),
    (secrets(secret(env=5)), "domain_secrets[0].env: got the number 5, expected a text"),
    (
        secrets(secret(env="None")),
        (
            "domain_secrets[0].env: got 'None', expected the name of an environment variable of the "
            f"worker{NOTHING}"
        ),
    ),
    (
        secrets(secret(field="token")),
        "domain_secrets[0]: it has 'field' without 'conn_id'; 'field' names a part of a connection",
    ),
    (
        secrets(secret(vault="token")),
        (
            "domain_secrets[0].vault: unknown field, expected one of: domain, name, conn_id, field, "
            "variable, env, value"
        ),
    ),
    (secrets(secret(name="1TOKEN")), f"domain_secrets[0].name: {ENVIRONMENT}"),
    (secrets(secret(name="TOKEN\n")), f"domain_secrets[0].name: {ENVIRONMENT}"),
    (
        secrets(secret(name=" ")),
        (
            "domain_secrets[0].name: got ' ', expected the name of an environment variable inside the"
            f" container{NOTHING}"
        ),
    ),
    (
        secrets(secret(name="None")),
        (
            "domain_secrets[0].name: got 'None', expected the name of an environment variable inside "
            f"the container{NOTHING}"
        ),
    ),
    (secrets(secret(name=...)), "domain_secrets[0].name: it is missing, expected a value"),
    (secrets(secret(domain=...)), "domain_secrets[0].domain: it is missing, expected a value"),
    (secrets(secret(domain=None)), "domain_secrets[0].domain: got None, expected a text"),
    (
        secrets(secret(), secret(env="OTHER")),
        (
            "domain_secrets[1]: it repeats the name 'TOKEN' for 'api.example.com'; give each name "
            "once per domain"
        ),
    ),
    (
        {"memory_limit": "2g", "expires_after": 21, "domains": ["localhost"]},
        (
            "expires_after.minutes: got the number 21, expected 20 or less; memory_limit: got '2g', "
            f"expected '1g', '4g', '16g' or '64g'; domains[0]: 'localhost' {REFUSED} it is a single "
            "label; give the full host name, such as 'api.example.com'"
        ),
    ),
    (
        {"file_ids": [1] * 12},
        (
            "file_ids[0]: got the number 1, expected a text; file_ids[1]: got the number 1, expected "
            "a text; file_ids[2]: got the number 1, expected a text; file_ids[3]: got the number 1, "
            "expected a text; file_ids[4]: got the number 1, expected a text; file_ids[5]: got the "
            "number 1, expected a text; file_ids[6]: got the number 1, expected a text; file_ids[7]: "
            "got the number 1, expected a text; file_ids[8]: got the number 1, expected a text; "
            "file_ids[9]: got the number 1, expected a text; and 2 more"
        ),
    ),
]
