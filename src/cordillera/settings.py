"""Settings of a lake: from its ``cordillera.toml``, environment variables and arguments; later ones win.

A lake is made from variables and arguments, since there is no file yet, and opened by the file and variables.
"""

from __future__ import annotations

import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from cordillera.errors import InvalidConfigurationError, LakeNotFoundError
from cordillera.spec.endpoint import EndpointRules
from cordillera.spec.local_path import whole_path

SETTINGS_FILE = "cordillera.toml"
_SECRETS = {"s3_secret_key", "oidc_client_secret"}
_SQLITE_PREFIXES = ("sqlite:///", "sqlite+pysqlite:///")


class WorkloadIssuer(BaseModel):
    """Who may vouch for programs that run elsewhere, and for which."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    audience: str = Field(min_length=1)
    principals: dict[str, str]
    claim: str = "sub"
    bearer: bool = False


class Settings(BaseSettings):
    """Where a lake keeps its metadata and its data, and how it works.

    Every setting has an environment variable: its name in capitals behind ``CORDILLERA_``.
    """

    model_config = SettingsConfigDict(env_prefix="CORDILLERA_", extra="forbid", frozen=True)

    name: str = Field("lake", description="The lake's name, shown on every page.")
    metadata_url: SecretStr = Field(
        SecretStr(""), description="URL of the metadata database; by default SQLite in the lake's folder."
    )
    storage_root: str = Field("", description="URI under which data lives; by default files in the lake's folder.")
    s3_endpoint: str = Field("", description="Endpoint of an S3 service other than AWS.")
    s3_region: str = Field("", description="Region of the bucket.")
    s3_access_key: str = Field("", description="Access key; by default AWS's usual places are searched.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key.")
    s3_path_style: bool = Field(
        True,
        description="Address buckets in the path, not in the host name. Only matters with an endpoint.",
    )
    s3_role_arn: str = Field(
        "",
        description="Role that the lake assumes to make credentials for one table each, for other engines; without "
        "it none are made.",
    )
    s3_sts_endpoint: str = Field("", description="Endpoint of the token service; by default that of S3, or AWS's.")
    s3_credential_seconds: int = Field(
        3600, ge=900, le=43200, description="How long credentials for other engines last, in seconds."
    )
    memory_limit: str = Field("1GB", description="Most memory a query may use before it spills to disk.")
    threads: int | None = Field(None, ge=1, description="Threads of the query engine; by default one a core.")
    lease_seconds: float = Field(60.0, gt=0, description="How long a worker holds a task without a sign of life.")
    oidc_issuer: str = Field(
        "", description="URL of the OpenID Connect provider that people sign in with; without it they paste API tokens."
    )
    oidc_client_id: str = Field("", description="What the lake is called there.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Its secret there; none for a public client.")
    oidc_scopes: str = Field("openid email profile", description="What is asked for, with spaces between.")
    oidc_name_claim: str = Field(
        "email", description="Claim that becomes a person's name, as user:NAME; email has to be verified there."
    )
    oidc_groups_claim: str = Field("groups", description="Claim that lists a person's groups, each as group:NAME.")
    oidc_session_hours: int = Field(
        12, ge=1, le=720, description="How long a sign-in lasts, and what the provider said of groups with it."
    )
    workloads: tuple[WorkloadIssuer, ...] = Field(
        (),
        description="Issuers whose tokens programs elsewhere exchange for the lake's, each with `issuer` (its URL), "
        "`audience` (what its tokens have to be made for), `principals` (the value of a claim, whole, and the service "
        "that it stands for), `claim` (`sub` by default) and `bearer` (`true` to take its tokens as they are, too).",
    )
    audit_dataset: str = Field(
        "", description="Dataset that workers export the audit log into, every hour; by default none does."
    )
    event_streams: int = Field(200, ge=0, description="Most streams of events that one server process keeps open.")
    destination_loopback: bool = Field(
        False,
        description="Let events be sent to this machine itself, also without TLS: to try things out, where everybody "
        "who may make one may reach its services.",
    )
    destination_internal_hosts: str = Field(
        "", description="Hosts, with commas between, that events may be sent to though their addresses are private."
    )
    requests_per_second: float = Field(
        0.0,
        ge=0,
        description="Most requests a second of one principal, on average, that one server process takes; five seconds' "
        "worth may come at once. 0 for any number.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses or networks of proxies, with commas between, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed.",
    )
    max_request_mb: int = Field(1024, ge=1, description="Largest request body the server accepts, in megabytes.")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_addresses(cls, text: str) -> str:
        for address in filter(None, text.split(",")):
            ip_network(address.strip())
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes all five by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let arguments override the environment; what the file says is put together with both before."""
        return init_settings, env_settings

    def endpoint_rules(self) -> EndpointRules:
        """Return where events may be sent to."""
        hosts = (host.strip().lower() for host in self.destination_internal_hosts.split(","))
        return EndpointRules(self.destination_loopback, frozenset(filter(None, hosts)))

    def storage_options(self) -> dict[str, str]:
        """Return the storage adapter's options that are set."""
        if not self.storage_root.startswith("s3://"):
            return {}
        options = {
            "endpoint": self.s3_endpoint,
            "region": self.s3_region,
            "access_key": self.s3_access_key,
            "secret_key": self.s3_secret_key.get_secret_value(),
            "path_style": "true" if self.s3_path_style else "false",
        }
        return {name: value for name, value in options.items() if value}


