"""Fingerprints and keys: the storage location of a variant as a pure function of metadata."""

import json
import re
from dataclasses import dataclass
from hashlib import sha256

from packshot.errors import Invalid
from packshot.geometry import Crop
from packshot.model import NAME, PACK_ID, Focus
from packshot.variants.plan import Plan, parse_plan

_FINGERPRINT = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one variant. The object under a key never changes."""

    tenant: str
    pack: str
    location: str
    fingerprint: str
    plan: Plan

    def __str__(self) -> str:
        return f"{self.tenant}/{self.pack}/{self.location}/{self.fingerprint}/{self.plan}"


def parse_key(text: str) -> Key:
    """Parse a key; `parse_key(str(key)) == key`.

    Raises:
        Invalid: `text` is not a key.
    """
    parts = text.split("/")
    if (
        len(parts) != 5
        or not NAME.fullmatch(parts[0])
        or not PACK_ID.fullmatch(parts[1])
        or not NAME.fullmatch(parts[2])
        or not _FINGERPRINT.fullmatch(parts[3])
    ):
        raise Invalid("This is not the key of a variant.", expected="tenant/pack/location/fingerprint/plan", got=text)
    return Key(parts[0], parts[1], parts[2], parts[3], parse_plan(parts[4]))


def pack_of(key: str) -> str:
    """Return the id of the pack in a key, without parsing the rest."""
    return key.split("/")[1]


def fingerprint(
    original_sha256: str, crop: Crop | None, focus: Focus | None, revision: int, decode_revision: int = 0
) -> str:
    """Digest everything that decides the pixels: 24 hex digits, 96 bits of SHA-256.

    The full rectangle and no crop give the same digest. Floats are spelled by their shortest round-trip form, so equal
    numbers give equal digests.

    Args:
        decode_revision: see `Original.decode_revision`. 0 gives the digest from before decode revisions existed.
    """
    drawn_crop = None if crop is None or crop.is_full else _numbers(crop.left, crop.top, crop.right, crop.bottom)
    point = None if focus is None else _numbers(focus.x, focus.y)
    parts = [original_sha256, drawn_crop, point, revision, *([decode_revision] if decode_revision else [])]
    text = json.dumps(parts, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:24]


def _numbers(*values: float) -> list[float]:
    # 0, 0.0 and -0.0 are one number with three spellings.
    return [float(value) + 0.0 for value in values]
