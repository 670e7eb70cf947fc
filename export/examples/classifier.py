"""The digit classifier: its penultimate layer gives the features, its last layer the class logits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, pad, relu

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as Pillow's "L"
WIDTHS = (16, 32, 48)  # channels after each of the three convolutions
FEATURES = 64
EPOCHS = 60
BATCH = 60
LEARNING_RATE = 4e-3  # Adam, one cycle (Smith and Topin 2018)
SHIFT = 2  # pixels, largest shift of the augmentation


class Classifier(nn.Module):
    """RGB ``(N, 3, 32, 32)`` float32 in [0, 1] → features ``(N, 64)`` ≥ 0 and logits ``(N, classes)``."""

    mix: Tensor

    def __init__(self, classes: int, *, grey: bool, widths: tuple[int, int, int] = WIDTHS, features: int = FEATURES):
        super().__init__()
        self.register_buffer("mix", torch.tensor([GREY]) if grey else torch.eye(3))  # (C, 3)
        first, second, third = widths
        self.first = nn.Conv2d(len(self.mix), first, 5, stride=2, padding=2)
        self.second = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.third = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.features = nn.Linear(third * 4, features)
        self.logits = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.einsum("nchw,dc->ndhw", images, self.mix)
        x = relu(self.third(relu(self.second(relu(self.first(x))))))  # 32 → 16 → 8 → 4
        features = relu(self.features(avg_pool2d(x, 2).flatten(1)))
        return features, self.logits(features)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Classifier:
        """Rebuild the classifier whose `state_dict` this is; the shapes tell its sizes."""
        classes, features = state["logits.weight"].shape
        widths = tuple(len(state[f"{name}.bias"]) for name in ("first", "second", "third"))
        classifier = cls(classes, grey=len(state["mix"]) == 1, widths=widths, features=features)
        classifier.load_state_dict(dict(state))
        return classifier.eval()


def as_input(shown: Tensor) -> Tensor:
    """Shown pictures ``(N, 32, 32, 3)`` uint8 → what the classifier takes, ``(N, 3, 32, 32)`` in [0, 1]."""
    return shown.permute(0, 3, 1, 2).to(torch.float32) / 255.0


def train_classifier(
    shown: Tensor,
    labels: Tensor,
    *,
    seed: int,
    classes: int,
    grey: bool,
    widths: tuple[int, int, int] = WIDTHS,
    features: int = FEATURES,
    epochs: int = EPOCHS,
) -> Classifier:
    """Train on shown pictures ``(N, 32, 32, 3)`` uint8 with ``labels`` (N,). Deterministic in ``seed``."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    classifier = Classifier(classes, grey=grey, widths=widths, features=features)
    images = as_input(shown)
    batches = -(-len(images) // BATCH)
    optimiser = torch.optim.Adam(classifier.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * batches)

    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=draws).split(BATCH):
            down, right = torch.randint(2 * SHIFT + 1, (2,), generator=draws).tolist()
            moved = pad(images[chosen], (SHIFT,) * 4)[:, :, down : down + 32, right : right + 32]
            loss = cross_entropy(classifier(moved)[1], labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return classifier.eval()
