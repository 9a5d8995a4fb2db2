"""Object storage on this machine's files and on S3."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cordillera.adapters.storage.local import LocalStorage
from cordillera.errors import InvalidConfigurationError
from cordillera.ports.credentials import CredentialVendor, RequestSigner
from cordillera.ports.storage import Storage

_SCHEME = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://.*", re.DOTALL)


def build_storage(uri: str, options: Mapping[str, str]) -> Storage:
    """Return the storage whose root is ``uri``.

    Args:
        uri: ``file:///…``, ``s3://bucket[/folder]``, or a path of this machine.
        options: Settings of the adapter: those of :class:`~cordillera.adapters.storage.s3.S3Config` for S3,
            none for files.

    Raises:
        InvalidConfigurationError: If the scheme or an option is unknown, or the URI cannot be a root.
        MissingExtraError: If the adapter's library is not installed.
    """
    matched = _SCHEME.fullmatch(uri)
    scheme = matched["scheme"] if matched else "file"
    if scheme not in _BUILDERS:
        raise InvalidConfigurationError(
            f"There is no storage for {scheme}:// URIs.",
            hint=f"Known are {', '.join(_BUILDERS)}, or a plain path.",
        )
    return _BUILDERS[scheme](uri, options)


def build_credential_vendor(
    uri: str, options: Mapping[str, str], *, role_arn: str, endpoint: str, seconds: int
) -> CredentialVendor | None:
    """Return what makes credentials for folders of a storage; None for files, and without a role.

    Args:
        uri: The storage's root.
        options: Settings of the storage's adapter.
        role_arn: The role to assume.
        endpoint: The token service; empty for the usual one.
        seconds: How long credentials last.
    """
    if not role_arn or not uri.startswith("s3://"):
        return None
    from cordillera.adapters.storage.s3 import S3Config
    from cordillera.adapters.storage.s3_credentials import S3CredentialVendor

    return S3CredentialVendor(S3Config.from_options(options), role_arn, endpoint or None, seconds)


def build_request_signer(uri: str, options: Mapping[str, str]) -> RequestSigner | None:
    """Return what signs requests to a storage; None for files.

    Args:
        uri: The storage's root.
        options: Settings of the storage's adapter.
    """
    if not uri.startswith("s3://"):
        return None
    from cordillera.adapters.storage.s3 import S3Config
    from cordillera.adapters.storage.s3_signing import S3RequestSigner

    return S3RequestSigner(uri, S3Config.from_options(options))


def _build_local(uri: str, options: Mapping[str, str]) -> Storage:
    if options:
        raise InvalidConfigurationError(
            f"Storage in files has no options, but was given {', '.join(sorted(options))}.",
            hint="Remove them.",
        )
    return LocalStorage(uri)


def _build_s3(uri: str, options: Mapping[str, str]) -> Storage:
    from cordillera.adapters.storage.s3 import S3Config, S3Storage

    return S3Storage(uri, S3Config.from_options(options))


_BUILDERS: dict[str, Callable[[str, Mapping[str, str]], Storage]] = {"file": _build_local, "s3": _build_s3}
