"""Who is greeted back: everybody at ease, and under load only whoever shows a cookie.

A greeting is answered where it came from, and its source may be forged. Each source has a bucket,
and all together have one. When that is empty, a node has no ear for strangers any more: it answers
with a few bytes that only the true source will see, and listens once they are sent along. It keeps
nothing for it: a cookie is a hash of the source under a key of its own (the idea of Photuris, RFC
2522, and of DTLS, RFC 6347 section 4.2.1).

    cookie := 3: u8, check: 16 bytes, cookie: 16 bytes      the check is keyed by the mesh id
    greeting with a cookie := 4: u8, cookie: 16 bytes, HELLO
"""

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from mesh.core.bucket import Bucket, Buckets
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Address, MeshId
from mesh.core.instants import Instant
from mesh.core.params import LinkParams

VERSION_COOKIE = 3
VERSION_HELLO_WITH_COOKIE = 4
COOKIE_BYTES = 16
LIFE_S = 60.0
_CHECK_BYTES = 16


def encode_cookie(mesh: MeshId, cookie: bytes) -> bytes:
    """Return the datagram that hands out a cookie."""
    check = hashlib.blake2b(cookie, digest_size=_CHECK_BYTES, key=mesh).digest()
    return bytes((VERSION_COOKIE,)) + check + cookie


def decode_cookie_untrusted(mesh: MeshId, data: bytes) -> bytes:
    """Return the cookie in a datagram; raises RemoteError."""
    check, cookie = data[1 : 1 + _CHECK_BYTES], data[1 + _CHECK_BYTES :]
    expected = hashlib.blake2b(cookie, digest_size=_CHECK_BYTES, key=mesh).digest()
    if len(cookie) != COOKIE_BYTES or not hmac.compare_digest(check, expected):
        raise RemoteError(Refusal.WRONG_MESH, "a cookie that is not keyed by this mesh")
    return cookie


class Welcome(Enum):
    """What becomes of a greeting."""

    HEARD = "heard"
    COOKIE_FIRST = "cookie first"
    TURNED_AWAY = "turned away"


@dataclass(slots=True)
class Doorkeeper:
    """Decides about greetings before anything in them is looked at."""

    secret: bytes
    """Known to nobody else; 32 bytes of this boot."""
    params: LinkParams
    _sources: Buckets[Address] = field(init=False)
    _all: Bucket = field(init=False)

    def __post_init__(self) -> None:
        each, total = self.params.hello_per_source_s, self.params.hello_total_s
        self._sources = Buckets(each, each, self.params.sources_max)
        self._all = Bucket(total, total)

    def welcome(self, now: Instant, source: Address, cookie: bytes | None) -> Welcome:
        """Return what to do with a greeting from `source`."""
        is_proved = cookie is not None and self._is_true(now, source, cookie)
        if not is_proved and not self._all.take(now, 1):
            return Welcome.COOKIE_FIRST
        return Welcome.HEARD if self._sources.take(now, source, 1) else Welcome.TURNED_AWAY

    def cookie(self, now: Instant, source: Address) -> bytes:
        """Return the cookie for a source, good for one to two minutes."""
        return self._cookie(int(now // LIFE_S), source)

    def _cookie(self, age: int, source: Address) -> bytes:
        shown = age.to_bytes(8, "big", signed=True) + str(source).encode()
        return hashlib.blake2b(shown, digest_size=COOKIE_BYTES, key=self.secret).digest()

    def _is_true(self, now: Instant, source: Address, cookie: bytes) -> bool:
        age = int(now // LIFE_S)
        return any(
            hmac.compare_digest(cookie, self._cookie(each, source)) for each in (age, age - 1)
        )


@dataclass(slots=True)
class Greeted:
    """Whom this node has greeted and not been sent a cookie by yet: only these may send one."""

    sources_max: int
    _waiting: OrderedDict[Address, None] = field(default_factory=OrderedDict)

    def note(self, target: Address) -> None:
        """A greeting has left."""
        self._waiting.pop(target, None)
        self._waiting[target] = None
        if len(self._waiting) > self.sources_max:
            self._waiting.popitem(last=False)

    def take(self, source: Address) -> bool:
        """Whether a cookie from there is expected; a second one is not."""
        return self._waiting.pop(source, self) is not self
