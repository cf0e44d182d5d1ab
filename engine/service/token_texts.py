"""The texts of a model's tokens, alone and beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from engine.backend.base import Backend


class TokenTexts(dict[int, str]):
    """Token id to the token's own text, as a response shows it; made at the first look-up."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def raw(self, token: int) -> bytes:
        """Return the token's bytes; of a control token, those of its name."""
        return self._backend.piece(token) or self._backend.special_text(token)

    def named(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes that each token has of a text in which control tokens are named."""
        return self._together(tokens, map(self.raw, tokens))

    def unnamed(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes that each token has of a text in which control tokens leave no trace."""
        return self._together(tokens, map(self._backend.piece, tokens))

    def _together(self, tokens: Sequence[int], pieces: Iterable[bytes]) -> list[bytes]:
        return [*_without_added_spaces(tokens, pieces, self._backend.info.adds_space_after)]

    def __missing__(self, token: int) -> str:
        name = self[token] = _written(self.raw(token))
        return name


def _without_added_spaces(
    tokens: Iterable[int], pieces: Iterable[bytes], after: Collection[int] | None
) -> Iterator[bytes]:
    """Yield the bytes of consecutive tokens, without the spaces that the vocabulary has added to the text.

    Args:
        tokens: The tokens.
        pieces: The bytes of each.
        after: As in :attr:`engine.backend.base.ModelInfo.adds_space_after`.
    """
    if after is None:
        yield from pieces
        return
    begins = True
    for token, piece in zip(tokens, pieces, strict=True):
        if token in after:
            begins = True
            yield piece
        else:
            yield piece[1:] if begins and piece.startswith(b" ") else piece
            begins = False


def _written(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
