"""Variables by which programs in containers find the proxy and trust what it shows them."""

from __future__ import annotations

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
DIRECT_VARIABLES = ("NO_PROXY", "no_proxy")
NODE_VARIABLE = "NODE_USE_ENV_PROXY"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
)

RESERVED = frozenset({*PROXY_VARIABLES, *DIRECT_VARIABLES, NODE_VARIABLE, *CA_VARIABLES})
"""Names that no domain secret can have: its placeholder would take the proxy away, or the other way round."""


def proxy_variables(proxy: str, certificates: str) -> dict[str, str]:
    """The variables and their values.

    :param proxy: its URL.
    :param certificates: file of the authorities to trust, by its path inside.
    """
    return {
        **dict.fromkeys(PROXY_VARIABLES, proxy),
        **dict.fromkeys(DIRECT_VARIABLES, "localhost,127.0.0.1,::1"),
        NODE_VARIABLE: "1",
        **dict.fromkeys(CA_VARIABLES, certificates),
    }


def name_problem(name: str) -> str | None:
    """What is wrong with a secret's name, or ``None``."""
    if name not in RESERVED:
        return None
    return f"'{name}' leads programs to the proxy that puts the value in. Expected another name."
