"""Sentences about requests to an S3 store that got no complete answer: what is wrong, and what to do.

A sentence is the same each time as long as the fault is the same, so that a log can leave out repetitions.
"""

import errno
import ssl
from http.client import IncompleteRead

from urllib3 import exceptions

from signet.store.s3_http import CHECK_ADDRESS, S3Address, one_line


def explain_failure(address: S3Address, error: Exception) -> str:
    """The sentence for a request without a complete answer."""
    if isinstance(error, exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, exceptions.SSLError):
        return f"{address.url}: the store cannot be reached: {_tls_fault(address, error)}"
    if isinstance(error, exceptions.HTTPError):
        return f"{address.url}: the store cannot be reached: {_connection_fault(address, error)}"
    return f"{address.url}: the answer of the store cannot be read ({one_line(str(error))}). {CHECK_ADDRESS}"


def _connection_fault(address: S3Address, error: exceptions.HTTPError) -> str:
    place = address.endpoint
    cut_off = _find_cut_off(error)
    if cut_off is not None:
        return _cut_off(cut_off)
    match error:
        case exceptions.NewConnectionError():
            sentence = _no_connection(address, error)
        case exceptions.ConnectTimeoutError():
            sentence = (
                f"{place} does not accept a connection in time. Check the address in SIGNET_STORE, and the firewalls "
                "between this machine and the store."
            )
        case exceptions.ReadTimeoutError():
            sentence = (
                f"{place} accepts connections, and does not answer in time. The store is overloaded, or another kind "
                "of server listens there: check SIGNET_STORE."
            )
        case _:
            sentence = (
                f"{place} closes the connection without a complete HTTP answer. It is no S3 server, or a proxy "
                f"interrupts the connection. Check SIGNET_STORE{_OTHER_SCHEME[address.secure]}."
            )
    return sentence


# With `secure`, a server that does not speak TLS causes an error of TLS.
_OTHER_SCHEME = {False: ", and write https:// if the server speaks it", True: ""}


def _no_connection(address: S3Address, error: exceptions.NewConnectionError) -> str:
    """The sentence for a server that cannot be connected to."""
    if isinstance(error, exceptions.NameResolutionError):
        return (
            f"the name {address.host!r} cannot be resolved. Check SIGNET_STORE for a typing error, and the DNS of this "
            f"machine.{' SIGNET_S3_ADDRESSING=path does not need this name.' if address.virtual else ''}"
        )
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else OSError()
    if cause.errno == errno.ECONNREFUSED:
        return (
            f"nothing listens at {address.endpoint} (connection refused). Start the store, or correct the host and the "
            "port in SIGNET_STORE."
        )
    reason = cause.strerror or "no connection"
    return f"{address.endpoint}: {reason}. Check the address in SIGNET_STORE, and the network of this machine."


def _find_cut_off(error: BaseException) -> BaseException | None:
    """The error of an answer that ended too early; None if this is another error."""
    for cause in (error, error.__cause__, *error.args):
        if isinstance(cause, IncompleteRead | exceptions.InvalidChunkLength):
            return cause
    return None


def _cut_off(error: BaseException) -> str:
    size = ""
    if isinstance(error, IncompleteRead) and error.expected is not None:
        read = error.partial if isinstance(error.partial, int) else len(error.partial)
        size = f" after {read} of {read + error.expected} bytes"
    return (
        f"the answer was cut off{size}. Try again. If it happens each time, a proxy between this machine and the "
        "store limits size or time."
    )


# OpenSSL's numbers of faults of a certificate.
_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64


def _tls_fault(address: S3Address, error: exceptions.SSLError) -> str:
    cause = next((cause for cause in (error.__cause__, *error.args) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in {_OTHER_NAME, _OTHER_ADDRESS}:
            return (
                f"the certificate of {address.endpoint} is for another name ({one_line(cause.verify_message)}). Write "
                "a name from the certificate into SIGNET_STORE."
            )
        if cause.verify_code in {_EXPIRED, _NOT_YET_VALID}:
            state = "has expired" if cause.verify_code == _EXPIRED else "is not yet valid"
            return (
                f"the certificate of {address.endpoint} {state}. Renew the certificate, or correct the clock of this "
                "machine."
            )
        return (
            f"this machine does not trust the certificate of {address.endpoint} ({one_line(cause.verify_message)}). "
            "Set SIGNET_S3_CA_BUNDLE to a PEM file with the certificate of its authority."
        )
    reason = cause.reason if cause is not None and cause.reason else ""
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}:
        return f"{address.endpoint} does not speak https. Write http:// instead of https:// into SIGNET_STORE."
    return (
        f"no TLS connection to {address.endpoint} ({one_line(reason or str(error))}). Check SIGNET_STORE: https:// "
        "needs a port that speaks TLS."
    )