def load_settings(path: Path, **overrides: Any) -> Settings:
    """Return the settings of the lake in a folder; relative paths in its file count from the folder.

    Args:
        path: The lake's folder.
        overrides: Settings that go before the file and the environment.

    Raises:
        LakeNotFoundError: If there is no lake in the folder.
        InvalidConfigurationError: If a setting is unknown or has a value that cannot be.
    """
    file = path / SETTINGS_FILE
    if not file.is_file():
        raise LakeNotFoundError(f"There is no lake in {path}.", hint=f"Create one with: cordillera init {path}.")
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(
            f"{file} cannot be read: {error}.",
            hint='Correct the file: each line is a setting, for example name = "lake".',
        ) from error
    return make_settings(path, {**with_whole_paths(values, path.resolve()), **_from_environment(), **overrides})


def make_settings(path: Path, values: dict[str, Any]) -> Settings:
    """Return settings with the defaults that depend on the lake's folder filled in.

    Args:
        path: The lake's folder.
        values: Settings that go before the environment.

    Raises:
        InvalidConfigurationError: If a setting is unknown or has a value that cannot be.
    """
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidConfigurationError(
            f"The settings of the lake in {path} are wrong: {problems}.",
            hint=f"Settings are: {', '.join(Settings.model_fields)}.",
        ) from error
    folder = path.resolve()
    return settings.model_copy(
        update={
            "metadata_url": settings.metadata_url
            if settings.metadata_url.get_secret_value()
            else SecretStr(f"sqlite:///{folder / 'lake.db'}"),
            "storage_root": settings.storage_root or str(folder / "data"),
        }
    )


def with_whole_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings whose relative paths of local files have been completed, so that they mean one place only.

    Args:
        values: Settings as they were given.
        folder: Where relative paths count from.
    """
    whole = dict(values)
    root, url = values.get("storage_root"), values.get("metadata_url")
    if isinstance(root, str):
        whole["storage_root"] = whole_path(root, folder)
    if isinstance(url, str) and url.startswith(_SQLITE_PREFIXES):
        scheme, file = url.split(":///", 1)
        whole["metadata_url"] = f"{scheme}:///{whole_path(file, folder)}"
    return whole


def _from_environment() -> dict[str, Any]:
    return with_whole_paths(EnvSettingsSource(Settings)(), Path.cwd())


def write_settings_file(path: Path, values: dict[str, str]) -> None:
    """Write the settings file of a new lake. Values are written as TOML strings; secrets are left out."""
    values = {name: _without_password(value) for name, value in values.items() if name not in _SECRETS}
    lines = ["# Settings of this lake. Secrets belong into environment variables (CORDILLERA_…), not into this file."]
    lines += [f'{name} = "{_escaped(value)}"' for name, value in values.items() if value]
    (path / SETTINGS_FILE).write_text("\n".join(lines) + "\n", "utf-8")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@", 1)).geturl()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
