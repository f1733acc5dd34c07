"""Find the paths under which copies with a tag may lie, for a CDN that is purged by paths."""

from collections.abc import Iterable

from packshot.variants.tags import TagKind, parse_tag

STABLE, IMMUTABLE = "/api/v2/img", "/i"


def paths_of(tags: Iterable[str], *, prefix: str, most: int, live: Iterable[str] = ()) -> list[str]:
    """Return paths that end in `*` and cover all copies with one of the tags; they cover more if there would be too
    many.

    A stable URL does not tell which locations it uses, so the tag of a location stands for every stable URL. A live URL
    names a pack by its external id, which no tag contains and an edit may have changed. So every edit covers all live
    URLs.

    Args:
        prefix: start of every path; may contain `{tenant}`.
        most: maximum number of paths; with more, packs are not named individually.
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
        # The second form names the tenant in the path, for hosts that do not.
        in_pack = {f"{base}{STABLE}/{name}*", f"{base}{STABLE}/{tenant}/{name}*"}
        named |= (in_pack if kind is TagKind.PACK else {everything}) | beside
    for paths in (named, whole):
        fewest = sorted(path for path in paths if not any(_covers(other, path) for other in paths))
        if len(fewest) <= most:
            return fewest
    return ["/*"]


def live_paths(live_prefix: str | None, live_host: str | None) -> tuple[str, ...]:
    """Return the paths that cover every live URL.

    At the root of a host, live URLs have no common start, and a distribution does not distinguish hosts. So the path is
    everything. An operator can avoid that by purging by tags, or with a prefix for live URLs.
    """
    if live_host is not None:
        return ("/*",)
    return () if live_prefix is None else (f"{live_prefix}/*",)


def _covers(path: str, other: str) -> bool:
    return path != other and other.startswith(path.removesuffix("*"))
