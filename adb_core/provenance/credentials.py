"""Signed metadata: Content Credentials by the C2PA specification, through the package c2pa-python.

A signature says that nothing has been changed since somebody signed, and by a certificate who that
was. Real ones come from an authority on the C2PA's trust list; the test certificate that is made
here comes from nobody, and every reader has to say so: untrusted. Nothing is asked of the network:
no timestamp, no manifest that lies elsewhere.
"""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from .. import __version__
from .record import Provenance

ORGANIZATION = "a test certificate, trusted by nobody"
VALID = timedelta(days=365)
UNTRUSTED = "signingCredential.untrusted"
# No thumbnail: it is ten times as large as a small picture.
SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


class CredentialError(RuntimeError):
    """Nothing can be signed or checked; one line with the cure."""


class Signer(NamedTuple):
    """Certificates, the signer's own first, and its private key, each as PEM."""

    chain: bytes
    key: bytes


@dataclass(frozen=True)
class Credentials:
    """What a file's Content Credentials are worth.

    Attributes:
        is_intact: nothing was changed since the signing. is_trusted: the signer's certificate is on
            the list of whoever checks. issuer: who the certificate says it was.
        source_types: the IPTC's addresses for how the picture was made.
        problems: codes of what is wrong, by the C2PA specification.
    """

    is_intact: bool
    is_trusted: bool
    issuer: str
    source_types: tuple[str, ...]
    problems: tuple[str, ...]

    def line(self) -> str:
        """For people."""
        state = "intact" if self.is_intact else "BROKEN: picture or metadata were changed since"
        trust = "trusted" if self.is_trusted else "untrusted: anyone can make such a signature"
        return f"content credentials: signed by {self.issuer!r}; {state}; {trust}"

    def public(self) -> dict[str, Any]:
        """For ``adb inspect --json``."""
        return {
            "intact": self.is_intact,
            "trusted": self.is_trusted,
            "issuer": self.issuer,
            "source_types": list(self.source_types),
            "problems": list(self.problems),
        }


def is_there() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("c2pa") is not None


def check_c2pa(what: str) -> None:
    """Find out whether the package is there, before any work.

    Raises:
        CredentialError: it is not; one line with the cure.
    """
    if not is_there():
        raise CredentialError(
            f"{what} needs the package c2pa-python, which is not installed: pip install c2pa-python"
        )


# ---------------------------------------------------------------- signing


def signed(data: bytes, about: Provenance, signer: Signer | None = None) -> bytes:
    """The bytes of a PNG with Content Credentials that say how the picture was made.

    Whatever is written into the file afterwards breaks the signature: metadata come first.

    Args:
        signer: by default a test certificate, made for this one file.

    Raises:
        CredentialError: no package; a PNG or certificate that it refuses.
    """
    check_c2pa("signing")
    import c2pa

    chain, key = signer or make_test_signer()
    action = {"action": "c2pa.created", "digitalSourceType": about.source}
    manifest = {
        "claim_generator_info": [{"name": "adb-core", "version": __version__}],
        "format": "image/png",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    stream = io.BytesIO()
    try:
        info = c2pa.C2paSignerInfo(alg="es256", sign_cert=chain, private_key=key, ta_url=None)
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Signer.from_info(info) as native,
            c2pa.Builder(manifest, context=context) as builder,
        ):
            builder.sign(native, "image/png", io.BytesIO(data), stream)
    except c2pa.C2paError as error:
        raise CredentialError(
            f"the picture cannot be signed ({error}): sign a whole PNG"
        ) from error
    return stream.getvalue()


def make_test_signer(now: datetime | None = None) -> Signer:
    """A certificate for signing, by an authority that exists for this moment alone.

    C2PA refuses a certificate that signed itself, so there are two; the authority's key is thrown
    away. Valid from yesterday on for a year.
    """
    check_c2pa("signing")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    since = (now or datetime.now(timezone.utc)) - timedelta(days=1)
    authority = _certificate("test authority", root.public_key(), root, since)
    own = _certificate("test signer", leaf.public_key(), root, since)
    pem = serialization.Encoding.PEM
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Signer(own.public_bytes(pem) + authority.public_bytes(pem), key)


def _certificate(name: str, public: Any, root: Any, since: datetime) -> Any:
    """A certificate by the authority with the key ``root``: for itself, or for a signer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    is_root = public == root.public_key()
    uses = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    usage = x509.KeyUsage(
        digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **uses
    )
    builder = (
        x509.CertificateBuilder(_named("test authority"), _named(name), public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + VALID)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
    )
    if not is_root:  # what C2PA asks of a signer
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(root, hashes.SHA256())


def _named(common: str) -> Any:
    from cryptography import x509

    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
        ]
    )


# ---------------------------------------------------------------- checking


def has_credentials(data: bytes) -> bool:
    """Whether a file's bytes look as if there were Content Credentials in them."""
    return b"jumb" in data and b"c2pa" in data


def read_credentials(data: bytes, mime: str = "image/png") -> Credentials | None:
    """Check the Content Credentials in the bytes of a picture; None where there are none.

    Raises:
        CredentialError: no package, or credentials that are damaged.
    """
    if not has_credentials(data):
        return None
    check_c2pa("checking content credentials")
    import c2pa

    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Reader(mime, io.BytesIO(data), context=context) as reader,
        ):
            said = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise CredentialError(
            f"its content credentials cannot be read ({error}): copy the file again"
        ) from error
    manifest = said["manifests"][said["active_manifest"]]
    problems = tuple(status["code"] for status in said.get("validation_status", ()))
    actions = (
        action
        for assertion in manifest.get("assertions", ())
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions", ())
    )
    kinds = (action.get("digitalSourceType") for action in actions)
    return Credentials(
        is_intact=not set(problems) - {UNTRUSTED},
        is_trusted=UNTRUSTED not in problems and said.get("validation_state") == "Trusted",
        issuer=str(manifest.get("signature_info", {}).get("issuer", "nobody")),
        source_types=tuple(kind for kind in kinds if kind),
        problems=problems,
    )
