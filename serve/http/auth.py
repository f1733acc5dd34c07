"""Authenticate callers of the admin side: by the admin token, API tokens, JWTs or passwords."""

import hmac
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import jwt
from starlette.requests import HTTPConnection, Request

from packshot.catalog.clients.tokens import PREFIX
from packshot.errors import Forbidden, NotFound
from packshot.model import NAME
from packshot.settings.subjects import ADMIN, is_acceptable_subject
from packshot.settings.types import split_list
from packshot.site import Site
from pregen.queue.doorbell import Doorbell
from resolvers.caller import Caller, Scope
from resolvers.urls.parse import Address, read_address, tenant_of
from schema.request.threads import Threads
from serve.http.backoff import TokenBackoff, network_of
from serve.http.jwks import KeySet
from serve.http.known_hosts import KnownHosts, is_cross_site
from serve.http.passwords import Passwords, WrongPassword
from serve.http.tokens import Tokens

# Tolerance for clocks that differ.
LEEWAY_SECONDS = 30
# Without `none` and without HMAC, which would take a public key for a shared secret.
PUBLIC_KEY_ALGORITHMS = ["RS256", "ES256", "EdDSA"]
BEARER = ("bearer", "vimondauth")
# Headers in which a proxy names its client.
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


class Unauthenticated(Exception):
    """The request has no credentials, or wrong ones."""


class UnknownToken(Exception):
    """This installation neither issued the token nor trusts its issuer."""


class Insecure(Exception):
    """The request came without HTTPS from an address that is not trusted."""


