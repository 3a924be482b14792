"""What must not be told: passwords in addresses, and tokens in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Words in the name of an environment variable whose value is a secret.
_SECRET_WORDS = {
    "AUTH", "AUTHORIZATION", "COOKIE", "CREDENTIAL", "CREDENTIALS", "DSN", "JWT", "KEY", "KEYS",
    "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PASSWORDS", "PAT", "PWD", "SAS", "SECRET",
    "SECRETS", "TOKEN", "TOKENS",
}  # fmt: skip

#: Such words at the end of a longer one, as in ``PGPASSWORD``.
_SECRET_ENDINGS = ("APIKEY", "PASSWORD", "PASSWD", "SECRET", "TOKEN")

#: Names that only look like one.
_HARMLESS = {"PWD", "OLDPWD"}

#: A value shorter than this is not looked for in texts: it might be any word.
_SHORTEST_SECRET = 8

_URI = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_VALUE = re.compile(r"(?<=[?&#;])([^=&#;\s]+)=[^&#;\s]+")
_QUERY = re.compile(r"(?<=[?&])([A-Za-z_][\w.-]*)=[^\s&#'\"<>()]+")
_NAMED = re.compile(r"(?i)((?:password|passwd|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+")

MASK = "***"


def is_secret(name: str) -> bool:
    """Whether an environment variable of this name holds a secret, as far as its name tells."""
    if name in _HARMLESS:
        return False
    words = re.split(r"[^A-Z0-9]+", name.upper())
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def ordinary(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without secrets, for a child that needs none.

    What a process does not have it cannot write into a log.
    """
    return {
        name: value
        for name, value in environment.items()
        if not is_secret(name) and _without_passwords(value) == value
    }


def hidden(text: str) -> str:
    """Text as it may be shown and kept: no passwords and query values in addresses, and no value of
    an environment variable that holds a secret."""
    text = text.replace("\\://", "://")  # as Hydra spells an address in an override
    text = _NAMED.sub(rf"\1{MASK}", _without_passwords(text))
    text = _QUERY.sub(rf"\1={MASK}", text)  # an address may come without its host
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and is_secret(name):
            text = text.replace(value, MASK)
    return text


def _without_passwords(text: str) -> str:
    return _URI.sub(lambda match: _VALUE.sub(rf"\1={MASK}", _without_user(match[0])), text)


def _without_user(uri: str) -> str:
    """A name stays; a password goes, and so does what stands alone, which may be a token."""
    scheme, _, rest = uri.partition("://")
    # A password may hold any character, so the last @ counts.
    user, at, place = rest.rpartition("@")
    if not at or scheme.lower() == "file":
        return uri
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}:{MASK}@{place}" if colon else f"{scheme}://{MASK}@{place}"
