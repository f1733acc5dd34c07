"""Under which paths copies may be that carry a tag, for a CDN that is purged by paths."""

from collections.abc import Iterable

from packshot.variants.tags import TagKind, parse_tag

STABLE, IMMUTABLE = "/api/v2/img", "/i"


def paths_of(tags: Iterable[str], *, prefix: str, most: int, live: Iterable[str] = ()) -> list[str]:
    """Return paths that end in `*` and cover all that carries one of the tags, and more where it takes too many.

    A stable URL does not say which locations it looked at, so a location's tag
    is every stable URL there is. A live URL names a pack by its external id, which
    no tag tells and an edit may just have changed: whatever is edited, all of them are.

    Args:
        prefix: what every path begins with; may contain `{tenant}`.
        most: beyond it packs are not named one by one.
        live: paths that cover every live URL, without the prefix; see `live_paths`.

    >>> paths_of(["p:films:4f1c", "e:films:4f1c"], prefix="", most=15)
    ['/api/v2/img/4f1c*', '/api/v2/img/films/4f1c*', '/i/films/4f1c/*']
    """
    named, whole, live = set[str](), set[str](), tuple(live)
    for text in tags:
        kind, tenant, name = parse_tag(text)
        base = prefix.replace("{tenant}", tenant)
        if kind is TagKind.ERASE:
            named.add(f"{base}{IMMUTABLE}/{tenant}/{name}/*")
            whole.add(f"{base}{IMMUTABLE}/{tenant}/*")
            continue
        everything, beside = f"{base}{STABLE}/*", {f"{base}{path}" for path in live}
        whole |= {everything} | beside
        # Where no host names the tenant, the path does.
        in_pack = {f"{base}{STABLE}/{name}*", f"{base}{STABLE}/{tenant}/{name}*"}
        named |= (in_pack if kind is TagKind.PACK else {everything}) | beside
    for paths in (named, whole):
        fewest = sorted(path for path in paths if not any(_covers(other, path) for other in paths))
        if len(fewest) <= most:
            return fewest
    return ["/*"]


def live_paths(live_prefix: str | None, live_host: str | None) -> tuple[str, ...]:
    """Return the paths that cover every live URL.

    At the root of a host they have nothing in common, and a distribution does not tell
    hosts apart: there it is everything. Whoever minds purges by tags, or uses a prefix.
    """
    if live_host is not None:
        return ("/*",)
    return () if live_prefix is None else (f"{live_prefix}/*",)


def _covers(path: str, other: str) -> bool:
    return path != other and other.startswith(path.removesuffix("*"))
