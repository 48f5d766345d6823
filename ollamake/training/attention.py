"""Attention over rows that lie one behind the other: each sees itself alone, and no position is padding.

The linear layers of the model, where nearly all the work is, run over all tokens of a batch at once. Only attention
has to know where rows begin and end.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "ollamake_rows"
# Up to this many tokens, all rows at once in padded matrix products beat torch's kernel row by row: its backward pass
# on a CPU takes longer for 50 tokens than all linear layers of a small model. Beyond, the scores would not fit.
SHORT_TOKENS = 192


class Rows:
    """Where each row of a flat batch lies: `lengths` in tokens, in their order."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths, self.device = list(lengths), device
        self.longest = max(self.lengths)

    @cached_property
    def places(self) -> torch.Tensor:
        """The place of every token, shape (tokens,), where the rows are padded to the longest one behind the other."""
        starts = [number * self.longest + torch.arange(length) for number, length in enumerate(self.lengths)]
        return torch.cat(starts).to(self.device)

    @cached_property
    def offsets(self) -> torch.Tensor:
        """Where rows begin, and the end of the last: shape (rows + 1,), int32."""
        return torch.tensor([0, *self.lengths]).cumsum(0).to(self.device, torch.int32)

    def hidden(self, window: int | None) -> torch.Tensor:
        """Return what a token does not see, shape (longest, longest): later ones, and those before its `window`."""
        return _hidden(self.longest, window, self.device)


def register() -> None:
    """Make this attention known to transformers as NAME."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    rows: Rows | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of each of `rows` over itself, shape (1, tokens, heads, size), and no weights.

    `query`, `key` and `value` are of shape (1, heads, tokens, size). Without `rows` this is transformers' own SDPA,
    with which a model answers prompts. The mask is not looked at where there are rows.
    """
    if rows is None and softcap is not None:
        return _softcapped(module, query, key, value, attention_mask, scaling, dropout, softcap), None
    if rows is None:
        others |= {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window, "softcap": softcap}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **others)  # type: ignore[no-any-return]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    window = sliding_window if sliding_window and sliding_window < rows.longest else None
    if query.is_cuda and softcap is None and not dropout and query.dtype in (torch.bfloat16, torch.float16):
        return _varlen(query, key, value, rows, scale, window), None
    if rows.longest <= SHORT_TOKENS or softcap is not None:
        return _padded(query, key, value, rows, scale, window, softcap, dropout), None
    return _row_by_row(query, key, value, rows, scale, window, dropout), None


def _softcapped(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float,
) -> torch.Tensor:
    """Gemma 2's own attention, whose scores are bent to stay below `softcap`: torch's SDPA cannot do that."""
    from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

    seen = mask
    if seen is None:  # sdpa_mask leaves out one that is causal and nothing else
        asked, known = query.shape[2], key.shape[2]
        seen = torch.ones(asked, known, dtype=torch.bool, device=query.device).tril(known - asked)[None, None]
    added = torch.zeros_like(seen, dtype=query.dtype).masked_fill(~seen, torch.finfo(query.dtype).min)
    answer, _ = eager_attention_forward(
        module, query, key, value, added, dropout=dropout, scaling=scaling, softcap=softcap
    )
    return cast("torch.Tensor", answer)


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, scale: float, window: int | None
) -> torch.Tensor:
    """FlashAttention, for GPUs."""
    before = -1 if window is None else window - 1
    answer = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seq_q=rows.offsets,
        cu_seq_k=rows.offsets,
        max_q=rows.longest,
        max_k=rows.longest,
        scale=scale,
        window_size=(before, 0),
        enable_gqa=True,
    )
    return cast("torch.Tensor", answer)[None]


def _padded(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    scale: float,
    window: int | None,
    softcap: float | None,
    dropout: float,
) -> torch.Tensor:
    """All rows at once, each padded to the longest; the heads that share a key go through one product."""
    _, heads, _, size = query.shape
    shared, count, longest = key.shape[1], len(rows.lengths), rows.longest

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        empty = tensor.new_zeros(count * longest, tensor.shape[1], tensor.shape[3])
        padded = empty.index_copy(0, rows.places, tensor[0].transpose(0, 1))
        return padded.view(count, longest, *padded.shape[1:]).transpose(1, 2)

    queries = pad(query * scale).reshape(count, shared, heads // shared * longest, size)
    scores = (queries @ pad(key).transpose(-1, -2)).view(count, shared, -1, longest, longest).float()
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(rows.hidden(window), -math.inf).softmax(-1).to(value.dtype)
    weights = drop(weights, dropout).view(count, shared, -1, longest)
    answers = (weights @ pad(value)).view(count, heads, longest, -1).transpose(1, 2)
    return answers.reshape(count * longest, heads, -1)[rows.places][None]


def _row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    scale: float,
    window: int | None,
    dropout: float,
) -> torch.Tensor:
    """torch's kernel on one row after the other, which holds no matrix of scores for the way back."""
    answers, start = [], 0
    for length in rows.lengths:
        row = slice(start, start + length)
        mask = ~_hidden(length, window, rows.device) if window is not None else None
        answer = scaled_dot_product_attention(
            query[:, :, row],
            key[:, :, row],
            value[:, :, row],
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=True,
        )
        answers.append(answer)
        start += length
    return torch.cat(answers, dim=2).transpose(1, 2)


def _hidden(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    return later if window is None else later | ~torch.ones_like(later).triu(1 - window)
