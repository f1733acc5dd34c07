"""Parse the authority of a request: its host, and optionally a port (RFC 9110, section 7.2)."""

import re
from ipaddress import AddressValueError, IPv6Address

MAX_PORT = 65_535
EXPECTED = "a host name, an IPv4 address or an IPv6 address in brackets, optionally with :port"
_AUTHORITY = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*))"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def read_host(authority: str) -> str | None:
    """Return the host of an authority in lower case, without brackets; None: the authority is malformed.

    >>> read_host("Img.Example:8080"), read_host("[::1]"), read_host("[::1"), read_host("user@img.example")
    ('img.example', '::1', None, None)
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found["port"] or 0) > MAX_PORT:
        return None
    if found["ipv6"] is None:
        return found["name"].lower()
    try:
        IPv6Address(found["ipv6"])
    except AddressValueError:
        return None
    return found["ipv6"].lower()


def target_authority(target: bytes) -> bytes | None:
    """Return the authority of a request target in absolute form, which replaces `Host`; None: another form.

    >>> target_authority(b"http://img.example/a.jpg"), target_authority(b"/a.jpg")
    (b'img.example', None)
    """
    found = _ABSOLUTE_FORM.match(target)
    return None if found is None else found[1]
