"""Settings from environment variables; each has a default that is safe on one machine."""

import hashlib
import hmac
import re
from datetime import date
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from modelcycle.core.config import explain_validation_error
from modelcycle.core.errors import InputError
from modelcycle.versions.prediction_log import LOCAL_ADDRESS

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """The service's settings: SERVE_HOST, SERVE_PORT and so on, and where the log is, under its customary name."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True)

    database_url: str = Field(default=LOCAL_ADDRESS, validation_alias="DATABASE_URL")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    model: Path | None = Field(default=None, description="An exported folder, instead of the registry's champion")
    keys: str = Field(default="", description="SHA-256 digests of the API keys; DIGEST:2027-01-31 ends with that day")
    keys_file: Path | None = None
    open: bool = Field(default=False, description="Answer without keys, on loopback only")
    most_rows: int = Field(default=1000, ge=1)
    most_bytes: int = Field(default=2_000_000, ge=1000)
    most_seconds: float = Field(default=10, gt=0)
    requests_per_minute: int = Field(default=60_000, ge=1)
    poll_seconds: float = Field(default=5, gt=0)

    @property
    def is_open(self) -> bool:
        """Whether requests need no key: SERVE_OPEN is set and only this machine can reach the service."""
        return self.open and self.host in LOOPBACK

    def digests(self) -> list[str]:
        """List the digests of the keys, each with its last day behind a colon where it has one.

        Raises InputError with the variable, what was found and what is expected.
        """
        entries = [("SERVE_KEYS", entry) for entry in self.keys.split()]
        if self.keys_file:
            try:
                lines = self.keys_file.read_text(encoding="utf-8").split()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise InputError(f"SERVE_KEYS_FILE is {self.keys_file}, which can't be read: {reason}.") from None
            entries += [(f"SERVE_KEYS_FILE, {self.keys_file},", entry) for entry in lines]
        for variable, entry in entries:
            digest, _, last_day = entry.partition(":")
            if not re.fullmatch("[0-9a-f]{64}", digest) or (entry != digest and not is_iso_date(last_day)):
                raise InputError(
                    f"{variable} holds {entry[:12]}...; expected SHA-256 digests (printf %s KEY | sha256sum), "
                    "each with :YYYY-MM-DD behind it where the key ends."
                )
        return [entry for _, entry in entries]


def is_iso_date(text: str) -> bool:
    """Say whether a text is a date in ISO format, such as 2027-01-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def find_key_owner(key: str, digests: list[str], today: date) -> str | None:
    """Find the owner of an API key, named by the start of its digest; None where it is unknown or has expired.

    digests: as `Settings.digests` lists them. Takes the same time for every wrong key.
    """
    digest, owner = hashlib.sha256(key.encode()).hexdigest(), None
    for entry in digests:
        is_same = hmac.compare_digest(digest, entry[:64])
        if is_same and today.isoformat() <= (entry[65:] or "9999"):
            owner = f"key {digest[:8]}"
    return owner


def read_settings() -> Settings:
    """Read the environment. Raises InputError with the variable, what was found and what is expected."""
    try:
        settings = Settings()
    except ValidationError as error:
        name, _, complaint = explain_validation_error(error).partition(" ")
        raise InputError(f"environment: SERVE_{name.upper()} {complaint}") from None
    settings.digests()  # a malformed one would only show with the first request
    return settings


def require_keys(settings: Settings) -> None:
    """Raise InputError when requests would need no key, unless that is wanted and only this machine can send them."""
    if not settings.digests() and not settings.is_open:
        raise InputError(
            f"There are no API keys and SERVE_HOST is {settings.host}; set SERVE_KEYS or SERVE_KEYS_FILE to their "
            "SHA-256 digests (printf %s KEY | sha256sum), or, on 127.0.0.1 only, SERVE_OPEN=true to do without."
        )
