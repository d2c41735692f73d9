"""Certificates for tests, made afresh: nothing here is trusted by anyone."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test org"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _builder(name: str, key: Key, issuer: str, issuer_key: Key, authority: bool) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*unused, "encipher_only", "decipher_only"), False)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signer() -> tuple[bytes, bytes]:
    """(chain, private key) in PEM, fit to sign content credentials: a leaf called "Test signer" under a root."""
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    top = _builder("Test root", root, "Test root", root, True).sign(root, hashes.SHA256())
    end = _builder("Test signer", leaf, "Test root", root, False).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
    )
    chain = [end.sign(root, hashes.SHA256()), top]
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain), _pem(leaf)


def self_signed(address: str) -> tuple[bytes, bytes]:
    """(certificate, private key) in PEM of a server that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    built = _builder("Test server", key, "Test server", key, False).add_extension(names, critical=False)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)
