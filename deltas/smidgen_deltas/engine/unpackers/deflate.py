"""Raw deflate streams of any encoder <-> their plain bytes, by prediction with corrections.

The stream is decoded to tokens; the best of the known encoder models predicts each of them, and what it gets wrong is
coded as corrections, as are block ends, block forms and headers. When the model is the encoder there are none. Nothing
depends on the machine's zlib. Both directions work in bounded memory however long the stream is.

Recipe (version 1):

    model number, flags (how Huffman code lengths are computed: 0 zlib's way, 1 Go's, 2 miniz's; 4 runs joined across
    both codes, 8 empty stored block at the end, 16 segments that do not refer to the ones before),
    period (0: none), number of runs of segments, per run: segment length and how often, corrections to the end

DEFLATE.md describes segments and corrections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from typing import Final

from smidgen_deltas.engine.unpackers.base import MAX_OUTPUT, Allowance, BudgetSpent, Data, RecipeInvalid, blocks
from smidgen_deltas.engine.unpackers.deflate_models import FAST, GO_CODES, GZIP, MINIZ_CODES, MODELS, ORDER, ZLIB_CODES
from smidgen_deltas.kernels.deflate_analyze import Analyzer, DeflateRefused
from smidgen_deltas.kernels.deflate_rebuild import CorrectionsInvalid, Rebuilder
from smidgen_deltas.wire import WireReader, put_varint

SAMPLE: Final = 1 << 18  # plain bytes on which models are tried
SAMPLE_TOKENS: Final = 20_000
MAX_SAMPLE: Final = 1 << 23
AHEAD: Final = 1 << 17  # plain bytes decoded before those that are predicted
PIGZ_PERIOD: Final = 128 * 1024
MAX_SEGMENT_RUNS: Final = 1 << 16
MAX_SEGMENTS: Final = 1 << 20
MAX_PERIOD: Final = 1 << 24
MIN_SHARE_BYTES: Final = 64  # corrections always allowed, whatever the share


@dataclass(frozen=True, slots=True)
class DeflateRecipe:
    """Everything beside the plain bytes."""

    model: int
    builder: int
    joined: bool = False
    final_apart: bool = False
    period: int = 0
    anew: bool = False
    segments: tuple[tuple[int, int], ...] = ()  # runs of (length, how often)
    corrections: bytes = b""

    def encode(self) -> bytes:
        out = bytearray((self.model, self.builder | self.joined << 2 | self.final_apart << 3 | self.anew << 4))
        put_varint(out, self.period)
        put_varint(out, len(self.segments))
        for length, count in self.segments:
            put_varint(out, length)
            put_varint(out, count)
        return bytes(out + self.corrections)

    @classmethod
    def decode(cls, recipe: bytes) -> DeflateRecipe:
        """Raise a FormatError unless every field is in range."""
        reader = WireReader(recipe, "deflate recipe")
        model, flags = reader.take(2)
        if model >= len(MODELS) or flags > 31 or flags & 3 == 3:
            raise RecipeInvalid("deflate recipe is of another version", model=model, flags=flags)
        period = reader.number(MAX_PERIOD, "period")
        runs = []
        for _ in range(reader.number(min(MAX_SEGMENT_RUNS, len(recipe)), "segment runs")):
            length = reader.number(MAX_OUTPUT, "segment length")
            runs.append((length, reader.number(MAX_SEGMENTS, "segment count")))
        if sum(count for _, count in runs) > MAX_SEGMENTS:
            raise RecipeInvalid("deflate recipe has too many segments")
        joined, final_apart, anew = bool(flags & 4), bool(flags & 8), bool(flags & 16)
        return cls(model, flags & 3, joined, final_apart, period, anew, tuple(runs), reader.take(reader.left))


class DeflateAnalyzer:
    """Takes one deflate stream apart: feed() compressed bytes, get plain ones, in the end the recipe.

    Usage errors are RuntimeError; a stream that is not deflate or cannot be rebuilt is RecipeInvalid or BudgetSpent.

    Args:
        allowance: its clock bounds the time; its `share` the corrections, as a part of the compressed bytes.
        model: number of the model to try first; the last stream's, as a rule.
        period: length of segments to suppose; -1 to find out.
    """

    def __init__(self, allowance: Allowance, model: int | None = None, period: int = -1) -> None:
        self._kernel = Analyzer()
        self._allowance = allowance
        self._hint = model
        self._period = period
        self._choice: tuple[int, int, bool, bool] | None = None
        self._fed = 0
        self.plain_size = 0

    def feed(self, data: Data) -> bytes:
        """More compressed bytes; the plain bytes that became known."""
        self._fed += len(data)
        self._kernel.feed(data)
        return self._work()

    @property
    def done(self) -> bool:
        """The final block was seen; what follows it is not deflate."""
        return self._kernel.done

    def unused(self) -> bytes:
        """Those of the bytes fed that were behind the end."""
        with _Refusals():
            return self._kernel.unused()

    def close(self) -> bytes:
        """No more compressed bytes: the remaining plain ones. RecipeInvalid when the stream is not complete."""
        self._kernel.close()
        return self._work()

    @property
    def model(self) -> int:
        """The chosen model's number."""
        return self._choice[0] if self._choice else 0

    def recipe(self) -> DeflateRecipe:
        """After done."""
        corrections, segments, final_apart = self._kernel.finish()
        runs = tuple((length, len(list(group))) for length, group in groupby(segments))
        if len(runs) > MAX_SEGMENT_RUNS or len(segments) > MAX_SEGMENTS:
            raise BudgetSpent("deflate stream has too many segments", runs=len(runs))
        model, builder, joined, anew = self._choice or (0, 0, False, False)
        self._check_share(len(corrections))
        return DeflateRecipe(model, builder, joined, final_apart, max(self._period, 0), anew, runs, corrections)

    def _work(self) -> bytes:
        """Decode and predict as far as the input goes."""
        out = []
        with _Refusals():
            if not self._choice:
                ready = self._decode_sample()
                out.append(self._kernel.take_plain())
                if ready:
                    self._choose()
            if self._choice:
                while self._kernel.decode(AHEAD):
                    out.append(self._kernel.take_plain())
                    self._allowance.check(self.plain_size)
                    self._kernel.advance()
                    self._check_share(self._kernel.corrections_so_far())
                    if self._kernel.done:
                        break
                out.append(self._kernel.take_plain())
        plain = b"".join(out)
        self.plain_size += len(plain)
        self._allowance.check(self.plain_size)
        return plain

    def _decode_sample(self) -> bool:
        """Is there enough to tell encoders apart? What cannot be compressed tells nothing."""
        size = SAMPLE
        while self._kernel.decode(size):
            if self._kernel.done or size >= MAX_SAMPLE or self._kernel.waiting_tokens() >= SAMPLE_TOKENS:
                return True
            size *= 2
        return self._kernel.done

    def _check_share(self, size: int) -> None:
        if size > MIN_SHARE_BYTES + self._allowance.budget.share * max(self._fed, 1 << 16):
            raise BudgetSpent("corrections of a deflate stream are too large", size=size)

    def _choose(self) -> None:
        """Find the model, the way of computing codes, and the period."""
        marker = self._kernel.first_marker()
        if self._period < 0:
            self._period = PIGZ_PERIOD if marker > 0 and marker % PIGZ_PERIOD == 0 and marker < 8 * PIGZ_PERIOD else 0
        best, fewest = 0, 1 << 62
        order = ORDER if self._hint is None else (self._hint, *ORDER)
        for number in order:
            if self._period and MODELS[number].family == GZIP:
                continue  # GNU gzip has no segments
            wrong, _ = self._kernel.trial(MODELS[number].parameters(), fewest, anew=False)
            if wrong < fewest:
                best, fewest = number, wrong
            if not fewest:
                break
            self._allowance.check()
        codes = [(MODELS[best].codes, MODELS[best].joined)]
        codes += [(builder, joined) for builder in (ZLIB_CODES, GO_CODES, MINIZ_CODES) for joined in (False, True)]
        builder, joined = min(codes, key=lambda code: self._kernel.try_header(*code))
        anew = MODELS[best].family == FAST  # pgzip; its segments are longer than the sample
        if marker > 0 and fewest:
            anew = self._kernel.trial(MODELS[best].parameters(), fewest, anew=True)[0] < fewest
        self._choice = (best, builder, joined, anew)
        self._kernel.choose(MODELS[best].parameters(), builder, joined, self._period, anew)


class _Refusals:
    """Turns the kernels' refusals into FormatErrors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DeflateRefused | CorrectionsInvalid):
            raise RecipeInvalid(str(error)) from error


def rebuild(recipe: DeflateRecipe, plain: Iterable[Data]) -> Iterator[bytes]:
    """The compressed bytes, as soon as they are certain. Raises RecipeInvalid when the recipe does not fit."""
    segments = chain.from_iterable(repeat(length, count) for length, count in recipe.segments)
    kernel = Rebuilder(
        MODELS[recipe.model].parameters(),
        recipe.builder,
        recipe.joined,
        recipe.final_apart,
        recipe.period,
        recipe.anew,
        segments,
        recipe.corrections,
    )
    with _Refusals():
        for data in plain:
            for block in blocks(data):
                out = kernel.feed(block)
                while out:
                    yield out
                    out = kernel.feed(b"")
        while out := kernel.finish():
            yield out
