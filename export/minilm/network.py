"""The sentence encoder all-MiniLM-L6-v2: a BERT of six layers, the mean over its tokens, of unit length.

Names are those of the published checkpoint, so that the recipe copies each tensor under its own name. The pooler,
which sentence-transformers does not use, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_TOKENS, NUM_POSITIONS = 30_522, 512
WIDTH, INNER_WIDTH, NUM_LAYERS, NUM_HEADS = 384, 1_536, 6, 12
_HEAD = WIDTH // NUM_HEADS
_EPSILON = 1e-12
_IGNORED = -10_000.0  # added to the score of a token that is padding: its weight becomes 0 exactly


class Embeddings(nn.Module):
    """Word, position and (the first) segment, normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(NUM_TOKENS, WIDTH)
        self.position_embeddings = nn.Embedding(NUM_POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=_EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: tokens.shape[1]]
        # Looked up, not indexed: the exporter would fold the one row that is used, and drop the published tensor.
        segments = self.token_type_embeddings(torch.zeros_like(tokens))
        return self.LayerNorm(self.word_embeddings(tokens) + segments + positions)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        count, length = states.shape[0], states.shape[1]
        query, key, value = (
            by_token(layer, states).view(count, length, NUM_HEADS, _HEAD).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = functional.softmax(query @ key.transpose(2, 3) * _HEAD**-0.5 + bias, dim=-1)
        return (weights @ value).transpose(1, 2).reshape(count, length, WIDTH)


class Residual(nn.Module):
    """A linear layer back to the width, what went in added, normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=_EPSILON)

    def forward(self, states: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(by_token(self.dense, states) + before)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self = SelfAttention()
        self.output = Residual(WIDTH)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        return self.output(self.self(states, bias), states)


class Intermediate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(WIDTH, INNER_WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        return functional.gelu(by_token(self.dense, states))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = Intermediate()
        self.output = Residual(INNER_WIDTH)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(states, bias)
        return self.output(self.intermediate(attended), attended)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer() for _ in range(NUM_LAYERS))

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layer:
            states = layer(states, bias)
        return states


class MiniLM(nn.Module):
    """Tokens (N, T) and which of them count (N, T), 1 or 0 → sentence embeddings (N, 384) of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = Encoder()

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        counts = mask.to(torch.float32)
        states = self.encoder(self.embeddings(tokens), (1 - counts)[:, None, None, :] * _IGNORED)
        summed = (states * counts[:, :, None]).sum(dim=1)
        mean = summed / counts.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


def by_token(layer: nn.Linear, states: Tensor) -> Tensor:
    """A linear layer on a matrix of all tokens: the exporter then keeps its weight as it is, transposed in place."""
    flat = functional.linear(states.reshape(-1, states.shape[2]), layer.weight, layer.bias)
    return flat.view(states.shape[0], states.shape[1], -1)
