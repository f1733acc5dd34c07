"""Under which paths copies may be that carry a tag, for a CDN that is purged by paths."""

from collections.abc import Iterable

from packshot.variants.tags import TagKind, parse_tag

STABLE, IMMUTABLE = "/api/v2/img", "/i"


def paths_of(tags: Iterable[str], *, prefix: str, most: int) -> list[str]:
    """Return paths that end in `*` and cover all that carries one of the tags, and more where it takes too many.

    A stable URL does not say which locations it looked at, so a location's tag
    is every stable URL there is.

    Args:
        prefix: what every path begins with; may contain `{tenant}`.
        most: beyond it packs are not named one by one.

    >>> paths_of(["p:films:4f1c", "e:films:4f1c"], prefix="", most=15)
    ['/api/v2/img/4f1c*', '/api/v2/img/films/4f1c*', '/i/films/4f1c/*']
    """
    named, whole = set[str](), set[str]()
    for text in tags:
        kind, tenant, name = parse_tag(text)
        base = prefix.replace("{tenant}", tenant)
        if kind is TagKind.ERASE:
            named.add(f"{base}{IMMUTABLE}/{tenant}/{name}/*")
            whole.add(f"{base}{IMMUTABLE}/{tenant}/*")
            continue
        everything = f"{base}{STABLE}/*"
        whole.add(everything)
        # Where no host names the tenant, the path does.
        in_pack = {f"{base}{STABLE}/{name}*", f"{base}{STABLE}/{tenant}/{name}*"}
        named |= in_pack if kind is TagKind.PACK else {everything}
    for paths in (named, whole):
        fewest = sorted(path for path in paths if not any(_covers(other, path) for other in paths))
        if len(fewest) <= most:
            return fewest
    return ["/*"]


def _covers(path: str, other: str) -> bool:
    return path != other and other.startswith(path.removesuffix("*"))