class Authenticator:
    """Authenticates requests over HTTPS or from trusted addresses.

    Attributes:
        backoff: counts wrong tokens of every kind.
    """

    def __init__(self, site: Site, doorbell: Doorbell, admin_token: str, threads: Threads | None = None) -> None:
        self.site = site
        self.backoff = TokenBackoff()
        self._threads = threads or Threads()
        self._doorbell = doorbell
        self._admin_token = admin_token
        settings = site.settings
        self._hosts = KnownHosts(settings)
        self._trusted = [ip_network(text) for text in split_list(settings.trusted_ips)]
        users = settings.basic_users.get_secret_value() if settings.basic_users else ""
        self._passwords = Passwords(dict(user.split(":", 1) for user in users.split()), self._threads.passwords)
        self._tokens = Tokens(site)
        self.keys = KeySet(site, settings.jwks_url) if settings.jwks_url else None

    async def authenticate(
        self, connection: HTTPConnection, authorization: str | None = None, *, tenant: str | None = None
    ) -> Caller:
        """Return the caller. A known token needs no thread; lookups and password hashes have threads of their own.

        Args:
            authorization: the credentials of a WebSocket's first message, instead of the header.
            tenant: the tenant in the path; used if the host names none.

        Raises:
            Insecure: the request came without HTTPS from an address that is not trusted.
            Unauthenticated: the credentials are missing or wrong; the client does not learn which.
            NotFound: the host or path names another tenant than the token.
            ThreadsBusy: the client sent too many wrong credentials, or they cannot be checked now.
        """
        self.check_secure(connection)
        # So that URLs can be built later without a database read.
        if not self.site.access_policy.is_fresh:
            await self._threads.lookups.run(self.site.access_policy.look)
        given = connection.headers.get("authorization", "") if authorization is None else authorization
        scheme, _, credentials = given.partition(" ")
        named = tenant_of_host(self.site, connection) or tenant
        return await self._recognise(scheme.lower(), credentials.strip(), connection, named)

    def check_secure(self, connection: HTTPConnection) -> None:
        """Raise `Insecure` for a request that others on the network could read."""
        if connection.url.scheme not in ("https", "wss") and not _is_within(connection, self._trusted):
            raise Insecure

    def is_near(self, connection: HTTPConnection) -> bool:
        """Whether a request comes from a trusted address itself, which some endpoints accept without credentials.

        A request that an unknown proxy forwarded does not: its address is the proxy's, not the client's.
        """
        forwarded = any(name in connection.headers for name in FORWARDED)
        return _is_within(connection, self._trusted) and not (forwarded and self.site.settings.trusted_proxies is None)

    def check_near(self, connection: HTTPConnection) -> None:
        """Refuse a request from a trusted address that a page of another site may have caused.

        Raises:
            Forbidden: the browser's headers name another site, or the request names an unknown host.
        """
        if is_cross_site(connection):
            raise Forbidden("Pages of other sites may not do this.", expected="no browser, or this site")
        if not self._hosts.includes_host_of(connection):
            raise Forbidden(
                "The host of the request is unknown, so a trusted address is not enough.",
                expected="credentials, or a host that PACKSHOT_PUBLIC_URL, PACKSHOT_LIVE_HOST, PACKSHOT_TENANT_DOMAIN"
                " or PACKSHOT_TRUSTED_HOSTS names",
                got=connection.headers.get("host", "none"),
            )

    async def _recognise(self, scheme: str, credentials: str, connection: HTTPConnection, named: str | None) -> Caller:
        tenant = named or self.site.settings.tenant
        known = Caller(self.site, self._doorbell, tenant, ADMIN, origin(self.site, connection, tenant))
        address = address_of_client(connection)
        if scheme == "basic":
            if is_cross_site(connection):
                # A browser attaches a remembered password to requests of any page.
                raise Forbidden("Pages of other sites may not use the admin API.", expected="no browser, or this site")
            try:
                return replace(known, subject=await self._passwords.user(credentials, address))
            except WrongPassword:
                raise Unauthenticated from None
        if scheme not in BEARER or not credentials:
            raise Unauthenticated
        try:
            if not credentials.isascii():
                # Tokens are ASCII, and a lone surrogate cannot be encoded for the comparison.
                raise UnknownToken
            if _alike(credentials, self._admin_token):
                caller = known
            elif credentials.startswith(PREFIX):
                caller = await self._by_token(known, credentials)
            else:
                caller = await self._by_jwt(known, credentials)
        except UnknownToken:
            self.backoff.failed(address)
            raise Unauthenticated from None
        self.backoff.passed(address)
        if caller is known:
            return known
        known = caller
        if named not in (None, known.tenant):
            raise NotFound("This tenant does not exist.", field=("tenant",), got=named)
        return replace(known, origin=origin(self.site, connection, known.tenant))

    async def _by_token(self, known: Caller, secret: str) -> Caller:
        token = self._tokens.recent(secret) or await self._threads.lookups.run(self._tokens.find, secret)
        if token is None:
            raise UnknownToken
        return replace(
            known,
            tenant=token.tenant,
            subject=f"token:{token.name}",
            scopes=frozenset(scope for scope in Scope if scope.value in token.scopes),
            expires_at=token.expires_at,
            token_id=token.id,
        )

    async def _by_jwt(self, known: Caller, credentials: str) -> Caller:
        claims = await self._verify(credentials)
        tenant = claims.get("tenant", self.site.settings.tenant)
        if not isinstance(tenant, str) or not NAME.fullmatch(tenant):
            raise Unauthenticated
        return replace(
            known,
            tenant=tenant,
            subject=_subject(claims),
            scopes=frozenset(scope for scope in Scope if scope.value in _scopes(claims)),
            expires_at=_moment(claims["exp"]),
        )

    async def _verify(self, token: str) -> dict[str, Any]:
        settings = self.site.settings
        try:
            if settings.jwt_secret is not None:
                key: Any = settings.jwt_secret.get_secret_value()
                algorithms = ["HS256"]
            elif self.keys is not None:
                key, algorithms = await self.keys.find(_key_id(token)), PUBLIC_KEY_ALGORITHMS
            else:
                raise UnknownToken
            if key is None:
                raise UnknownToken
            return jwt.decode(
                token,
                key,
                algorithms=algorithms,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"]},
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            # The signature is valid, so this is no guess, and the client may renew its token without a pause.
            raise Unauthenticated from None
        except jwt.PyJWTError:
            raise UnknownToken from None


def _alike(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _key_id(token: str) -> object:
    """Return the id of the key that signed a JWT.

    Raises:
        UnknownToken: the algorithm uses no public key.
        jwt.PyJWTError: this is no JWT.
    """
    header = jwt.get_unverified_header(token)
    if header.get("alg") not in PUBLIC_KEY_ALGORITHMS:
        raise UnknownToken
    return header.get("kid")


def address_of_client(connection: HTTPConnection) -> str:
    """Return the network under which wrong credentials are counted; behind a trusted proxy, the client's."""
    return network_of(None if connection.client is None else connection.client.host)


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if subject is None:
        return "unnamed"
    if not isinstance(subject, str) or not is_acceptable_subject(subject):
        raise Unauthenticated
    return subject


def _scopes(claims: dict[str, Any]) -> list[str]:
    # OAuth uses one string (RFC 8693); many issuers send a list.
    found = claims.get("scope", claims.get("scopes", ""))
    if isinstance(found, str):
        return found.split()
    return [str(scope) for scope in found] if isinstance(found, list) else []


def _moment(seconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError, TypeError):
        raise Unauthenticated from None


def _is_within(connection: HTTPConnection, networks: list[IPv4Network | IPv6Network]) -> bool:
    if connection.client is None:
        return True  # a local socket
    try:
        address = ip_address(connection.client.host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def tenant_of_host(site: Site, connection: HTTPConnection) -> str | None:
    """Return the tenant that the host names; None: it names none.

    Raises:
        NotFound: the host is within the tenant domain, but names no possible tenant.
    """
    return tenant_of(site.settings, connection.url.hostname)


def address_of(site: Site, request: Request) -> Address:
    """Return the parsed URL of an image request; see `resolvers.urls.parse.read_address`."""
    query = request.scope["query_string"].decode("latin-1")
    return read_address(site.settings, request.url.hostname, request.scope["path"], query)


def origin(site: Site, connection: HTTPConnection, tenant: str) -> str:
    """Return the origin of the URLs in a response: the configured public URL, or the request's own origin."""
    if site.settings.public_url is not None:
        return site.settings.public_url.replace("{tenant}", tenant)
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    return f"{scheme}://{connection.url.netloc}"
