"""With which master does a command talk, and what does it say where that does not answer, or refuses?

Login is Determined's own: `DET_MASTER`, `det user login`, `DET_USER` and `DET_PASS`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator

import requests
from determined.common import api
from determined.common.api import authentication, bindings, certs, errors
from determined.experimental.client import Determined

from lightning_adapter.errors import ConfigurationError, LightningAdapterError, shown

#: A master that is there answers in less.
_FIRST_ANSWER_S = 15
_LOGIN = "To fix, type det user login, or set DET_USER and DET_PASS."
#: As sockets and resolvers of several systems say it, where the error itself is known by its text alone.
_REASONS = {
    "timed out": "it timed out",
    "name or service not known": "there is no host of that name",
    "nodename nor servname": "there is no host of that name",
    "name resolution": "the name of the host could not be looked up",
    "connection refused": "nothing listens there: connection refused",
}
#: Everything that Determined's session and bindings make of a request that failed.
FAILED = (
    errors.BadRequestException,
    errors.BadResponseException,
    bindings.APIHttpError,
    requests.exceptions.RequestException,
)


def address() -> str:
    """Return the master's address, in the form that Determined keeps tokens under.

    Raises:
        ConfigurationError: `DET_MASTER` holds none.
    """
    given = api.get_default_master_url()
    try:
        return api.canonicalize_master_url(given)
    except ValueError as error:
        raise ConfigurationError(f"DET_MASTER={shown(given)} is no address of a master: {error}") from None


def connect() -> Determined:
    """Log in as Determined's own commands do.

    Raises:
        ConfigurationError: there is no master, or it does not know who asks.
    """
    find_master()
    url = address()
    try:
        _check_password(url)
        return Determined()
    except EOFError as error:  # a password was asked for, and there is nobody to type it
        raise ConfigurationError(f"The master at {url} wants a password of {_who(url)}. {_LOGIN}") from error
    except errors.CorruptTokenCacheException as error:
        raise ConfigurationError(f"Determined's file of logins was damaged, and is deleted. {_LOGIN}") from error
    except (errors.UnauthenticatedException, errors.ForbiddenException) as error:
        raise ConfigurationError(_refusal(url)) from error
    except FAILED as error:
        if _has_no_answer(error):
            raise ConfigurationError(
                f"The master at {url} could be reached, and then the login broke off: {reason(error)}. Nothing was created; "
                "try again."
            ) from error
        raise LightningAdapterError(f"The master at {url} does not let anybody in: {_words(error)}") from error


def _refusal(url: str) -> str:
    user, _, is_nobody = authentication.default_load_user_password(None, None, authentication.TokenStore(url))
    if is_nobody:
        return f"Nobody is logged in at {url}. To fix, type det user login YOU, or set DET_USER and DET_PASS."
    return (
        f"The master at {url} refuses the name {shown(user)} or its password. To fix, type det user login {user}, or set "
        "DET_USER and DET_PASS."
    )


def _who(url: str) -> str:
    return shown(authentication.default_load_user_password(None, None, authentication.TokenStore(url))[0])


def _check_password(url: str) -> None:
    """Try a password that was given: the client takes a token that it kept for the name, whatever is given today."""
    user, password = authentication.get_det_username_from_env(), authentication.get_det_password_from_env()
    if user is not None and password is not None:
        authentication.login(url, user, password, certs.default_load(url))


def find_master() -> None:
    """Ask for the master's version, which needs no login.

    Raises:
        ConfigurationError: nothing answers, or something else than a master.
    """
    url = address()
    try:
        with api.UnauthSession(url, certs.default_load(url), max_retries=0) as session:
            session.get("info", timeout=_FIRST_ANSWER_S).json()["version"]
    except errors.CorruptCertificateCacheException as error:
        raise ConfigurationError("Determined's file of certificates was damaged, and is deleted. Try again.") from error
    except requests.exceptions.SSLError as error:
        raise ConfigurationError(
            f"The certificate of {url} is not trusted: {_words(error)}. To fix, set DET_MASTER_CERT_FILE to the file of the "
            "certificate, or type det user login, which shows it and asks."
        ) from error
    except (*FAILED, ValueError, KeyError, TypeError) as error:
        found = (
            f"No Determined master answers at {url} ({reason(error)})"
            if _has_no_answer(error)
            else f"What answers at {url} is no Determined master"
        )
        raise ConfigurationError(
            f"{found}, {_source()}. Set DET_MASTER to the master's address: export DET_MASTER=http://HOST:8080"
        ) from error


def _source() -> str:
    """Where the address comes from."""
    named = next((name for name in ("DET_MASTER", "DET_MASTER_ADDR") if name in os.environ), None)
    return (
        "which is Determined's default, since DET_MASTER is not set" if named is None else f"which is what {named} says"
    )


def absent(what: str) -> str:
    """Say that the master does not have what somebody has named; another one may."""
    return f"The master at {address()} has no {what}"


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Say in a line why the master does not give what is asked for in the block; what it does not have is the block's.

    Args:
        what: is asked for.

    Raises:
        ConfigurationError: it refuses.
        LightningAdapterError: it went away, or fails.
    """
    try:
        yield
    except errors.NotFoundException:
        raise
    except errors.UnauthenticatedException as error:
        raise ConfigurationError(f"The master does not know you any more, asked for {what}. {_LOGIN}") from error
    except errors.ForbiddenException as error:
        raise ConfigurationError(f"The master does not give you {what}: {_words(error)}") from error
    except errors.MasterNotFoundException as error:
        raise LightningAdapterError(
            f"The connection to the master broke, asked for {what}: {reason(error)}. Nothing is left here; try again."
        ) from error
    except FAILED as error:
        raise LightningAdapterError(f"The master does not give {what}: {_words(error)}") from error


def _has_no_answer(error: Exception) -> bool:
    # Determined's session raises the last for a request that timed out, and classes below it for answers
    connection = (errors.MasterNotFoundException, requests.exceptions.RequestException)
    return isinstance(error, connection) or type(error) is errors.BadRequestException


def reason(error: BaseException) -> str:
    """Return in a few words why a request had no answer; the whole text names objects of libraries."""
    inner: BaseException | None = error
    text = " ".join(str(error).split())
    while inner is not None:
        if isinstance(inner, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            return "it closed the connection"
        if (
            isinstance(inner, OSError)
            and inner.strerror
            and not isinstance(inner, requests.exceptions.RequestException)
        ):
            text = inner.strerror
        inner = inner.__cause__ or inner.__context__
    known = next((words for sign, words in _REASONS.items() if sign in text.lower()), None)
    return known or text[:200] or type(error).__name__


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__
