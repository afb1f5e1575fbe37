"""What the service is told from outside, by environment variables: each has a default that is safe on one machine."""

import hashlib
import hmac

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .files import InputError, explain


class Settings(BaseSettings):
    """SERVE_HOST, SERVE_PORT and so on; DATABASE_URL has no prefix, as elsewhere."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    database_url: str = Field(default="sqlite:///.mlflow/predictions.db", validation_alias="DATABASE_URL")
    keys: str = Field(default="", description="SHA-256 digests of the API keys, with spaces between them")
    most_rows: int = Field(default=1000, ge=1)
    most_bytes: int = Field(default=2_000_000, ge=1000)
    most_seconds: float = Field(default=10, gt=0)
    requests_per_minute: int = Field(default=60_000, ge=1)
    poll_seconds: float = Field(default=5, gt=0)

    def allows(self, key: str) -> bool:
        """Say whether an API key is one of the known ones, in the same time for every wrong key."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        return any([hmac.compare_digest(digest, known) for known in self.keys.split()])  # noqa: C419  no early end


def read_settings() -> Settings:
    """Read the environment. Raises InputError with the variable, what was found and what is expected."""
    try:
        settings = Settings()
    except ValidationError as error:
        name, _, complaint = explain(error).partition(" ")
        raise InputError(f"environment: SERVE_{name.upper()} {complaint}") from None
    if not settings.keys and settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise InputError(
            f"SERVE_HOST is {settings.host}, which others can reach, and SERVE_KEYS is empty; expected the SHA-256 "
            "digests of the API keys: printf %s KEY | sha256sum."
        )
    return settings
